"""Why an exchange counts as a failure: the reasons by name, how bad each is, and those that show when it is served."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sodate.api import grading
from sodate.core.text import tr
from sodate.learn.exchange import BROKEN, Exchange
from sodate.learn.recording import Rules

# From bad to bearable: how bad by itself, in (0, 1), and what it says.
REASONS: Mapping[str, tuple[float, str]] = {
    "banned_words": (0.95, tr("has words that must not be in a reply", "返答に使ってはいけない語がある")),
    "broken_schema": (0.9, tr("does not fit the form that was asked for", "求められた形式になっていない")),
    "judged_wrong": (0.85, tr("a grader or a reviewer says that it is wrong", "採点または確認で誤りとされた")),
    "corrected": (0.8, tr("somebody wrote something else instead", "人が書き直した")),
    "thumbs_down": (0.7, tr("somebody did not like it", "低い評価が付いた")),
    "answered_differently": (0.5, tr("asked again, it answered differently", "同じ質問に違う答えを返した")),
    "no_passage": (0.45, tr("no passage was found for it", "参照できる資料が見つからなかった")),
    "abstained": (0.4, tr("says that it does not know", "分からないと答えた")),
    "low_confidence": (0.35, tr("the model was unsure", "モデルの確信度が低い")),
    "unlike_training": (0.3, tr("unlike anything in training", "学習データに似たものがない")),
    "slow": (0.2, tr("was slow", "時間がかかった")),
}
_BY_GRADER = {"json": "broken_schema", "json_schema": "broken_schema", "banned_words": "banned_words"}


@dataclass(frozen=True, slots=True)
class Reason:
    """A reason with its own severity in (0, 1) and what was found; the detail holds nobody's words."""

    reason: str
    severity: float
    detail: str | None = None


def reason(name: str, detail: str | None = None, weight: float = 1.0) -> Reason:
    """The reason of that name; `weight` in (0, 1] says how far whoever says so counts."""
    return Reason(name, REASONS[name][0] * weight, detail)


def together(severities: Sequence[float]) -> float:
    """How bad several reasons are together: 1 - Π (1 - s), so that none makes another one less."""
    left = 1.0
    for severity in severities:
        left *= 1 - severity
    return 1 - left


def when_served(
    told: Exchange, text: str, rules: Rules, graders: Sequence[Any]
) -> tuple[list[Reason], dict[str, float]]:
    """The reasons that show by themselves, and the scores of the project's graders by their names."""
    found, grades = [], {}
    if told.formed and told.finish in ("length", BROKEN):
        found.append(reason("broken_schema", told.finish))
    for grader in graders if told.finish != BROKEN and text else ():
        grade = grader(text, None, {})
        grades[grader.name] = grade.score
        name = _BY_GRADER.get(grading.kind_of(grader.name), "judged_wrong")
        if grade.score < 1 and name not in [one.reason for one in found]:
            found.append(reason(name, grader.name))
    if told.grounded and not told.passages:
        found.append(reason("no_passage"))
    if grading.abstains(text):
        found.append(reason("abstained"))
    if told.confidence is not None and told.confidence < rules.confidence:
        found.append(reason("low_confidence", f"{told.confidence:.2f}"))
    if told.latency_ms is not None and told.latency_ms > rules.slow_ms:
        found.append(reason("slow", f"{told.latency_ms} ms"))
    return found, grades
