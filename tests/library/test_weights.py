"""Weight files: what is written here is what the safetensors library reads, and making it takes no second copy."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import safetensors
import safetensors.torch
import torch
from hypothesis import given
from hypothesis import strategies as st

from sodate.library import weights
from sodate.train import checkpoint

DTYPES = list(weights._DTYPES)
shapes = st.lists(st.integers(0, 4), max_size=3)


@given(drawn=st.dictionaries(st.text(min_size=1, max_size=9), st.tuples(shapes, st.sampled_from(DTYPES)), max_size=5))
def test_the_library_reads_back_every_name_shape_and_bit(
    drawn: dict[str, tuple[list[int], torch.dtype]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    drawn.pop("__metadata__", None)
    random = np.random.default_rng(0)
    tensors = {
        name: torch.from_numpy(np.asarray(3 * random.normal(size=shape))).to(dtype)
        for name, (shape, dtype) in drawn.items()
    }
    path = tmp_path_factory.mktemp("weights") / "model.safetensors"
    weights.write_tensors(path, tensors, {"format": "pt"})
    with safetensors.safe_open(path, "pt") as opened:  # type: ignore[no-untyped-call]
        assert opened.metadata() == {"format": "pt"}
    found = safetensors.torch.load_file(path)
    assert set(found) == set(tensors)
    for name, tensor in tensors.items():
        assert found[name].dtype == tensor.dtype and torch.equal(found[name], tensor)


def test_tensors_that_lie_otherwise_are_written_in_their_order(tmp_path: Path) -> None:
    turned = torch.arange(12.0).view(3, 4).t()
    weights.write_tensors(tmp_path / "a", {"turned": turned, "part": turned[1:, 1]})
    found = safetensors.torch.load_file(tmp_path / "a")
    assert torch.equal(found["turned"], turned) and found["part"].tolist() == [5, 6, 7]


def test_random_states_of_gpus_that_are_not_here_are_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    states = {name: torch.tensor([n], dtype=torch.uint8) for n, name in enumerate(("cuda:0", "cuda:1", "cuda:2"))}
    given: dict[str, int] = {}
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)

    def give(state: torch.Tensor, gpu: int | str) -> None:
        given[gpu if isinstance(gpu, str) else f"cuda:{gpu}"] = int(state)

    monkeypatch.setattr(torch.cuda, "set_rng_state", give)
    checkpoint._set_rng_state({"cpu": torch.get_rng_state(), **states})
    assert given == {"cuda:0": 0, "cuda:1": 1}


def test_writing_makes_no_copy_of_the_weights(tmp_path: Path) -> None:
    tensors = {"w": torch.zeros(2_000_000)}
    tracemalloc.start()
    weights.write_tensors(tmp_path / "w", tensors)
    _, highest = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert highest < 1_000_000
