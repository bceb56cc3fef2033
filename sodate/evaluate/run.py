"""Candidates against a baseline on held-out items: every reply graded, every difference paired."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sodate.core.errors import SodateError, UsageError
from sodate.core.intervals import Interval, paired_proportion_ci
from sodate.core.text import counted, en, ja, tr
from sodate.evaluate import stats
from sodate.evaluate.answered import Answered
from sodate.evaluate.grading import Again, graded, with_references
from sodate.evaluate.items import EvalItem, clusters_of, independent, where
from sodate.evaluate.stats import Verdict
from sodate.grade import Grade, Grader

VERDICT_JA: Mapping[Verdict, str] = {
    "better": "改善",
    "worse": "悪化",
    "equivalent": "同等",
    "inconclusive": "判定できず",
}
_SHOTS = re.compile(r"(.*) \+ ([0-9]+) shots", re.DOTALL)
_PROMPT = " + prompt"
FORM_ONLY = tr(
    "These graders look at form alone: a reply that passes may be wrong. Add one that compares with the right reply.",
    "形式だけを見る採点です。合格した返答の内容が正しいとは限りません。正解と比べる採点も加えてください。",
)
PASS = 0.5  # an item is right from this score on: what `fixed` and `broken` count


def with_shots(model: str, count: int) -> str:
    """The name of a baseline with so many examples in its prompt, the same in every language."""
    return f"{model} + {count} shots"


def with_prompt(model: str) -> str:
    """The name of a baseline with a system prompt of its own, the same in every language."""
    return f"{model} + prompt"


def display_name(model: str) -> str:
    """A model's name as people read it."""
    shots = _SHOTS.fullmatch(model)
    if shots:
        return tr(model, f"{shots[1]} + 例 {shots[2]} 件")
    return tr(model, f"{model.removesuffix(_PROMPT)} + プロンプト") if model.endswith(_PROMPT) else model


@dataclass(frozen=True, slots=True)
class ModelScore:
    """One model under one grader. `grades` has one entry an item; `extra` holds aggregates such as macro_f1. `form`:
    the grader looks at the reply's form alone, whatever it says."""

    model: str
    grader: str
    mean: float
    ci: Interval | None
    grades: tuple[Grade, ...]
    extra: Mapping[str, float]
    form: bool = False

    @property
    def parts(self) -> Mapping[str, float]:
        """The mean of each part score that every item has."""
        names = [name for name in self.grades[0].parts if all(name in grade.parts for grade in self.grades)]
        return {name: sum(grade.parts[name] for grade in self.grades) / len(self.grades) for name in names}


@dataclass(frozen=True, slots=True)
class Comparison:
    """Candidate minus baseline under one grader. `p` is Holm-adjusted over the graders of this pair, `p_raw` is not.
    `smallest` is the true difference that these items would show four times in five."""

    candidate: str
    baseline: str
    grader: str
    diff: float
    ci: Interval | None
    p: float
    p_raw: float
    verdict: Verdict
    fixed: int
    broken: int

    @property
    def smallest(self) -> float | None:
        return stats.shown_by(self.ci)

    def to_json(self) -> dict[str, Any]:
        return {
            "candidate": self.candidate, "baseline": self.baseline, "grader": self.grader, "diff": self.diff,
            "ci": self.ci and list(self.ci), "p": self.p, "verdict": self.verdict, "fixed": self.fixed,
            "broken": self.broken, "smallest": self.smallest,
        }  # fmt: skip


@dataclass(frozen=True, slots=True)
class EvalResult:
    """All that was measured. `replies[model][i]` answers `items[i]`; `comparisons` go pair by pair. `cut_off` counts
    the replies of a model that were ended by a limit, not by the model, `unanswered` the items that it got no reply to
    and 0 for, `answered` who made its replies, `asks` which models a grader asked; `notes` are what graders leave out
    or do more strictly than usual."""

    items: tuple[EvalItem, ...]
    replies: Mapping[str, tuple[str, ...]]
    baselines: tuple[str, ...]
    results: tuple[ModelScore, ...]
    comparisons: tuple[Comparison, ...]
    cut_off: Mapping[str, int]
    unanswered: Mapping[str, int]
    margin: float
    seed: int
    notes: tuple[str, ...] = ()
    answered: Mapping[str, Answered] = field(default_factory=dict)
    asks: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    @property
    def n(self) -> int:
        return len(self.items)

    @property
    def independent(self) -> int:
        return independent(self.items)

    def pairs(self) -> dict[tuple[str, str], list[Comparison]]:
        """The comparisons by (candidate, baseline), those of candidates that are not a baseline themselves first."""
        found: dict[tuple[str, str], list[Comparison]] = {}
        for one in self.comparisons:
            found.setdefault((one.candidate, one.baseline), []).append(one)
        return found

    @property
    def form_only(self) -> bool:
        """Whether nothing was measured but form: a reply can pass and be wrong."""
        return all(one.form for one in self.results)

    def only_form(self, one: Comparison) -> bool:
        """Whether a comparison is of form alone."""
        return self.score(one.candidate, one.grader).form

    def mark(self, model: str, index: int) -> str:
        """✓ or ✗ for a reply, by the first grader that looks at content; form alone earns no plain ✓."""
        shown = next((one for one in self.results if not one.form), self.results[0])
        passed = self.score(model, shown.grader).grades[index].score >= PASS
        return ("(✓)" if shown.form else "✓") if passed else "✗"

    def at_odds(self, model: str) -> list[int]:
        """Items on which graders that look at content disagree whether the reply is right: numbers of items."""
        content = [one for one in self.results if one.model == model and not one.form]
        return [number for number in range(self.n) if len({one.grades[number].score >= PASS for one in content}) > 1]

    def score(self, model: str, grader: str) -> ModelScore:
        return next(one for one in self.results if (one.model, one.grader) == (model, grader))

    def to_json(self) -> dict[str, Any]:
        """The document `sodate eval --json` prints."""
        return {
            "n": self.n,
            "independent": self.independent,
            "smallest": stats.smallest_difference(self.independent),
            "margin": self.margin,
            "cut_off": dict(self.cut_off),
            "unanswered": dict(self.unanswered),
            "notes": [str(note) for note in self.notes],
            "models": {model: one.to_json() for model, one in self.answered.items()},
            "asks": {grader: list(models) for grader, models in self.asks.items()},
            "at_odds": {model: len(self.at_odds(model)) for model in self.replies},
            "results": [
                {
                    "model": one.model,
                    "grader": one.grader,
                    "mean": one.mean,
                    "ci": one.ci and list(one.ci),
                    "failures": sum(grade.score < 1 for grade in one.grades),
                    "form": one.form,
                }
                for one in self.results
            ],
            "comparisons": [one.to_json() for one in self.comparisons],
        }


def compared(
    candidate: Sequence[ModelScore],
    baseline: Sequence[ModelScore],
    clusters: list[str] | None,
    margin: float,
    seed: int,
) -> list[Comparison]:
    """One candidate against one baseline under every grader: the family that Holm adjusts over."""
    raw: list[tuple[float, Interval | None, float, int, int]] = []
    for new, old in zip(candidate, baseline, strict=True):
        after, before = [grade.score for grade in new.grades], [grade.score for grade in old.grades]
        diffs = [a - b for a, b in zip(after, before, strict=True)]
        fixed = sum(b < PASS <= a for a, b in zip(after, before, strict=True))
        broken = sum(a < PASS <= b for a, b in zip(after, before, strict=True))
        if clusters is None and stats.is_binary(after + before):
            p = stats.mcnemar_exact(fixed, broken)
            ci = paired_proportion_ci(fixed, broken, len(diffs)) if len(diffs) > 1 else None
        else:
            p = stats.sign_flip_p(diffs, seed=seed, clusters=clusters)
            ci = stats.paired_interval(diffs, clusters=clusters)
        raw.append((sum(diffs) / len(diffs), ci, p, fixed, broken))
    independent = len(set(clusters)) if clusters else len(candidate[0].grades)
    adjusted = stats.holm([p for _, _, p, _, _ in raw])
    return [
        Comparison(
            candidate=new.model,
            baseline=old.model,
            grader=new.grader,
            diff=diff,
            ci=ci,
            p=p,
            p_raw=p_raw,
            verdict=stats.verdict(diff, ci, p, margin, n=independent),
            fixed=fixed,
            broken=broken,
        )
        for new, old, (diff, ci, p_raw, fixed, broken), p in zip(candidate, baseline, raw, adjusted, strict=True)
    ]


def evaluate(
    replies: Mapping[str, Sequence[str]],
    items: Sequence[EvalItem],
    graders: Sequence[Grader],
    baselines: str | Sequence[str] = (),
    *,
    cut_off: Mapping[str, int] | None = None,
    unanswered: Mapping[str, Mapping[int, str]] | None = None,
    again: Mapping[str, Sequence[Again]] | None = None,
    seed: int = 0,
    margin: float = stats.MARGIN,
) -> EvalResult:
    """Grades `replies[model][i]` on `items[i]` and compares every model with each baseline (default: the first model).
    Baselines are compared with the baselines named before them. `unanswered[model][i]` says why there is no reply to
    `items[i]`, which counts 0 then; `again[model][i]` are further replies to it, for graders of consistency.

    Pure: the same replies give the same result. Binary scores get exact McNemar and an Agresti–Min interval, others a
    sign-flip test and a t interval; with clusters always the latter, over clusters. Verdicts use p-values that Holm
    adjusted over the graders of one candidate and one baseline.
    Raises UsageError for no items, graders or replies, and SodateError where an item cannot be graded.
    """
    if not items or not graders or not replies:
        raise UsageError(
            tr(
                "An evaluation needs at least one item, one grader and one model.",
                "評価には、1 件以上のデータと、採点方法とモデルが一つ以上必要です。",
            ),
            code="bad_value",
        )
    names = [grader.name for grader in graders]
    if len(set(names)) < len(names):
        raise UsageError(
            tr(f"A grader is named twice: {names}.", f"同じ採点方法が二度指定されています: {names}"),
            code="bad_value",
            param="grader",
        )
    against = (baselines,) if isinstance(baselines, str) else tuple(dict.fromkeys(baselines)) or (next(iter(replies)),)
    if unknown := next((name for name in against if name not in replies), None):
        raise UsageError(
            tr(
                f"The baseline {unknown!r} is not among the models.",
                f"比較の基準 {unknown!r} がモデルの中にありません。",
            ),
            tr("Models: ", "モデル: ") + ", ".join(replies),
            code="bad_value",
            param="baseline",
        )
    for model, said in replies.items():
        if len(said) != len(items):
            raise SodateError(
                tr(
                    f"{model} has {len(said)} replies for {counted(len(items), 'item')}.",
                    f"{model} の返答は {len(said)} 件で、データの {len(items)} 件と合いません。",
                ),
                code="bad_value",
                param="replies",
            )
    clusters = clusters_of(items)
    graders = with_references(graders, items)
    none = unanswered or {}
    scored: dict[str, list[ModelScore]] = {}
    for model, said in replies.items():
        for grader in graders:
            grades = graded(grader, said, items, model, none.get(model), (again or {}).get(model))
            scores = [grade.score for grade in grades]
            scored.setdefault(model, []).append(
                ModelScore(
                    model=model,
                    grader=grader.name,
                    mean=sum(scores) / len(scores),
                    ci=stats.mean_ci(scores, clusters=clusters),
                    grades=grades,
                    form=grader.form,
                    extra=grader.aggregate(said, [item.reference for item in items]) if grader.aggregate else {},
                )
            )
    pairs = [(model, old) for model in replies if model not in against for old in against]
    pairs += [(model, old) for index, model in enumerate(against) for old in against[:index]]
    comparisons = [one for new, old in pairs for one in compared(scored[new], scored[old], clusters, margin, seed)]
    return EvalResult(
        items=tuple(items),
        replies={model: tuple(said) for model, said in replies.items()},
        baselines=against,
        results=tuple(one for rows in scored.values() for one in rows),
        comparisons=tuple(comparisons),
        cut_off=cut_off or {},
        unanswered={model: len(missing) for model, missing in none.items() if missing},
        margin=margin,
        seed=seed,
        asks={grader.name: grader.asks for grader in graders if grader.asks},
        notes=(
            *dict.fromkeys(note for grader in graders for note in grader.notes),
            *(
                tr(f"{en(where(items[n], n))}: {model}: {en(why)}", f"{ja(where(items[n], n))}: {model}: {ja(why)}")
                for model, missing in none.items()
                for n, why in missing.items()
            ),
        ),
    )
