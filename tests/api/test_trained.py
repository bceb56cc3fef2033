"""What a run leaves: weights after every epoch under names of their own, and the last or the best ones at its end."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import sodate
from sodate.core.files import sha256_file
from sodate.library.sources import pull
from sodate.library.weights import read_tensors
from sodate.release.registry import find_version


def rows(path: Path, first: int, count: int) -> str:
    return write(path, [{"prompt": f"Order {n}", "completion": f"Done {n % 5}."} for n in range(first, first + count)])


def write(path: Path, lines: list[dict[str, str]]) -> str:
    path.write_text("\n".join(json.dumps(line) for line in lines))
    return str(path)


@pytest.fixture
def asked(home: Path, folder: Path, tmp_path: Path) -> dict[str, Any]:
    pull(str(folder))
    return {
        "model": "tiny", "data": rows(tmp_path / "train.jsonl", 0, 8), "eval": rows(tmp_path / "held.jsonl", 50, 3),
        "epochs": 3, "batch_size": 4, "eval_every": "epoch", "early_stop": None,
    }  # fmt: skip


def adapter(version: str) -> str:
    return sha256_file(find_version(version).adapter / "adapter_model.safetensors")


def contents(file: Path) -> set[bytes]:
    """The tensors of a file, whatever their names."""
    return {tensor.numpy().tobytes() for tensor in read_tensors(file).values()}


def test_the_weights_after_an_epoch_are_those_of_its_checkpoint(asked: dict[str, Any]) -> None:
    made: list[str] = []

    def heard(kind: str, data: Any) -> None:
        if kind == "weights":
            made.append(data.register(f"epoch-{data.step}"))
            assert data.register(f"epoch-{data.step}") == made[-1]  # told twice, made once

    whole = sodate.train(**asked, name="whole", keep="last", save_every=2, on_event=heard)
    assert made == ["epoch-2@1", "epoch-4@1"] and whole["steps"] == 6
    kept = Path(whole["run_dir"]) / "checkpoints" / "step-000004" / "model.safetensors"
    assert contents(find_version(made[1]).adapter / "adapter_model.safetensors") == contents(kept)
    assert adapter(made[0]) != adapter(made[1]) != adapter(whole["version"])


def test_a_run_ends_with_its_best_weights_or_where_asked_its_last(asked: dict[str, Any]) -> None:
    other = "返品は七日以内にお願いいたします。"  # of which less is known the more is learnt of the rest
    asked["eval"] = write(Path(asked["eval"]), [{"prompt": f"Ask {n}", "completion": other} for n in range(3)])
    asked |= {"lr": 0.0001, "lr_multiplier": 100.0}
    best, last = (sodate.train(**asked, name=keep, keep=keep) for keep in ("best", "last"))
    assert best["best_step"] < 6
    for made, step in ((best, best["best_step"]), (last, 6)):
        kept = Path(made["run_dir"]) / "checkpoints" / f"step-{step:06d}" / "model.safetensors"
        assert contents(find_version(made["version"]).adapter / "adapter_model.safetensors") == contents(kept)
    plan = find_version(last["version"]).manifest["plan"]
    assert plan["lr"] == 0.01 and plan["eval_every"] == 2


def test_rows_that_are_held_out_too_are_trained_on_only_where_asked(asked: dict[str, Any]) -> None:
    asked |= {"eval": rows(Path(asked["eval"]), 0, 3), "epochs": 1}
    aside, trained = (sodate.train(**asked, name=leaks, leaks=leaks) for leaks in ("aside", "train"))
    used = [find_version(made["version"]).manifest["data"]["rows_used"] for made in (aside, trained)]
    assert used == [5, 8]
