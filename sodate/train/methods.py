"""The table `train` dispatches by: what a method makes of an example, and how it is built from what was prepared."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from sodate.core.recipe import DPORecipe, KTORecipe, ORPORecipe, Recipe, RewardRecipe, SimPORecipe
from sodate.core.runs import RunFolder
from sodate.core.text import tr
from sodate.core.types import Conversation, Example, Judgement, Preference
from sodate.data.tokens import TokenRows
from sodate.model import scalar_head
from sodate.render.renderer import Rendered, Renderer
from sodate.train import cached_reference, dpo, kto, orpo, pairs, reward, simpo
from sodate.train.loop import Method
from sodate.train.reinforce import as_tasks, grpo, ppo, render_prompt
from sodate.train.rewards import Judge
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
    renderer: Callable[[], Renderer]  # reads it: only rollouts need one while they train
    run: RunFolder
    train: Rows
    held_out: Rows
    micro_tokens: int
    say: Callable[[str], None]  # a warning for the person: kept with the run and shown
    judge: Callable[[str], Judge]  # the scores of a reward model by its name


@dataclass(frozen=True, slots=True)
class Kind:
    """A training method as `train` sees it."""

    takes: Callable[[Example], Sequence[Example]]  # rows made of an example as read; none: not for this method
    wants: Callable[[], str]  # what the rows have to be, for the sentence when none is
    render: Callable[[Renderer, Example], list[Rendered]]
    build: Callable[[Setup], Method]
    report: Callable[[Any], dict[str, Any]] = lambda method: {}  # what the result says beyond the loop's figures
    keeps_head: bool = False  # whether the version is a scalar head too


def _conversation(example: Example) -> Sequence[Example]:
    """A conversation as it is, and of a pair the reply that people want, where they said so."""
    if isinstance(example, Preference):
        return (example.lesson,) if example.lesson else ()
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


def _pairs(setup: Setup) -> Method:
    """DPO, ORPO or SimPO: the same pairs under another objective."""
    recipe = setup.recipe
    start, likelihood_weight = None, 0.0
    if isinstance(recipe, DPORecipe):
        objective = dpo.objective(recipe)
        start, likelihood_weight = cached_reference.start_of(setup.run.manifest), recipe.sft_weight
    elif isinstance(recipe, ORPORecipe):
        objective, likelihood_weight = orpo.objective(recipe), 1.0
    else:
        assert isinstance(recipe, SimPORecipe)
        objective = simpo.objective(recipe)
    return pairs.Pairs(
        setup.model, setup.train.sequences, setup.held_out.sequences, objective, names=setup.train.names,
        micro_tokens=setup.micro_tokens, warn=setup.say, start=start, likelihood_weight=likelihood_weight,
    )  # fmt: skip


def _kto(setup: Setup) -> Method:
    assert isinstance(setup.recipe, KTORecipe)

    def judged(rows: Rows) -> tuple[list[Rendered], list[bool]]:
        wanted = [isinstance(example, Judgement) and example.desirable for example in rows.examples]
        return [sequences[0] for sequences in rows.sequences], wanted

    return kto.KTO(
        setup.model, judged(setup.train), judged(setup.held_out), setup.recipe, names=setup.train.names,
        micro_tokens=setup.micro_tokens, warn=setup.say, start=cached_reference.start_of(setup.run.manifest),
    )  # fmt: skip


def _reference_seconds(method: Any) -> dict[str, Any]:
    return {"reference_seconds": method.reference_seconds}


def _wants_pairs() -> str:
    return tr(
        "prompts with a chosen and a rejected reply, or with ranked replies",
        "選ばれた返答と退けた返答の組、または順位付きの返答",
    )


def _reward(setup: Setup) -> Method:
    assert isinstance(setup.recipe, RewardRecipe)
    scalar_head.add(setup.model)
    train, held_out = (
        [reward.compared(example, s) for example, s in zip(rows.examples, rows.sequences, strict=True)]
        for rows in (setup.train, setup.held_out)
    )
    return reward.Reward(
        setup.model, train, held_out, setup.recipe, names=setup.train.names, micro_tokens=setup.micro_tokens
    )


KINDS: dict[str, Kind] = {
    "sft": Kind(
        _conversation,
        lambda: tr("prompts with one reply each", "返答が 1 つずつあるプロンプト"),
        supervised,
        _sft,
    ),
    "grpo": Kind(as_tasks, _tasks_wanted, render_prompt, grpo),
    "ppo": Kind(as_tasks, _tasks_wanted, render_prompt, ppo),
    "dpo": Kind(pairs.takes, _wants_pairs, pairs.render, _pairs, _reference_seconds),
    "kto": Kind(
        kto.takes,
        lambda: tr("replies labelled true or false, or preference pairs", "true / false の付いた返答、または選好の組"),
        kto.render,
        _kto,
        _reference_seconds,
    ),
    "orpo": Kind(pairs.takes, _wants_pairs, pairs.render, _pairs),
    "simpo": Kind(pairs.takes, _wants_pairs, pairs.render, _pairs),
    "reward": Kind(reward.takes, _wants_pairs, reward.render, _reward, lambda method: method.report(), True),
}
