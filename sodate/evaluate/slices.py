"""Where a candidate is better and where it is not: the comparisons again, on items that share a value of a field."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from sodate.evaluate import stats
from sodate.evaluate.items import clusters_of, independent
from sodate.evaluate.run import Comparison, EvalResult, ModelScore, compared

TOO_FEW = 20  # independent items below which no verdict is given
MOST = 50  # values of a field that are looked at, the commonest first


@dataclass(frozen=True, slots=True)
class Slice:
    """The items whose `field` is `value`. `n` counts them, `independent` those of one cluster once. `comparisons` are
    Holm-adjusted over all slices of the field and all graders of a pair; where items are too few there is no verdict
    but inconclusive."""

    field: str
    value: str
    n: int
    independent: int
    comparisons: tuple[Comparison, ...]

    @property
    def enough(self) -> bool:
        """Whether there are enough items for a verdict."""
        return self.independent >= TOO_FEW

    def to_json(self) -> dict[str, Any]:
        return {
            "field": self.field, "value": self.value, "n": self.n, "independent": self.independent,
            "comparisons": [one.to_json() | ({} if self.enough else {"verdict": None}) for one in self.comparisons],
        }  # fmt: skip


def slices(result: EvalResult, fields: Sequence[str]) -> list[Slice]:
    """The slices of these fields of the items, by field, the largest first. An item without a field is in none."""
    return [one for field in fields for one in _of(result, field)]


def _of(result: EvalResult, field: str) -> list[Slice]:
    groups: dict[str, list[int]] = {}
    for index, item in enumerate(result.items):
        if (value := item.item.get(field)) is not None:
            groups.setdefault(str(value), []).append(index)
    largest = sorted(groups.items(), key=lambda pair: -len(pair[1]))[:MOST]
    return _adjusted(result, [_slice(result, field, value, indices) for value, indices in largest])


def _slice(result: EvalResult, field: str, value: str, indices: Sequence[int]) -> Slice:
    items = [result.items[index] for index in indices]
    clusters = clusters_of(items)
    found: list[Comparison] = []
    for new, old in result.pairs():
        after, before = ([_part(one, indices) for one in result.results if one.model == model] for model in (new, old))
        found += compared(after, before, clusters, result.margin, result.seed)
    return Slice(field, value, len(items), independent(items), tuple(found))


def _part(score: ModelScore, indices: Sequence[int]) -> ModelScore:
    return replace(score, grades=tuple(score.grades[index] for index in indices))


def _adjusted(result: EvalResult, parts: Sequence[Slice]) -> list[Slice]:
    """The slices of one field with p-values adjusted together: the more of them, the likelier one shines by luck."""
    adjusted: dict[tuple[int, int], float] = {}
    for pair in result.pairs():
        places = [
            (s, c)
            for s, part in enumerate(parts)
            for c, one in enumerate(part.comparisons)
            if part.enough and (one.candidate, one.baseline) == pair
        ]
        ps = stats.holm([parts[s].comparisons[c].p_raw for s, c in places])
        adjusted |= dict(zip(places, ps, strict=True))
    made = []
    for s, part in enumerate(parts):
        comparisons = []
        for c, one in enumerate(part.comparisons):
            p = adjusted.get((s, c), 1.0)
            verdict = stats.verdict(one.diff, one.ci, p, result.margin, n=part.independent)
            comparisons.append(replace(one, p=p, verdict=verdict if part.enough else "inconclusive"))
        made.append(replace(part, comparisons=tuple(comparisons)))
    return made
