"""What a sampled reply is worth: a weighted mean of graders. A grader that fails stops the run and shows the sample."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sodate.core.errors import SodateError, UsageError
from sodate.core.text import en, ja, tr
from sodate.core.types import Conversation, Message
from sodate.grade import CannotGradeError, Case, Grade, Grader, case_of, parse_grader
from sodate.grade.outcome import Judges

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


Judge = Callable[[Sequence[Conversation]], list[float]]
"""A score for the last reply of each conversation, of which only differences mean something."""


@dataclass(frozen=True, slots=True)
class Reward:
    """Graders with their weights; the reward is the weighted mean of their scores, in [0, 1]."""

    parts: tuple[tuple[float, Grader], ...]

    def __call__(self, answers: Sequence[Answer]) -> tuple[list[float], dict[str, list[float]]]:
        """(rewards, scores of each grader by name). Raises SodateError with the sample that a grader cannot judge."""
        by_part = {grader.name: _scores(grader, answers) for _, grader in self.parts}
        total = sum(weight for weight, _ in self.parts)
        mixed = [
            sum(weight * by_part[grader.name][i] for weight, grader in self.parts) / total for i in range(len(answers))
        ]
        return mixed, by_part

    def with_references(self, tasks: Sequence[Task]) -> Reward:
        """This reward when its graders know every reference of the tasks."""
        references = [one for task in tasks for one in case_of("", task.reference, task.item).references]
        return Reward(tuple((weight, grader.with_references(references)) for weight, grader in self.parts))

    @property
    def notes(self) -> list[str]:
        """What the graders leave out, or do more strictly than usual."""
        return list(dict.fromkeys(note for _, grader in self.parts for note in grader.notes))


def _scores(grader: Grader, answers: Sequence[Answer]) -> list[float]:
    cases = [case_of(a.text, a.task.reference, a.task.item, a.task.messages, a.task.tools) for a in answers]
    try:
        return [grade.score for grade in grader.grade(cases)]
    except CannotGradeError as error:  # a score of 0 would train the model on a fault
        raise _failed(grader.name, answers[error.index], error) from error


def _failed(name: str, answer: Answer, error: CannotGradeError) -> SodateError:
    text = answer.text if len(answer.text) <= 400 else answer.text[:400] + "…"
    said = error.message
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


def relative(name: str, judge: Judge, memory: dict[str, float]) -> Grader:
    """A reward model as a grader: scores in (0, 1), σ(score - centre).

    Only differences of its scores mean something: by Bradley and Terry's model σ(a - b) is the chance that people
    prefer a to b. The centre is the mean score of the first answers asked about, which are those of the base before
    training, so a reward of 1/2 is what the base earned. It is kept in `memory`, under a key with `name`.
    """
    key = f"centre {name}"

    def grade(cases: Sequence[Case]) -> list[Grade]:
        asked = [Conversation((*case.prompt, Message("assistant", case.reply)), case.tools) for case in cases]
        try:
            found = judge(asked)
        except SodateError:
            for index, one in enumerate(asked):  # which of them it was
                try:
                    judge([one])
                except SodateError as error:
                    raise CannotGradeError(index, error) from error
            raise
        centre = memory.setdefault(key, math.fsum(found) / len(found))
        return [Grade(0.5 * (1 + math.tanh((value - centre) / 2)), f"{value:.3g}") for value in found]

    return Grader(name, needs_reference=False, many=grade)


def split(spec: str) -> tuple[float, str, str]:
    """(weight, grader, the text after its colon) of `WEIGHT*GRADER:OPTIONS`; UsageError if it is not one."""
    match = _WEIGHTED.fullmatch(spec)
    if match is None or (match[1] is not None and float(match[1]) == 0):
        raise UsageError(
            tr(f"rewards: {spec!r} is not a grader with a weight above 0.",
               f"rewards: {spec!r} は 0 より大きい重みの採点になっていません。"),
            tr("Write GRADER or WEIGHT*GRADER, such as 0.2*json.", "採点名か、0.2*json のように書いてください。"),
            code="bad_value", param="rewards",
        )  # fmt: skip
    kind, _, rest = match[2].partition(":")
    return float(match[1] or 1.0), kind, rest


def parse_rewards(
    specs: Sequence[str],
    base: Path,
    others: Mapping[str, Callable[[str], Grader]] | None = None,
    judges: Judges | None = None,
) -> Reward:
    """From specs like `exact` or `0.2*length:max=80` (weight * grader; paths start at `base`) to one reward.

    `others` makes the graders that other rooms give, such as a reward model, from the text after the colon; `judges`
    are the models that graders may ask.
    """
    parts: list[tuple[float, Grader]] = []
    for spec in specs:
        weight, kind, rest = split(spec)
        name = f"{kind}:{rest}" if rest else kind
        parts.append((weight, others[kind](rest) if others and kind in others else parse_grader(name, base, judges)))
    if again := next((grader.name for _, grader in parts if grader.repeats is not None), None):
        raise UsageError(
            tr(f"{again} asks the model again for every reply, which a reward does not.",
               f"{again} は返答ごとにモデルへ再度問い合わせるため、報酬には使えません。"),
            tr("Use it with sodate eval.", "sodate eval で使ってください。"),
            code="bad_value", param="rewards",
        )  # fmt: skip
    if len({grader.name for _, grader in parts}) < len(parts):
        raise UsageError(
            tr("rewards names a grader twice.", "rewards に同じ採点が二度あります。"), code="bad_value", param="rewards"
        )
    return Reward(tuple(parts))
