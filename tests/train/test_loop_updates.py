"""Steps of several optimiser updates, and what a method remembers from step to step."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from sodate.core.errors import SodateError
from sodate.train.loop import MicroBatchLoss, Update, Validation, rows_of_step, train
from tests.train.test_loop import PLAN, Line, lines, new_run, same

LONG = replace(PLAN, lr=0.05, eval_every=2, save_every=2, steps=6, max_grad_norm=0.5)


class Rollouts(Line):
    """Three updates over one "rollout" made with the weights and the memory the step begins with."""

    def __init__(self, poison_update: int = -1) -> None:
        super().__init__()
        self.memory = {"coefficient": 1.0}
        self.poison_update = poison_update

    def updates(self, step: int, rows: Sequence[int]) -> Iterator[Update]:
        with torch.no_grad():
            target = self.y[rows] + self.memory["coefficient"] * self.model(self.x[rows])
        for number in range(3):
            seen: dict[str, float] = {}
            yield Update(len(rows) + number, self.of(rows, target, number, seen), seen)
        self.memory["coefficient"] *= 0.9

    def of(
        self, rows: Sequence[int], target: torch.Tensor, number: int, seen: dict[str, float]
    ) -> Iterator[MicroBatchLoss]:
        for row, goal in zip(rows, target, strict=True):
            loss = (self.model(self.x[row]) - goal).square().sum()
            if number == self.poison_update:
                loss = loss * float("nan")
            yield MicroBatchLoss(
                loss, tokens=3, supervised_tokens=2, computed_tokens=1, sums={"accuracy": 2 * loss.item()}
            )
        seen |= {"coefficient": self.memory["coefficient"], f"update_{number}": number}

    def validate(self) -> Validation | None:
        found = super().validate()
        assert found is not None
        return Validation(found.loss, {"eval_coefficient": self.memory["coefficient"]})


def test_a_step_of_three_updates_is_three_steps_of_adamw(tmp_path: Path) -> None:
    run, method, oracle = new_run(tmp_path / "run"), Rollouts(), Line()
    with run.locked():
        train(method.model, method, replace(LONG, steps=1), run, lambda line: None)
    optimizer = torch.optim.AdamW(oracle.model.parameters(), lr=0.05, weight_decay=0.0)
    (metrics,) = lines(run)
    rows = rows_of_step(LONG, 10, 0)
    target = (oracle.y[rows] + oracle.model(oracle.x[rows])).detach()
    sums, norms = [], []
    for number in range(3):
        optimizer.zero_grad()
        loss = (oracle.model(oracle.x[rows]) - target).square().sum()
        (loss / (4 + number)).backward()  # type: ignore[no-untyped-call]
        norms.append(torch.nn.utils.clip_grad_norm_(oracle.model.parameters(), 0.5).item())
        optimizer.step()
        sums.append(loss.item())
    for name, tensor in oracle.model.named_parameters():
        torch.testing.assert_close(dict(method.model.named_parameters())[name], tensor, rtol=1e-4, atol=1e-5)
    assert metrics["loss"] == pytest.approx(sum(sums) / (4 + 5 + 6), rel=1e-5)
    assert metrics["accuracy"] == pytest.approx(2 * metrics["loss"], rel=1e-5)
    assert metrics["grad_norm"] == pytest.approx(max(norms), rel=1e-5)
    assert (metrics["tokens"], metrics["supervised_tokens"], metrics["computed_tokens"]) == (36, 24, 12)
    assert metrics["coefficient"] == 1.0 and [metrics[f"update_{n}"] for n in range(3)] == [0, 1, 2]
    assert metrics["eval_coefficient"] == pytest.approx(0.9)


@pytest.mark.parametrize("at", [1, 3, 5])
def test_a_killed_run_goes_on_with_the_memory_of_its_checkpoint(at: int, tmp_path: Path) -> None:
    undisturbed, killed = new_run(tmp_path / "undisturbed"), new_run(tmp_path / "killed")

    class Killed(Exception):
        pass

    def kill(line: dict[str, Any]) -> None:
        if line["step"] == at:
            raise Killed

    def go(run: Any, on_step: Any) -> dict[str, torch.Tensor]:
        method = Rollouts()
        with run.locked():
            train(method.model, method, LONG, run, on_step)
        return dict(method.model.named_parameters())

    expected = go(undisturbed, lambda line: None)
    with pytest.raises(Killed):
        go(killed, kill)
    assert same(go(killed, lambda line: None), expected)
    assert lines(killed) == lines(undisturbed)
    assert [line["coefficient"] for line in lines(killed)] == pytest.approx([0.9**n for n in range(6)])


def test_a_later_update_that_is_no_number_ends_the_run_too(tmp_path: Path) -> None:
    run, method = new_run(tmp_path / "run"), Rollouts(poison_update=1)
    with run.locked(), pytest.raises(SodateError, match="Step 1: loss nan"):
        train(method.model, method, LONG, run, lambda line: None)
    assert not lines(run) and all(p.isfinite().all() for p in method.model.parameters())
