"""Two processes over gloo against one: the same curve, the same adapter to rounding, checkpoints that move between."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
from hypothesis import given
from hypothesis import strategies as st

from sodate.train import parallel
from tests import worker
from tests.farm import Farm, adapter_bytes, curve, events, plant, the_run

SETTINGS = [
    "batch_size=4",
    "max_steps=5",
    "eval_every=2",
    "save_every=2",
    "early_stop=null",
    "lr=0.01",
    "device=cpu",
    "dtype=float32",
]


@pytest.fixture(scope="module")
def farm(tmp_path_factory: pytest.TempPathFactory) -> Farm:
    return plant(tmp_path_factory.mktemp("farm"))


def start(home: Path, processes: int, *words: str) -> list[subprocess.Popen[str]]:
    """`sodate WORDS` in each of the processes, with what torchrun tells them."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    common = {"SODATE_HOME": str(home), "SODATE_LANG": "en", "OMP_NUM_THREADS": "1", "WORLD_SIZE": str(processes)}
    common |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    return [
        subprocess.Popen(
            [sys.executable, "-m", "sodate.cli", *words], text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            env={**os.environ, **common, "RANK": str(rank), "LOCAL_RANK": str(rank)},
        )
        for rank in range(processes)
    ]  # fmt: skip


def finish(started: list[subprocess.Popen[str]], code: int = 0) -> str:
    """What the main process printed; the others print nothing."""
    said = [process.communicate(timeout=400) for process in started]
    assert [process.returncode for process in started] == [code] * len(started), said
    assert not any(out for out, _ in said[1:])
    return said[0][0]


def words(farm: Farm, *more: str) -> list[str]:
    return ["train", "--model", farm.model, "--data", str(farm.train), "--eval", str(farm.held), *SETTINGS, *more]


@pytest.fixture(scope="module")
def alone(farm: Farm, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The home of a run in one process."""
    home = farm.new_home(tmp_path_factory.mktemp("alone") / "home")
    finish(start(home, 1, *words(farm), "--json"))
    return home


def assert_same(home: Path, alone: Path) -> None:
    """Curves and adapters agree to the rounding of sums taken in another order."""
    mine, expected = curve(home), curve(alone)
    for a, b in zip(mine, expected, strict=True):
        assert set(a) == set(b)
        assert (a["tokens"], a["supervised_tokens"], a["lr"]) == (b["tokens"], b["supervised_tokens"], b["lr"])
        for key in {"loss", "eval_loss", "grad_norm", "accuracy"} & set(b):
            assert a[key] == pytest.approx(b[key], rel=2e-5 if "loss" in key else 2e-4)
    ours, theirs = (safetensors.torch.load(adapter_bytes(h)) for h in (home, alone))
    for name, tensor in theirs.items():
        assert float((ours[name] - tensor).norm()) <= 1e-4 * max(0.01, float(tensor.norm())), name
    assert [p.name for p in (home / "versions" / "orders").iterdir() if p.name.isdigit()] == ["1"]


@pytest.mark.parametrize("how", ["ddp", "fsdp"])
def test_two_processes_draw_the_curve_of_one(how: str, farm: Farm, alone: Path, tmp_path: Path) -> None:
    home = farm.new_home(tmp_path / "home")
    out = finish(start(home, 2, *words(farm, f"parallel={how}", "micro_tokens=64"), "--json"))
    assert json.loads(out)["version"] == "orders@1"
    assert_same(home, alone)
    assert json.loads((home / "runs" / the_run(home) / "run.json").read_text())["processes"] == 2


def test_a_signal_to_one_process_stops_both_and_a_single_one_goes_on(farm: Farm, alone: Path, tmp_path: Path) -> None:
    home = farm.new_home(tmp_path / "home")
    started = start(home, 2, *words(farm))
    deadline = time.monotonic() + 300
    while not [*home.glob("runs/*/metrics.jsonl")] and time.monotonic() < deadline:
        time.sleep(0.01)
    started[1].send_signal(signal.SIGTERM)
    finish(started, code=130)
    assert "interrupted" in [event["kind"] for event in events(home)]
    finish(start(home, 1, "runs", "resume", the_run(home), "--json"))
    assert_same(home, alone)


@pytest.mark.parametrize("how", ["ddp", "fsdp"])
def test_two_processes_go_on_where_one_was_stopped(how: str, farm: Farm, alone: Path, tmp_path: Path) -> None:
    home = farm.new_home(tmp_path / "home")
    assert worker.run(*words(farm, f"parallel={how}"), home=home, interrupt_at_step=2).code == 130
    finish(start(home, 2, "runs", "resume", the_run(home), "--json"))
    assert_same(home, alone)
    kept = json.loads((home / "runs" / the_run(home) / "run.json").read_text())
    assert (kept["processes"], kept["threads"]) == (2, 1)  # as these were started, not as the one before


@given(st.lists(st.lists(st.integers(0, 3), min_size=1, max_size=9), min_size=1, max_size=12), st.integers(1, 5))
def test_shares_are_neighbours_and_together_everything(items: list[list[int]], processes: int) -> None:
    shares: list[Any] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(parallel, "count", lambda: processes)
        for rank in range(processes):
            patch.setattr(parallel.dist, "get_rank", lambda rank=rank: rank)
            shares.append(parallel.share(items, lambda item: item))
    joined = [item for part in shares for item in part]
    assert sorted(joined) == sorted(items) and (processes == 1 or joined == sorted(items))
    fair = sum(map(len, items)) / processes
    assert processes == 1 or all(sum(map(len, part)) <= fair + max(map(len, items)) for part in shares)
