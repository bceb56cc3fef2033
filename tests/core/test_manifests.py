"""What lies on disk beside an artefact: files of before are read, files of a newer sodate are refused by name."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from sodate.core.errors import SodateError
from sodate.core.manifests import SCHEMA_VERSION
from sodate.data.tokens import TokenRows, Writer
from sodate.library import store
from sodate.render.renderer import Rendered
from sodate.train import checkpoint


def model(home: Path) -> tuple[Path, Callable[[], Any]]:
    prepared = home / "prepared"
    prepared.mkdir(parents=True)
    (prepared / "config.json").write_text("{}")
    entry = store.keep(prepared, None, {
        "name": "tiny", "source": "here", "architecture": "LlamaForCausalLM", "parameters": 1, "context_length": 8,
        "vocabulary": 4, "licence": None, "chat_template": False,
    })  # fmt: skip
    return entry.path / store.MANIFEST, lambda: store.show_model("tiny").to_json()


def tokens(home: Path) -> tuple[Path, Callable[[], Any]]:
    home.mkdir()
    with contextlib.ExitStack() as stack:
        writer = Writer(home, stack, vocabulary=9)
        writer.add([Rendered([1, 2], [0.0, 1.0])], 0, 1)
        writer.close({"data": "hash"})
    return home / "index.json", lambda: [(one.ids, one.weights) for one in TokenRows(home)[0]]


def state(home: Path) -> tuple[Path, Callable[[], Any]]:
    layer = torch.nn.Linear(2, 1)
    path = checkpoint.save(home, 1, layer, torch.optim.AdamW(layer.parameters()), {"step": 1}, set())

    def restored() -> Any:
        other = torch.nn.Linear(2, 1)
        return checkpoint.restore(home, other, torch.optim.AdamW(other.parameters()), pytest.fail)

    return path / "state.json", restored


@pytest.mark.parametrize("make", [model, tokens, state])
def test_a_manifest_without_a_version_is_read_and_one_of_a_newer_sodate_is_refused_and_kept(
    make: Callable[[Path], tuple[Path, Callable[[], Any]]], home: Path
) -> None:
    file, read = make(home)
    written, value = json.loads(file.read_text()), read()
    assert written.pop("schema_version") == SCHEMA_VERSION
    file.write_text(json.dumps(written))
    assert read() == value
    file.write_text(json.dumps(written | {"schema_version": SCHEMA_VERSION + 1}))
    with pytest.raises(SodateError) as refused:
        read()
    assert refused.value.code == "too_new" and refused.value.file == str(file)
    assert file.exists()
