"""One server for all tests that change nothing in it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import tiny
from tests.serve.running import Running, running, service_of


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model with large random weights, whose replies are long and vary."""
    import torch
    from transformers import AutoModelForCausalLM

    folder = tiny.llama_folder(tmp_path_factory.mktemp("served") / "tiny", tie_word_embeddings=False,
                               max_position_embeddings=1024)  # fmt: skip
    model = AutoModelForCausalLM.from_pretrained(folder)
    torch.manual_seed(4)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.normal_(1.0 if "norm" in name else 0.0, 0.3)
    model.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")  # its threads look into SODATE_HOME, which is another one in other files
def served(tiny_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SODATE_HOME", str(tmp_path_factory.mktemp("home")))
        service, engine = service_of(tiny_folder)
        with running(service, engine) as server:
            yield server
