"""What happens to machines: failed fsyncs, death between micro-batches, cut files, exhausted memory, other threads."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from sodate.core.errors import SodateError
from sodate.core.runs import RunFolder
from sodate.train.loop import MicroBatchLoss, rows_of_step, train
from tests.train.test_loop import PLAN, Line, fit, lines, new_run, said, same

SHORT = replace(PLAN, steps=5, save_every=2, eval_every=2)


class Dies(Line):
    """Ends with `error` before the backward of its `at`-th row, counted over the whole run."""

    def __init__(self, at: int, error: BaseException) -> None:
        super().__init__()
        self.left, self.error = at, error

    def length(self, row: int) -> int:
        return 100 + row

    def parts(self, rows: Sequence[int]) -> Iterator[MicroBatchLoss]:
        for part in super().parts(rows):
            self.left -= 1
            if self.left == 0:
                raise self.error
            yield part


def die(run: RunFolder, line: Line) -> None:
    with run.locked():
        train(line.model, line, SHORT, run, lambda metrics: None)


def test_death_between_any_two_micro_batches_changes_nothing(tmp_path: Path) -> None:
    undisturbed = new_run(tmp_path / "undisturbed")
    expected = fit(undisturbed, SHORT)
    total = sum(len(rows_of_step(SHORT, 10, step)) for step in range(5))
    for at in range(1, total + 1):
        run = new_run(tmp_path / str(at))
        with pytest.raises(KeyboardInterrupt):
            die(run, Dies(at, KeyboardInterrupt()))
        assert same(fit(run, SHORT), expected) and lines(run) == lines(undisturbed)


def test_a_failed_fsync_fails_the_run_aloud_and_nothing_half_written_is_used(tmp_path: Path) -> None:
    undisturbed = new_run(tmp_path / "undisturbed")
    expected = fit(undisturbed, SHORT)
    for number in range(1, 1000):
        run = new_run(tmp_path / str(number))
        calls = 0

        def fsync(fd: int, real: object = os.fsync, number: int = number) -> None:
            nonlocal calls
            calls += 1
            if calls == number:
                raise OSError(errno.EIO, "Input/output error")

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(os, "fsync", fsync)
            try:
                fit(run, SHORT)
                break
            except OSError as error:
                assert error.errno == errno.EIO
            again = fit(run, SHORT)
        assert same(again, expected) and lines(run) == lines(undisturbed)
        assert not [*run.path.rglob("*.tmp")]
        shutil.rmtree(run.path)
    assert number > 20


@pytest.mark.parametrize("share", [0.0, 0.5, 0.99])
@pytest.mark.parametrize("part", ["model.safetensors", "optimizer.safetensors", "rng.safetensors", "state.json"])
def test_a_checkpoint_cut_short_is_named_and_the_one_before_is_used(part: str, share: float, tmp_path: Path) -> None:
    undisturbed = new_run(tmp_path / "undisturbed")
    expected = fit(undisturbed, SHORT)
    run = new_run(tmp_path / "run")
    with pytest.raises(KeyboardInterrupt):
        die(run, Dies(16, KeyboardInterrupt()))  # within the fifth step, after the checkpoint of the fourth
    newest = max((run.path / "checkpoints").iterdir())
    file = newest / part
    file.write_bytes(file.read_bytes()[: int(file.stat().st_size * share)])
    assert same(fit(run, SHORT), expected) and lines(run) == lines(undisturbed)
    (warning,) = [event["text"] for event in said(run) if event["kind"] == "warning"]
    assert newest.name in warning and "damaged" in warning


@pytest.mark.parametrize(
    "error", [MemoryError(), RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory")]
)
def test_exhausted_memory_names_the_step_its_longest_row_and_what_to_change(error: Exception, tmp_path: Path) -> None:
    run = new_run(tmp_path / "run")
    step = rows_of_step(SHORT, 10, 1)
    with pytest.raises(SodateError, match="Step 2: memory ran out") as caught:
        die(run, Dies(6, error))
    longest = max(step)
    assert f"points.csv:{longest + 2} with {100 + longest} tokens" in str(caught.value)
    assert "gradient_checkpointing=true" in str(caught.value) and "--memory" in str(caught.value)
    assert [line["step"] for line in lines(run)] == [1]
    undisturbed = new_run(tmp_path / "undisturbed")
    assert same(fit(run, SHORT), fit(undisturbed, SHORT))


def test_another_error_is_not_taken_for_exhausted_memory(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
        die(new_run(tmp_path / "run"), Dies(2, RuntimeError("mat1 and mat2 shapes cannot be multiplied")))


def test_a_lock_left_by_a_dead_process_is_no_lock(tmp_path: Path) -> None:
    run = new_run(tmp_path / "run")
    (run.path / "lock").write_text("pid 1 on elsewhere")
    with run.locked():
        assert str(os.getpid()) in (run.path / "lock").read_text()
