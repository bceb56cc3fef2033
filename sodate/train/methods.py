"""The table `train` dispatches by: what a method makes of an example, and how it is built from what was prepared."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from sodate.core.recipe import Recipe
from sodate.core.runs import RunFolder
from sodate.core.text import tr
from sodate.core.types import Conversation, Example
from sodate.data.tokens import TokenRows
from sodate.render.renderer import Rendered, Renderer
from sodate.train.loop import Method
from sodate.train.reinforce import as_task, grpo, ppo, render_prompt
from sodate.train.sft import SFT


@dataclass(frozen=True, slots=True)
class Rows:
    """Examples and, in the same order, the sequences and the name (file:line) of each."""

    examples: Sequence[Example]
    sequences: Sequence[list[Rendered]]
    names: Sequence[str]

    @property
    def longest(self) -> int:
        """Tokens of the longest sequence; 0 without any."""
        if isinstance(self.sequences, TokenRows):
            return int(self.sequences.lengths.max(initial=0))
        return max((len(sequence.ids) for row in self.sequences for sequence in row), default=0)


@dataclass(frozen=True, slots=True)
class Setup:
    """All that a method may be built from. `model` carries its adapter; `held_out` may be empty."""

    recipe: Recipe
    model: Any
    renderer: Renderer
    run: RunFolder
    train: Rows
    held_out: Rows
    micro_tokens: int
    say: Callable[[str], None]  # a warning for the person: kept with the run and shown


@dataclass(frozen=True, slots=True)
class Kind:
    """A training method as `train` sees it."""

    takes: Callable[[Example], Sequence[Example]]  # rows made of an example as read; none: not for this method
    wants: Callable[[], str]  # what the rows have to be, for the sentence when none is
    render: Callable[[Renderer, Example], list[Rendered]]
    build: Callable[[Setup], Method]


def _conversation(example: Example) -> Sequence[Example]:
    return (example,) if isinstance(example, Conversation) else ()


def supervised(renderer: Renderer, example: Example) -> list[Rendered]:
    """The row of a conversation, every reply of it."""
    assert isinstance(example, Conversation)
    return renderer.render(example)


def _sft(setup: Setup) -> Method:
    rows = setup.train
    held_out = setup.held_out.sequences
    return SFT(setup.model, rows.sequences, held_out, names=rows.names, micro_tokens=setup.micro_tokens)


def _tasks_wanted() -> str:
    return tr("prompts with what their graders need, such as reference_answer",
              "プロンプトと採点に必要な項目 (reference_answer など)")  # fmt: skip


KINDS: dict[str, Kind] = {
    "sft": Kind(
        _conversation,
        lambda: tr("prompts with one reply each", "返答が 1 つずつあるプロンプト"),
        supervised,
        _sft,
    ),
    "grpo": Kind(as_task, _tasks_wanted, render_prompt, grpo),
    "ppo": Kind(as_task, _tasks_wanted, render_prompt, ppo),
}
