"""The whole command in processes of its own: stopped, killed, poisoned, resumed."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch

import sodate
from sodate.core.errors import SodateError
from sodate.core.runs import RunFolder
from sodate.train import checkpoint
from sodate.train.loop import _load_best
from tests import worker
from tests.farm import Farm, adapter_bytes, curve, events, order, plant, the_run, write_rows
from tests.train.test_loop import fail_from_write


@pytest.fixture(scope="module")
def farm(tmp_path_factory: pytest.TempPathFactory) -> Farm:
    return plant(tmp_path_factory.mktemp("farm"))


def words(farm: Farm, *more: str) -> list[str]:
    settings = ["batch_size=4", "max_steps=7", "save_every=2", "eval_every=3", "early_stop=null", "lr=0.01"]
    files = ["--data", str(farm.train), "--eval", str(farm.held)]
    return ["train", "--model", farm.model, *files, *settings, "--json", *more]


@pytest.fixture(scope="module")
def undisturbed(farm: Farm, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The home of a run that nothing happened to."""
    home = farm.new_home(tmp_path_factory.mktemp("undisturbed") / "home")
    done = worker.run(*words(farm), home=home)
    assert done.code == 0, done.err
    return home


def go_on(farm: Farm, home: Path, **trouble: int) -> worker.Ended:
    """Resumes the run, or starts it when it was killed before there was one."""
    started = [*(home / "runs").glob("*/run.json")] if (home / "runs").exists() else []
    return worker.run(*(["runs", "resume", the_run(home), "--json"] if started else words(farm)), home=home, **trouble)


def assert_same_result(home: Path, undisturbed: Path, done: worker.Ended) -> None:
    assert done.code == 0, done.err
    assert curve(home) == curve(undisturbed)
    assert adapter_bytes(home) == adapter_bytes(undisturbed)
    assert [p.name for p in (home / "versions" / "orders").iterdir() if p.name.isdigit()] == ["1"]
    result, expected = (
        json.loads(done.out),
        json.loads((undisturbed / "runs" / the_run(undisturbed) / "run.json").read_text()),
    )
    clock = {"run", "run_dir", "train_seconds", "peak_rss_bytes"}
    assert {k: v for k, v in result.items() if k not in clock} == {
        k: v for k, v in expected["result"].items() if k not in clock
    }


def test_the_same_run_twice_is_the_same_to_the_last_bit(farm: Farm, undisturbed: Path, tmp_path: Path) -> None:
    home = farm.new_home(tmp_path / "home")
    assert_same_result(home, undisturbed, worker.run(*words(farm), home=home))


@pytest.mark.parametrize("step", [1, 3, 6])
def test_ctrl_c_keeps_a_checkpoint_and_resume_ends_the_same(
    farm: Farm, undisturbed: Path, tmp_path: Path, step: int
) -> None:
    home = farm.new_home(tmp_path / "home")
    stopped = worker.run(*words(farm), home=home, interrupt_at_step=step)
    run = the_run(home)
    assert stopped.code == 130 and json.loads(stopped.out)["error"]["code"] == "interrupted"
    assert f"Stopped at step {step} of 7" in stopped.err and f"sodate runs resume {run}" in stopped.err
    assert (home / "runs" / run / "checkpoints" / f"step-{step:06d}").is_dir()
    (listed,) = json.loads(worker.run("runs", "list", "--json", home=home).out)
    assert (listed["status"], listed["version"]) == ("interrupted", None)
    assert_same_result(home, undisturbed, go_on(farm, home))
    assert [e["kind"] for e in events(home)][:3] == ["started", "interrupted", "resumed"]


@pytest.mark.parametrize("write", [2, 14, 26, 41, 60, 89])
def test_kill_9_in_the_middle_of_a_write_and_resume_ends_the_same(
    farm: Farm, undisturbed: Path, tmp_path: Path, write: int
) -> None:
    home = farm.new_home(tmp_path / "home")
    killed = worker.run(*words(farm), home=home, kill_at_write=write)
    assert killed.code == -signal.SIGKILL
    again = go_on(farm, home, kill_at_write=write + 3)  # and once more, a little later
    assert again.code in (0, -signal.SIGKILL)
    done = go_on(farm, home)
    assert_same_result(home, undisturbed, done)
    assert not [*(home / "runs").rglob("*.tmp")]


def test_ctrl_c_on_the_real_command(farm: Farm, undisturbed: Path, tmp_path: Path) -> None:
    home = farm.new_home(tmp_path / "home")
    environment = {**os.environ, "SODATE_HOME": str(home), "SODATE_LANG": "en"}
    command = [sys.executable, "-m", "sodate.cli"]
    process = subprocess.Popen([*command, *words(farm, "max_steps=5000")], env=environment, stderr=subprocess.PIPE)
    deadline = time.monotonic() + 60
    while not [*home.glob("runs/*/metrics.jsonl")] and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130 and b"sodate runs resume sft-" in said and b"Traceback" not in said


def test_eight_rows_at_once_and_one_at_a_time_give_the_same_numbers(
    farm: Farm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    results = []
    for name, micro in (("one", 1), ("all", 100_000)):
        monkeypatch.setenv("SODATE_HOME", str(farm.new_home(tmp_path / name)))
        keys: dict[str, Any] = {"model": farm.model, "data": [str(farm.train)], "batch_size": 8, "max_steps": 4}
        sodate.train(**keys, micro_tokens=micro, lr=1e-3, dtype="float32")
        results.append((curve(tmp_path / name), safetensors.torch.load(adapter_bytes(tmp_path / name))))
    (one, one_tensors), (many, many_tensors) = results
    for a, b in zip(one, many, strict=True):
        assert a["loss"] == pytest.approx(b["loss"], rel=1e-5)
        assert a["supervised_tokens"] == b["supervised_tokens"] and a["computed_tokens"] > b["computed_tokens"]
    for name, tensor in one_tensors.items():
        assert float((tensor - many_tensors[name]).norm()) <= 1e-5 * max(1.0, float(tensor.norm()))


def test_held_out_rows_are_watched_without_touching_the_training(farm: Farm, undisturbed: Path, tmp_path: Path) -> None:
    home = farm.new_home(tmp_path / "home")
    alone = [w for w in words(farm) if w not in ("--eval", str(farm.held))]
    assert worker.run(*alone, home=home).code == 0
    watched = curve(undisturbed)
    assert [line["step"] for line in watched if "eval_loss" in line] == [3, 6, 7]
    assert [line["loss"] for line in curve(home)] == [line["loss"] for line in watched]


def test_a_poisoned_weight_stops_with_the_rows_named(farm: Farm, tmp_path: Path) -> None:
    folder = tmp_path / "poisoned"
    shutil.copytree(farm.folder, folder)
    weights = safetensors.torch.load_file(folder / "model.safetensors")
    weights["model.norm.weight"][0] = float("nan")
    safetensors.torch.save_file(weights, folder / "model.safetensors", {"format": "pt"})
    home = tmp_path / "home"
    home.mkdir()
    done = worker.run(
        "train", "--model", str(folder), "--data", str(farm.train), "shuffle=false", "batch_size=2", home=home
    )
    assert done.code == 1 and "Step 1: loss nan" in done.err
    assert "orders.jsonl:1, orders.jsonl:2." in done.err and "orders.jsonl:3" not in done.err
    (listed,) = json.loads(worker.run("runs", "list", "--json", home=home).out)
    assert listed["status"] == "failed"


def test_a_second_process_on_the_same_run_is_refused(
    farm: Farm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = farm.new_home(tmp_path / "home")
    assert worker.run(*words(farm), home=home, interrupt_at_step=2).code == 130
    monkeypatch.setenv("SODATE_HOME", str(home))
    run = RunFolder.find(the_run(home))
    with run.locked():
        done = go_on(farm, home)
        assert done.code == 1 and f"{run.name} is in use by another process (pid {os.getpid()}" in done.err
    assert run.status() == "interrupted"
    assert go_on(farm, home).code == 0


def test_a_run_does_not_go_on_with_other_data(farm: Farm, tmp_path: Path) -> None:
    home = farm.new_home(tmp_path / "home")
    mine = write_rows(tmp_path / "orders.jsonl", [order(n) for n in range(11, 20)])
    command = ["train", "--model", farm.model, "--data", str(mine), "batch_size=2", "max_steps=6"]
    assert worker.run(*command, home=home, interrupt_at_step=2).code == 130
    write_rows(mine, [order(n) for n in range(11, 21)])
    done = go_on(farm, home)
    assert done.code == 1 and "training data changed since run" in done.err
    write_rows(mine, [order(n) for n in range(11, 20)])
    assert go_on(farm, home).code == 0


def test_a_finished_run_is_returned_as_it_is(farm: Farm, undisturbed: Path) -> None:
    before = adapter_bytes(undisturbed)
    done = worker.run("runs", "resume", the_run(undisturbed), "--json", home=undisturbed)
    assert done.code == 0 and json.loads(done.out)["version"] == "orders@1" and adapter_bytes(undisturbed) == before


def test_a_version_is_named_after_its_file_even_when_that_is_no_name(farm: Farm, tmp_path: Path) -> None:
    home = farm.new_home(tmp_path / "home")
    mine = write_rows(tmp_path / "注文 2026.jsonl", [order(n) for n in range(11, 20)])
    done = worker.run("train", "--model", farm.model, "--data", str(mine), "max_steps=1", "--json", home=home)
    assert done.code == 0 and json.loads(done.out)["version"] == "2026@1"


def test_a_disk_that_fills_up_while_training_is_told_in_one_sentence(
    farm: Farm, undisturbed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys: dict[str, Any] = {"model": farm.model, "data": [str(farm.train)], "eval": str(farm.held), "batch_size": 4}
    keys |= {"max_steps": 7, "save_every": 2, "eval_every": 3, "early_stop": None, "lr": 0.01}
    for number in (1, 4, 30, 68, 88):
        home = farm.new_home(tmp_path / str(number))
        monkeypatch.setenv("SODATE_HOME", str(home))
        with pytest.MonkeyPatch.context() as patch:
            fail_from_write(patch, number, half=number % 2 == 0)
            with pytest.raises(SodateError, match="Not enough disk space to write"):
                sodate.train(**keys)
        assert_same_result(home, undisturbed, go_on(farm, home))


def test_a_damaged_best_checkpoint_is_cleared_away_to_be_made_again_not_registered(tmp_path: Path) -> None:
    model = torch.nn.Linear(2, 2)
    optimizer = torch.optim.AdamW(model.parameters())
    for step in (1, 2, 3):
        checkpoint.save(tmp_path / "checkpoints", step, model, optimizer, {}, {2})
    file = tmp_path / "checkpoints" / "step-000002" / "model.safetensors"
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(data)
    run = RunFolder(tmp_path)
    with pytest.raises(SodateError, match="is damaged"):
        _load_best(tmp_path / "checkpoints", 2, model, run)
    left = {path.name for path in (tmp_path / "checkpoints").iterdir()}
    assert left <= {"step-000001"}
    assert "damaged" in (tmp_path / "events.jsonl").read_text("utf-8")
