"""What a sampled reply is worth: a weighted mean of graders. A grader that fails stops the run and shows the sample."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from sodate.core.errors import SodateError, UsageError
from sodate.core.text import en, ja, tr
from sodate.core.types import Conversation, Message
from sodate.grade import Grader, parse_grader

MODEL = "reward_model"  # the kind of reward that a version gives: reward_model:judge@1
_WEIGHTED = re.compile(r"\s*(?:([0-9]*\.?[0-9]+)\s*\*\s*)?(.+?)\s*")


@dataclass(frozen=True, slots=True)
class Task:
    """A prompt as token ids and what graders need to judge a reply to it. `name` is its file:line.

    `messages` and `tools` are the prompt as it was asked, for a judge that renders it in its own way.
    """

    prompt: list[int]
    reference: str | None
    item: Mapping[str, Any]
    name: str
    messages: tuple[Message, ...] = ()
    tools: tuple[Mapping[str, Any], ...] = ()


@dataclass(frozen=True, slots=True)
class Answer:
    """A reply to a task: its ids as generated, and its text as graders read it."""

    task: Task
    ids: list[int]
    text: str

    def conversation(self) -> Conversation:
        """The prompt with this reply."""
        return Conversation((*self.task.messages, Message("assistant", self.text)), self.task.tools)


Judge = Callable[[Sequence[Conversation]], list[float]]
"""A score for the last reply of each conversation, of which only differences mean something."""


class Scorer(Protocol):
    """Scores answers, each in [0, 1]; several at once, so that a model can batch them."""

    def __call__(self, answers: Sequence[Answer]) -> list[float]: ...


@dataclass(frozen=True, slots=True)
class Reward:
    """Named scorers with their weights; the reward is their weighted mean, in [0, 1]."""

    parts: tuple[tuple[str, float, Scorer], ...]

    def __call__(self, answers: Sequence[Answer]) -> tuple[list[float], dict[str, list[float]]]:
        """(rewards, scores of each part by name). Raises SodateError with the sample when a part cannot judge it."""
        by_part = {name: scorer(answers) for name, _, scorer in self.parts}
        total = sum(weight for _, weight, _ in self.parts)
        mixed = [sum(weight * by_part[name][i] for name, weight, _ in self.parts) / total for i in range(len(answers))]
        return mixed, by_part


def graded(grader: Grader) -> Scorer:
    """A grader as a scorer."""

    def score(answers: Sequence[Answer]) -> list[float]:
        return [_one(grader, answer) for answer in answers]

    return score


def _one(grader: Grader, answer: Answer) -> float:
    try:
        return grader(answer.text, answer.task.reference, answer.task.item).score
    except Exception as error:  # whatever a grader raises: a score of 0 would train the model on a fault
        raise _failed(grader.name, answer, error) from error


def _failed(name: str, answer: Answer, error: Exception) -> SodateError:
    text = answer.text if len(answer.text) <= 400 else answer.text[:400] + "…"
    said = error.message if isinstance(error, SodateError) else f"{type(error).__name__}: {error}"
    return SodateError(
        tr(
            f"The grader {name} failed on {answer.task.name}: {en(said)}\n  The reply was: {text!r}",
            f"採点 {name} が {answer.task.name} で失敗しました: {ja(said)}\n  返答: {text!r}",
        ),
        tr(
            "Training stopped: a failed grade is not a bad reply. Mend the grader or the row, then resume the run.",
            "採点できなかったため学習を止めました（採点の失敗を 0 点とは扱いません）。"
            "採点方法か行を直してから再開してください。",
        ),
        code="grader_failed",
        param="rewards",
    )


def relative(name: str, judge: Judge, memory: dict[str, float]) -> Scorer:
    """A reward model's scores as rewards in (0, 1): σ(score - centre).

    Only differences of its scores mean something: by Bradley and Terry's model σ(a - b) is the chance that people
    prefer a to b. The centre is the mean score of the first answers asked about, which are those of the base before
    training, so a reward of 1/2 is what the base earned. It is kept in `memory`, under a key with `name`.
    """
    key = f"centre {name}"

    def score(answers: Sequence[Answer]) -> list[float]:
        asked = [answer.conversation() for answer in answers]
        try:
            found = judge(asked)
        except SodateError:  # which of them it was
            for answer, one in zip(answers, asked, strict=True):
                try:
                    judge([one])
                except SodateError as error:
                    raise _failed(name, answer, error) from error
            raise
        centre = memory.setdefault(key, math.fsum(found) / len(found))
        return [0.5 * (1 + math.tanh((value - centre) / 2)) for value in found]

    return score


def split(spec: str) -> tuple[float, str, str]:
    """(weight, grader, the text behind its colon) of `WEIGHT*GRADER:OPTIONS`; UsageError if it is no such thing."""
    match = _WEIGHTED.fullmatch(spec)
    if match is None or (match[1] is not None and float(match[1]) == 0):
        raise UsageError(
            tr(f"rewards: {spec!r} is no grader with a weight above 0.",
               f"rewards: {spec!r} は 0 より大きい重みの採点になっていません。"),
            tr("Write GRADER or WEIGHT*GRADER, such as 0.2*json.", "採点名か、0.2*json のように書いてください。"),
            code="bad_value", param="rewards",
        )  # fmt: skip
    kind, _, rest = match[2].partition(":")
    return float(match[1] or 1.0), kind, rest


def parse_rewards(
    specs: Sequence[str], base: Path, others: Mapping[str, Callable[[str], Scorer]] | None = None
) -> Reward:
    """From specs like `exact` or `0.2*length:max=80` (weight * grader; paths start at `base`) to one reward.

    `others` makes the scorers of kinds that are no graders, such as a reward model, from the text behind the colon.
    """
    parts: list[tuple[str, float, Scorer]] = []
    for spec in specs:
        weight, kind, rest = split(spec)
        name = f"{kind}:{rest}" if rest else kind
        made = others[kind](rest) if others and kind in others else graded(parse_grader(name, base))
        parts.append((name, weight, made))
    if len({name for name, _, _ in parts}) < len(parts):
        raise UsageError(
            tr("rewards names a grader twice.", "rewards に同じ採点が二度あります。"), code="bad_value", param="rewards"
        )
    return Reward(tuple(parts))
