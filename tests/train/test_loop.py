"""What the loop promises: order of rows, schedule, and that a stopped run ends where an undisturbed one does."""

from __future__ import annotations

import errno
import json
import os
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sodate.core.errors import SodateError
from sodate.core.runs import RunFolder
from sodate.library.weights import read_tensors
from sodate.train.checkpoint import verified
from sodate.train.loop import MicroBatchLoss, Plan, Update, Validation, learning_rate, rows_of_step, train

PLAN = Plan(
    steps=10, batch_size=4, shuffle=True, seed=0, lr=1.0, schedule="linear", warmup_steps=0, weight_decay=0.0,
    max_grad_norm=1.0, save_every=3, eval_every=100, early_stop=None,
)  # fmt: skip


# ── schedule and order ───────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("schedule", "warmup", "expected"),
    [
        ("linear", 0, [1.0, 0.75, 0.5, 0.25]),
        ("linear", 2, [0.0, 0.5, 1.0, 0.5]),
        ("cosine", 0, [1.0, 0.8535534, 0.5, 0.1464466]),  # (1 + cos(0°, 45°, 90°, 135°)) / 2
        ("cosine", 4, [0.0, 0.25, 0.5, 0.75]),
        ("constant", 1, [0.0, 1.0, 1.0, 1.0]),
    ],
)
def test_learning_rates_by_hand(schedule: str, warmup: int, expected: list[float]) -> None:
    plan = replace(PLAN, steps=4, schedule=schedule, warmup_steps=warmup)
    assert [learning_rate(plan, step) for step in range(4)] == pytest.approx(expected)


@given(st.integers(1, 40), st.integers(1, 12), st.integers(0, 5), st.booleans())
@settings(max_examples=50, deadline=None)
def test_every_epoch_sees_every_row_once(rows: int, batch_size: int, seed: int, shuffle: bool) -> None:
    plan = replace(PLAN, batch_size=batch_size, seed=seed, shuffle=shuffle)
    per_epoch = -(-rows // batch_size)
    epochs = [[rows_of_step(plan, rows, e * per_epoch + b) for b in range(per_epoch)] for e in range(2)]
    for batches in epochs:
        assert sorted(row for batch in batches for row in batch) == list(range(rows))
        assert all(len(batch) == batch_size for batch in batches[:-1])
    assert shuffle or epochs[0] == epochs[1]


def test_the_order_is_a_function_of_seed_and_epoch_alone() -> None:
    late = [rows_of_step(PLAN, 100, step) for step in (60, 7, 60)]
    assert late[0] == late[2] == rows_of_step(replace(PLAN, lr=5.0, steps=900), 100, 60)
    first, second = ([r for b in range(25) for r in rows_of_step(PLAN, 100, e * 25 + b)] for e in (0, 1))
    assert first != second and first != list(range(100))
    assert rows_of_step(replace(PLAN, seed=1), 100, 60) != late[0]


# ── a method without a language model, to stop the loop at every single write ────────────────────────────────────────


class Line:
    """Least squares on ten points; row 7 can be poisoned."""

    rows = 10
    names = tuple(f"points.csv:{n + 2}" for n in range(10))

    def __init__(self, poison: bool = False) -> None:
        torch.manual_seed(0)
        self.model = torch.nn.Linear(3, 2)
        self.x, self.y = torch.randn(10, 3), torch.randn(10, 2)
        self.memory: dict[str, float] = {}
        if poison:
            self.x[7] = float("nan")

    def length(self, row: int) -> int:
        return 3

    def updates(self, step: int, rows: Sequence[int]) -> Iterator[Update]:
        yield Update(float(len(rows)), self.parts(rows))

    def parts(self, rows: Sequence[int]) -> Iterator[MicroBatchLoss]:
        for row in rows:
            loss = (self.model(self.x[row]) - self.y[row]).square().sum()
            yield MicroBatchLoss(
                loss, tokens=3, supervised_tokens=2, computed_tokens=3, sums={"accuracy": 2 * loss.item()}
            )

    def validate(self) -> Validation | None:
        with torch.inference_mode():
            return Validation(float((self.model(self.x) - self.y).square().mean()), {"eval_rows": 10})


def fit(run: RunFolder, plan: Plan = PLAN, **method: Any) -> dict[str, torch.Tensor]:
    line = Line(**method)
    with run.locked():
        train(line.model, line, plan, run, lambda metrics: None)
    return {name: tensor.detach().clone() for name, tensor in line.model.named_parameters()}


def new_run(path: Path) -> RunFolder:
    path.mkdir(parents=True)
    return RunFolder(path)


def lines(run: RunFolder) -> list[dict[str, Any]]:
    return [{k: v for k, v in line.items() if k != "seconds"} for line in run.metrics()]


def said(run: RunFolder) -> list[dict[str, Any]]:
    return [json.loads(text) for text in (run.path / "events.jsonl").read_text("utf-8").splitlines()]


def same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return set(a) == set(b) and all(torch.equal(a[name], b[name]) for name in a)


def test_a_step_is_adamw_on_the_mean_of_its_rows(tmp_path: Path) -> None:
    plan = replace(PLAN, steps=5, lr=0.1, weight_decay=0.02, max_grad_norm=0.5)
    run = new_run(tmp_path / "run")
    found = fit(run, plan)
    oracle = Line()
    optimizer = torch.optim.AdamW(oracle.model.parameters(), lr=0.1, weight_decay=0.02)
    for step, metrics in enumerate(lines(run)):
        rows = rows_of_step(plan, 10, step)
        optimizer.param_groups[0]["lr"] = 0.1 * (1 - step / 5)
        optimizer.zero_grad()
        loss = (oracle.model(oracle.x[rows]) - oracle.y[rows]).square().sum() / len(rows)
        loss.backward()  # type: ignore[no-untyped-call]
        norm = torch.nn.utils.clip_grad_norm_(oracle.model.parameters(), 0.5)
        optimizer.step()
        assert metrics["loss"] == pytest.approx(loss.item(), rel=1e-5)
        assert metrics["accuracy"] == pytest.approx(2 * loss.item(), rel=1e-5)
        assert metrics["grad_norm"] == pytest.approx(norm.item(), rel=1e-5)
        assert metrics["lr"] == pytest.approx(0.1 * (1 - step / 5))
        assert (metrics["step"], metrics["steps"], metrics["tokens"]) == (step + 1, 5, 3 * len(rows))
    for name, tensor in oracle.model.named_parameters():
        torch.testing.assert_close(found[name], tensor.detach(), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("half", [False, True], ids=["nothing fits", "half fits"])
def test_a_full_disk_at_any_write_says_so_and_costs_nothing_but_time(
    half: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "fsync", lambda fd: None)  # real ones take most of this test's time
    plan = replace(PLAN, steps=5, save_every=2, eval_every=2)
    undisturbed = new_run(tmp_path / "undisturbed")
    expected = fit(undisturbed, plan)
    for number in range(1, 1000):
        run = new_run(tmp_path / str(number))
        with pytest.MonkeyPatch.context() as patch:
            fail_from_write(patch, number, half)
            try:
                fit(run, plan)
                break
            except SodateError as error:
                assert "Not enough disk space" in str(error) and "Free some space" in str(error)
        assert same(fit(run, plan), expected)
        assert lines(run) == lines(undisturbed)
        assert not [*run.path.rglob("*.tmp")]
        said(run)  # every line is whole, though some were cut off at first
        shutil.rmtree(run.path)
    assert number > 40  # 5 lines of metrics, 3 checkpoints of 4 files: each was the first to fail


def fail_from_write(patch: pytest.MonkeyPatch, number: int, half: bool) -> None:
    """A disk that is full from its `number`-th write on; half of that one may still fit."""
    calls = 0

    def full() -> bool:
        nonlocal calls
        calls += 1
        return calls >= number

    def write(fd: int, data: bytes, real: Any = os.write) -> int:
        if not full():
            return int(real(fd, data))
        if half and calls == number:
            return int(real(fd, data[: len(data) // 2]))
        raise OSError(errno.ENOSPC, "No space left on device")

    def fsync(fd: int, real: Any = os.fsync) -> None:
        if full():
            raise OSError(errno.ENOSPC, "No space left on device")
        real(fd)

    patch.setattr(os, "write", write)
    patch.setattr(os, "fsync", fsync)


def test_a_loss_that_is_no_number_stops_the_run_and_names_its_rows(tmp_path: Path) -> None:
    run = new_run(tmp_path / "run")
    first = next(step for step in range(10) if 7 in rows_of_step(PLAN, 10, step))
    with pytest.raises(SodateError, match=rf"Step {first + 1}: loss nan.*points\.csv:9") as caught:
        fit(run, poison=True)
    assert caught.value.exit_code == 1
    assert len(lines(run)) == first  # the broken step is not in the metrics
    for file in run.path.rglob("model.safetensors"):
        assert all(tensor.isfinite().all() for tensor in read_tensors(file).values())


def test_old_checkpoints_go_but_the_best_and_the_last_two_stay(tmp_path: Path) -> None:
    run = new_run(tmp_path / "run")
    # At this rate the loss rises from the first validation on, so that step 2 stays the best.
    fit(run, replace(PLAN, lr=0.001, schedule="constant", eval_every=2, save_every=1, steps=9, early_stop=None))
    evals = {line["step"]: line["eval_loss"] for line in lines(run) if "eval_loss" in line}
    best = min(evals, key=lambda step: evals[step])
    kept = sorted(int(p.name.removeprefix("step-")) for p in (run.path / "checkpoints").iterdir())
    assert kept == sorted({best, 8, 9})


def test_an_early_checkpoint_stays_where_why_needs_one(tmp_path: Path) -> None:
    run = new_run(tmp_path / "run")
    fit(run, replace(PLAN, eval_every=20, save_every=1, steps=9, early=3))
    assert sorted(path.name for path in (run.path / "checkpoints").iterdir()) == [
        "step-000003", "step-000008", "step-000009",
    ]  # fmt: skip


def test_early_stopping_ends_with_the_best_weights(tmp_path: Path) -> None:
    plan = replace(PLAN, lr=0.5, schedule="constant", eval_every=1, early_stop=2, steps=60, max_grad_norm=100.0)
    run = new_run(tmp_path / "run")
    found = fit(run, plan)
    evals = [line["eval_loss"] for line in lines(run)]
    best = evals.index(min(evals)) + 1
    assert len(evals) == best + 2 < 60
    assert same(found, fit(new_run(tmp_path / "short"), replace(plan, steps=best)))


def test_validation_disturbs_nothing(tmp_path: Path) -> None:
    with_it, without = new_run(tmp_path / "with"), new_run(tmp_path / "without")
    plan = replace(PLAN, lr=0.01)
    one, other = fit(with_it, replace(plan, eval_every=1)), fit(without, plan)
    assert [line["loss"] for line in lines(with_it)] == [line["loss"] for line in lines(without)]
    last = read_tensors(with_it.path / "checkpoints" / "step-000010" / "model.safetensors")
    assert same(last, other) and set(one) == set(other)


@pytest.mark.parametrize("part", ["model.safetensors", "optimizer.safetensors", "rng.safetensors", "state.json"])
def test_a_checkpoint_with_any_bit_flipped_is_named_and_the_one_before_is_used(part: str, tmp_path: Path) -> None:
    plan = replace(PLAN, steps=8, save_every=2, eval_every=2)
    undisturbed = new_run(tmp_path / "undisturbed")
    expected = fit(undisturbed, plan)
    stopped = new_run(tmp_path / "stopped")

    class Stopped(Exception):
        pass

    def stop(metrics: dict[str, Any]) -> None:
        if metrics["step"] == 7:
            raise Stopped

    line = Line()
    with stopped.locked(), pytest.raises(Stopped):
        train(line.model, line, plan, stopped, stop)
    size = (stopped.path / "checkpoints" / "step-000006" / part).stat().st_size
    for place in [int(size * share) for share in (0.02, 0.35, 0.6, 0.97)]:
        run = RunFolder(tmp_path / f"run-{place}")
        shutil.copytree(stopped.path, run.path)
        file = run.path / "checkpoints" / "step-000006" / part
        content = bytearray(file.read_bytes())
        content[place] ^= 4
        file.write_bytes(content)
        assert same(fit(run, plan), expected)
        assert lines(run) == lines(undisturbed)
        (warning,) = [e["text"] for e in said(run) if e["kind"] == "warning"]
        # A hash in state.json that does not fit blames the file it is of.
        named = part if part != "state.json" else ""
        assert f"step-000006/{named}" in warning and " is damaged: " in warning
        assert [e["step"] for e in said(run) if e["kind"] == "resumed"] == [4]
        for kept in (run.path / "checkpoints").iterdir():
            verified(kept)  # the damaged one was written anew
