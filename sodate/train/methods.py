"""Training methods by name. Each one stands in a file of its own, `sodate/train/NAME.py`, and registers itself there as
`METHOD`; the file is imported when its method is asked for."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sodate.core.errors import SodateError
from sodate.core.recipe import METHODS, Recipe
from sodate.core.runs import RunFolder
from sodate.core.types import Example
from sodate.render.renderer import Rendered, Renderer
from sodate.train.loop import Method

if TYPE_CHECKING:
    from sodate.grade.outcome import Judges
    from sodate.train.rewards import Judge
    from sodate.train.rows import Rows


@dataclass(frozen=True, slots=True)
class Setup:
    """All that a method may be built from. `model` carries its adapter; `held_out` may be empty."""

    recipe: Recipe
    model: Any
    renderer: Callable[[], Renderer]  # reads it: only rollouts need one while they train
    run: RunFolder
    train: Rows
    held_out: Rows
    micro_tokens: int
    say: Callable[[str], None]  # a warning for the person: kept with the run and shown
    judge: Callable[[str], Judge]  # the scores of a reward model by its name
    judges: Judges  # the models that graders may ask
    teacher: Callable[[str], Any] | None = None  # a model by its name, with this one's tokenizer, without a gradient


@dataclass(frozen=True, slots=True)
class TrainingMethod:
    """A training method as `train` sees it: which rows it learns from, how they are rendered, how it is built."""

    takes: Callable[[Example], Sequence[Example]]  # rows made of an example as read; none: not for this method
    wants: Callable[[], str]  # what the rows have to be, for the sentence when none is
    render: Callable[[Renderer, Sequence[Example]], Sequence[list[Rendered] | SodateError]]  # each row, or its error
    build: Callable[[Setup], Method]
    report: Callable[[Any], dict[str, Any]] = lambda method: {}  # what the result says beyond the loop's figures
    keeps_head: bool = False  # whether the version is a scalar head too


def named(name: str) -> TrainingMethod:
    """The method that a recipe calls `name`, one of `core.recipe.METHODS`."""
    assert name in METHODS
    method: TrainingMethod = importlib.import_module(f"sodate.train.{name}").METHOD
    return method


def one_by_one(
    render: Callable[[Renderer, Example], list[Rendered]],
) -> Callable[[Renderer, Sequence[Example]], list[list[Rendered] | SodateError]]:
    """Renders many rows by a function that renders one; a row that can't be rendered gives its error."""

    def many(renderer: Renderer, rows: Sequence[Example]) -> list[list[Rendered] | SodateError]:
        found: list[list[Rendered] | SodateError] = []
        for row in rows:
            try:
                found.append(render(renderer, row))
            except SodateError as error:
                found.append(error)
        return found

    return many
