"""The rungs of a ladder side by side: which one is enough, which are as good as the best, and what more data would do.

Prompt, examples, retrieval and training are measured on the same held-out rows. A rung's scores are those of the first
grader, one for each row, in the order of the rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from sodate.core.intervals import Interval
from sodate.core.text import Sentence, en, ja, tr
from sodate.evaluate import stats
from sodate.evaluate.run import Comparison, ModelScore, compared
from sodate.grade import Grade

EQUAL = 1.1  # costs up to so many times the least count as the least: times on a machine vary by a tenth
BUSY = 0.15  # cores that other programs take from which times of a machine say less
DRAWS = 2000  # of the bootstrap that says how sure the learning curve is


@dataclass(frozen=True, slots=True)
class Rung:
    """One way of doing the job, as it was measured.

    `build_seconds` is all that has to be done once before it answers, with what it stands on; `peak_bytes` the most
    memory that building or answering took, and `answer_bytes` answering alone. Costs are in the task's currency.
    `passed` says of each row whether it fits the schema, where there is one.
    """

    name: str
    label: Sentence
    scores: tuple[float, ...]
    replies: tuple[str, ...]
    build_seconds: float
    peak_bytes: int
    answer_bytes: int
    tokens_per_request: float
    seconds_per_request: float
    cost_per_request: float
    cost_per_month: float
    build_commands: tuple[str, ...]
    command: str
    report: str
    passed: float | None = None
    graders: dict[str, float] | None = None  # means of the other graders
    cut_off: int = 0  # replies that were ended by the longest length, not by the model
    others: float = 0.0  # cores that other programs took while its requests were timed

    @property
    def mean(self) -> float:
        return sum(self.scores) / len(self.scores)

    def ci(self, clusters: Sequence[str] | None) -> Interval | None:
        return stats.mean_ci(self.scores, clusters=clusters)

    def to_json(self, clusters: Sequence[str] | None) -> dict[str, Any]:
        interval = self.ci(clusters)
        return {
            "name": self.name,
            "quality": {"mean": self.mean, "ci": interval and list(interval)},
            "build_seconds": round(self.build_seconds, 3),
            "peak_bytes": self.peak_bytes,
            "answer_bytes": self.answer_bytes,
            "tokens_per_request": round(self.tokens_per_request, 2),
            "seconds_per_request": round(self.seconds_per_request, 4),
            "cost_per_request": self.cost_per_request,
            "cost_per_month": self.cost_per_month,
            "fits_schema": self.passed,
            "cut_off": self.cut_off,
            "graders": self.graders or {},
            "cores_of_others": self.others,
            "build_commands": list(self.build_commands),
            "command": self.command,
            "report": self.report,
        }


@dataclass(frozen=True, slots=True)
class Recommendation:
    """The rung to stop at. `reached`: it reaches the target; else it is the cheapest that can't be told from `best`."""

    rung: str
    best: str
    reached: bool
    because: Sentence
    untold: tuple[str, ...]  # the rungs that can't be told from the best


@dataclass(frozen=True, slots=True)
class Curve:
    """What twice the training rows would bring, if the error goes on falling as a power of them, as from `small` to
    `large` rows. `gain` and `ci` are in the mean score; `ci` holds what the draw of the held-out rows leaves open."""

    small: int
    large: int
    gain: float
    ci: Interval

    def to_json(self) -> dict[str, Any]:
        return {"rows": [self.small, self.large], "twice": 2 * self.large, "gain": self.gain, "ci": list(self.ci)}

    def sentence(self) -> Sentence:
        """In words."""
        points, low, high = (f"{100 * value:+.1f}" for value in (self.gain, *self.ci))
        return tr(
            f"From {self.small} to {self.large} training rows the error fell; at that pace {2 * self.large} rows would "
            f"bring {points} points ({low} to {high}). One draw of rows and one seed: what training itself varies by "
            "is not in the interval."
            if self.gain > 0
            else f"From {self.small} to {self.large} training rows nothing was gained, so nothing says that "
            f"{2 * self.large} rows would bring more ({points} points, {low} to {high}).",
            f"学習データを {self.small} 行から {self.large} 行に増やすと誤りが減りました。同じ割合で減るなら、"
            f"{2 * self.large} 行では {points} ポイント ({low}〜{high}) です。行の選び方もシードも一通りなので、"
            "学習そのもののばらつきは区間に入っていません。"
            if self.gain > 0
            else f"学習データを {self.small} 行から {self.large} 行に増やしても良くならなかったため、"
            f"{2 * self.large} 行で良くなるとは言えません ({points} ポイント、{low}〜{high})。",
        )


def against(new: Rung, old: Rung, clusters: list[str] | None, margin: float, seed: int) -> Comparison:
    """One rung compared with another, row by row."""
    sides = [
        ModelScore(one.name, "", one.mean, None, tuple(Grade(score, "") for score in one.scores), {})
        for one in (new, old)
    ]
    return compared([sides[0]], [sides[1]], clusters, margin, seed)[0]


def recommend(
    rungs: Sequence[Rung], target: float | None, clusters: list[str] | None = None, margin: float = stats.MARGIN,
    seed: int = 0,
) -> Recommendation:  # fmt: skip
    """The first rung whose mean reaches the target; where none does, the cheapest that can't be told from the best.

    `rungs` come in the order of the ladder, cheap and outside first. Of costs within a tenth of the least the earliest
    rung is taken; where other programs had cores while requests were timed, within as much more as they had.
    """
    best = max(rungs, key=lambda rung: rung.mean)
    untold = [
        rung for rung in rungs
        if rung is best or against(best, rung, clusters, margin, seed).verdict != "better"
    ]  # fmt: skip
    names = tuple(rung.name for rung in untold)
    first = next((rung for rung in rungs if target is not None and rung.mean >= target - 1e-9), None)
    if first is not None and target is not None:
        return Recommendation(first.name, best.name, True, _reaches(first, target, clusters), names)
    most = disturbed(rungs)
    equal = EQUAL + (most if most >= BUSY else 0.0)
    least = min(rung.cost_per_month for rung in untold)
    chosen = next(rung for rung in untold if rung.cost_per_month <= equal * least)
    return Recommendation(chosen.name, best.name, False, _cheapest(chosen, best, untold, target, clusters), names)


def disturbed(rungs: Sequence[Rung]) -> float:
    """The most cores that other programs had while requests of a rung were timed."""
    return max(rung.others for rung in rungs)


def _named(rung: Rung) -> str:
    """The English name, as a sentence begins with it."""
    name = str(en(rung.label))
    return name[:1].upper() + name[1:]


def _span(rung: Rung, clusters: list[str] | None) -> str:
    interval = rung.ci(clusters)
    shown = f"{100 * rung.mean:.1f}"
    return shown if interval is None else f"{shown} ({100 * interval[0]:.1f} – {100 * interval[1]:.1f})"


def _reaches(first: Rung, target: float, clusters: list[str] | None) -> Sentence:
    interval = first.ci(clusters)
    said = tr(
        f"{_named(first)} is the first rung that reaches the target of {100 * target:g} points: "
        f"{_span(first, clusters)}.",
        f"「{ja(first.label)}」が、目標の {100 * target:g} 点に最初に届いた方法です: {_span(first, clusters)} 点。",
    )
    if interval is None or interval[0] < target:
        said += tr(
            " Its interval begins below the target: more held-out rows would tell whether it holds.",
            "ただし区間の下端は目標を下回っています。評価用の行を増やせば、本当に届いているかが分かります。",
        )
    return said


def _cheapest(
    chosen: Rung, best: Rung, untold: Sequence[Rung], target: float | None, clusters: list[str] | None
) -> Sentence:  # fmt: skip
    said = tr("", "")
    if target is not None:
        said = tr(f"No rung reaches the target of {100 * target:g} points. ",
                  f"目標の {100 * target:g} 点に届いた方法はありません。")  # fmt: skip
    if chosen is best:
        others = [rung for rung in untold if rung is not best]
        if not others:
            return said + tr(
                f"{_named(best)} is better than every other rung: {_span(best, clusters)}.",
                f"「{ja(best.label)}」が、ほかのどの方法よりも良い結果です: {_span(best, clusters)} 点。",
            )
        return said + tr(
            f"{_named(best)} is best, {_span(best, clusters)}, and the cheapest of the {len(untold)} rungs that "
            "these rows can't tell apart.",
            f"「{ja(best.label)}」が最も良く ({_span(best, clusters)} 点)、この評価データで差を示せない "
            f"{len(untold)} 通りの方法の中で最も安いものでもあります。",
        )
    return said + tr(
        f"{_named(best)} has the highest mean, {_span(best, clusters)}, but these rows can't tell "
        f"{en(chosen.label)} from it, {_span(chosen, clusters)}, which is the cheapest such rung.",
        f"平均が最も高いのは「{ja(best.label)}」 ({_span(best, clusters)} 点) ですが、"
        f"「{ja(chosen.label)}」 ({_span(chosen, clusters)} 点) との差はこの評価データでは示せません。"
        "そのような方法の中で、最も安いのがこれです。",
    )


def nothing_to_gain(
    rungs: Sequence[Rung], target: float | None, margin: float = stats.MARGIN
) -> Sentence | None:  # fmt: skip
    """Why no later rung can pay, or None: the target is reached; or there is none and what is missing to the full score
    is less than the margin that counts as no difference."""
    last = rungs[-1]
    if target is not None:
        if last.mean < target - 1e-9:
            return None
        return tr(
            f"{_named(last)} reaches the target, and the recommendation is the first rung that does: none after it "
            "can change that.",
            f"「{ja(last.label)}」が目標に届きました。勧めるのは最初に届いた方法なので、この先を測っても変わりません。",
        )
    if 1 - last.mean >= margin:
        return None
    return tr(
        f"{_named(last)} lacks {100 * (1 - last.mean):.1f} points of the full score, less than the "
        f"{100 * margin:g} that count as no difference.",
        f"「{ja(last.label)}」は満点まで {100 * (1 - last.mean):.1f} ポイントで、差がないとみなす "
        f"{100 * margin:g} ポイントより小さい差しか残っていません。",
    )


def learning_curve(
    small: Sequence[float], large: Sequence[float], rows: tuple[int, int], clusters: Sequence[str] | None, seed: int
) -> Curve:
    """What twice `rows[1]` would bring, from the scores after training on `rows[0]` and `rows[1]` rows.

    The error 1 - mean is taken to fall as rows^-b (arXiv 1712.00409), with b from the two points and no less than 0:
    more rows are not taken to do harm. The interval is the percentile bootstrap over the held-out rows, or over their
    clusters.
    """
    order: dict[str, int] = {}
    own = clusters or [str(number) for number in range(len(small))]
    unit = np.array([order.setdefault(one, len(order)) for one in own])
    sums = [np.bincount(unit, 1 - np.asarray(scores, float), len(order)) for scores in (small, large)]
    counts = np.bincount(unit, minlength=len(order)).astype(float)
    draws = np.random.default_rng(seed).multinomial(len(order), np.full(len(order), 1 / len(order)), DRAWS)
    total = draws @ counts
    gains = _gain(draws @ sums[0] / total, draws @ sums[1] / total, rows)
    gain = _gain(np.array([sums[0].sum()]) / counts.sum(), np.array([sums[1].sum()]) / counts.sum(), rows)[0]
    low, high = np.quantile(gains, [0.025, 0.975])
    return Curve(rows[0], rows[1], float(gain), (float(low), float(high)))


def _gain(before: Any, after: Any, rows: tuple[int, int]) -> Any:
    """What doubling takes off the error `after`, from errors after rows[0] and rows[1] rows."""
    doublings = np.log2(rows[1] / rows[0])
    with np.errstate(divide="ignore", invalid="ignore"):
        kept = np.where(before > 0, np.minimum(after / before, 1.0), 1.0) ** (1 / doublings)
    return after * (1 - kept)
