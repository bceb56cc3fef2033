"""Field-wise comparison of nested JSON: which values are right, wherever they stand.

A document is its leaves: every value that is no object or list, and every empty object or list. A reply's leaf is
right when the reference has the same leaf under the same keys. Precision is right leaves per leaf of the reply, recall
per leaf of the reference, F1 their harmonic mean; exact means that both are 1.

Lists are aligned so that most leaves agree. With `order=any` (default) as sets with repetition, with `order=same` in
sequence; by position beyond MAX_PAIRS pairs of objects, and where lists before have taken MAX_STEPS.
Keys must be the same characters, since a program reads them. Strings are the same after `normalise` (NFKC, space).
1000 is 1000.0 but not "1,000"; with `numbers=loose` a string that reads as a number counts as that number, and with
`strings=loose` strings are the same that `equality.py` folds into one (和暦, 漢数字, ㈱, 髙); the reason says by what.
true is not 1, and a null is not a missing key.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from fractions import Fraction
from typing import Any, Literal

from sodate.core.errors import SodateError
from sodate.core.text import tr
from sodate.grade import equality
from sodate.grade.base import Grade, GradeFunction
from sodate.grade.normalise import normalise
from sodate.grade.numbers import whole
from sodate.grade.strings import clip
from sodate.grade.structured import NotJsonError, json_graded, read_json

MAX_PAIRS = 10_000
MAX_STEPS = 20_000_000  # of all alignments together: lists within lists multiply them

Order = Literal["any", "same"]
Numbers = Literal["strict", "loose"]
Strings = Literal["strict", "loose"]
Mode = Literal["f1", "exact"]
Pair = tuple[int | None, int | None]


def _is_leaf(value: Any) -> bool:
    return not (isinstance(value, (dict, list)) and value)


def _key(leaf: Any, numbers: Numbers, strings: Strings) -> Hashable:
    """What two leaves must share to be the same."""
    if isinstance(leaf, bool) or leaf is None:
        return ("constant", leaf)
    if isinstance(leaf, (int, float)):
        # Through the shortest text, so that a loose "0.1" meets 0.1.
        return ("number", Fraction(str(leaf)) if numbers == "loose" else leaf)
    if isinstance(leaf, str):
        text = normalise(leaf) if strings == "strict" else equality.folded(leaf, tuple(equality.FOLDINGS))
        if numbers == "loose" and (number := whole(leaf)) is not None:
            return ("number", number)
        return ("string", text)
    return ("empty", type(leaf).__name__)


def leaves(value: Any) -> int:
    """How many leaves a JSON value has; at least one."""
    if _is_leaf(value):
        return 1
    return sum(leaves(inner) for inner in (value.values() if isinstance(value, dict) else value))


def assignment(gain: Sequence[Sequence[int]]) -> list[int | None]:
    """For each row the column it takes, no column twice, so that the gains add up to the most. O(rows² · columns).

    The Hungarian method with potentials; rows and columns are swapped when there are more rows than columns.
    """
    rows, columns = len(gain), len(gain[0])
    if rows > columns:
        turned = assignment([[gain[i][j] for i in range(rows)] for j in range(columns)])
        chosen: list[int | None] = [None] * rows
        for j, i in enumerate(turned):
            if i is not None:
                chosen[i] = j
        return chosen
    row_potential, column_potential = [0] * (rows + 1), [0] * (columns + 1)
    owner = [0] * (columns + 1)  # row (1-based) that holds a column; column 0 holds the row being placed
    for row in range(1, rows + 1):
        owner[0], here = row, 0
        slack: list[float] = [float("inf")] * (columns + 1)
        came_from, done = [0] * (columns + 1), [False] * (columns + 1)
        while owner[here]:
            done[here] = True
            i, nearest, step = owner[here], 0, float("inf")
            for j in range(1, columns + 1):
                if done[j]:
                    continue
                cost = -gain[i - 1][j - 1] - row_potential[i] - column_potential[j]
                if cost < slack[j]:
                    slack[j], came_from[j] = cost, here
                if slack[j] < step:
                    step, nearest = slack[j], j
            for j in range(columns + 1):
                if done[j]:
                    row_potential[owner[j]] += int(step)
                    column_potential[j] -= int(step)
                else:
                    slack[j] -= step
            here = nearest
        while here:
            owner[here] = owner[came_from[here]]
            here = came_from[here]
    result: list[int | None] = [None] * rows
    for j in range(1, columns + 1):
        if owner[j]:
            result[owner[j] - 1] = j - 1
    return result


def _in_sequence(gain: Sequence[Sequence[int]]) -> list[int | None]:
    """As `assignment`, but columns must rise with rows: dynamic programming over both prefixes."""
    rows, columns = len(gain), len(gain[0])
    best = [[0] * (columns + 1) for _ in range(rows + 1)]
    for i in range(rows):
        for j in range(columns):
            best[i + 1][j + 1] = max(best[i][j + 1], best[i + 1][j], best[i][j] + gain[i][j])
    chosen: list[int | None] = [None] * rows
    i, j = rows, columns
    while i and j:
        if gain[i - 1][j - 1] and best[i][j] == best[i - 1][j - 1] + gain[i - 1][j - 1]:
            i, j = i - 1, j - 1
            chosen[i] = j
        elif best[i][j] == best[i - 1][j]:
            i -= 1
        else:
            j -= 1
    return chosen


class _Comparison:
    """Compares two JSON values under one choice of order, numbers and strings."""

    def __init__(self, order: Order, numbers: Numbers, strings: Strings) -> None:
        self.order = order
        self.numbers = numbers
        self.strings = strings
        self._left = MAX_STEPS
        self._keys: dict[int, Hashable] = {}  # of texts, which are compared with many others; by identity

    def chosen(self, expected: list[Any], got: list[Any]) -> list[int | None]:
        """For each expected item the index of the one it shares leaves with, or None."""
        pairs = len(expected) * len(got)
        self._left -= pairs * (min(len(expected), len(got)) if self.order == "any" else 1)
        if pairs > MAX_PAIRS or self._left < 0:
            return [i if i < len(got) else None for i in range(len(expected))]
        gain = [[self.matched(left, right) for right in got] for left in expected]
        columns = assignment(gain) if self.order == "any" else _in_sequence(gain)
        return [j if j is not None and gain[i][j] else None for i, j in enumerate(columns)]

    def align(self, expected: list[Any], got: list[Any]) -> list[Pair]:
        """Index pairs for the reader; None where one side has nothing to go with. What shares no leaf is paired too,
        so that a wrong item is told as a difference and not as one missing and one too many."""
        chosen = self.chosen(expected, got)
        taken = {j for j in chosen if j is not None}
        free = [j for j in range(len(got)) if j not in taken]
        pairs: list[Pair] = []
        for i, j in enumerate(chosen):
            if j is None:
                # With order=same a free item may be right but out of place: that is no partner.
                j = next((k for k in free if not self.matched(expected[i], got[k])), None)
                if j is not None:
                    free.remove(j)
            pairs.append((i, j))
        return pairs + [(None, j) for j in free]

    def matched(self, expected: Any, got: Any) -> int:
        """How many leaves agree."""
        if _is_leaf(expected) or _is_leaf(got):
            both = _is_leaf(expected) and _is_leaf(got)
            return int(both and self._key(expected) == self._key(got))
        if isinstance(expected, dict) and isinstance(got, dict):
            return sum(self.matched(expected[key], got[key]) for key in expected.keys() & got.keys())
        if isinstance(expected, list) and isinstance(got, list):
            pairs = zip(expected, self.chosen(expected, got), strict=True)
            return sum(self.matched(item, got[j]) for item, j in pairs if j is not None)
        return 0

    def _key(self, leaf: Any) -> Hashable:
        if not isinstance(leaf, str):
            return _key(leaf, self.numbers, self.strings)
        if id(leaf) not in self._keys:
            self._keys[id(leaf)] = _key(leaf, self.numbers, self.strings)
        return self._keys[id(leaf)]

    def folded(self, expected: Any, got: Any, path: str = "") -> list[str]:
        """Of strings that are right and written otherwise, where they stand and what was folded to see it."""
        if isinstance(expected, dict) and isinstance(got, dict):
            pairs = [(expected[key], got[key], f"{path}.{key}") for key in expected if key in got]
        elif isinstance(expected, list) and isinstance(got, list) and expected and got:
            chosen = enumerate(self.chosen(expected, got))
            pairs = [(expected[i], got[j], f"{path}[{i}]") for i, j in chosen if j is not None]
        else:
            both = isinstance(expected, str) and isinstance(got, str)
            needed = equality.equal(expected, got) if both else None
            return [tr(f"{path[1:]} by ", f"{path[1:]} は ") + equality.said(needed)] if needed else []
        return [line for left, right, inner in pairs for line in self.folded(left, right, inner)]

    def differences(self, expected: Any, got: Any, path: str = "") -> list[str]:
        """One short line a wrong place, in the order of the reference."""
        here = path.removeprefix(".") or "$"
        if isinstance(expected, dict) and isinstance(got, dict) and expected and got:
            lines: list[str] = []
            for key in [*expected, *(key for key in got if key not in expected)]:
                inner = f"{path}.{key}"
                if key not in got:
                    lines.append(tr(f"{inner[1:]} is missing", f"{inner[1:]} がない"))
                elif key not in expected:
                    lines.append(tr(f"{inner[1:]} is too much", f"{inner[1:]} は余分"))
                else:
                    lines += self.differences(expected[key], got[key], inner)
            return lines
        if isinstance(expected, list) and isinstance(got, list) and expected and got:
            lines = []
            for i, j in self.align(expected, got):
                if j is None:
                    lines.append(tr(f"{here}[{i}] is missing", f"{here}[{i}] がない"))
                elif i is None:
                    lines.append(tr(f"{here}[{j}] is too much", f"{here}[{j}] は余分"))
                else:
                    lines += self.differences(expected[i], got[j], f"{path}[{i}]")
            return lines
        if self.matched(expected, got):
            return []
        return [
            tr(
                f"{here}: {clip(str(got))}, not {clip(str(expected))}",
                f"{here}: {clip(str(got))} (正解は {clip(str(expected))})",
            )
        ]


def compare(
    expected: Any, got: Any, order: Order = "any", numbers: Numbers = "strict", strings: Strings = "strict"
) -> dict[str, float]:
    """`precision`, `recall`, `f1` and `exact` of one JSON value against another."""
    matched = _Comparison(order, numbers, strings).matched(expected, got)
    wanted, said = leaves(expected), leaves(got)
    return {
        "precision": matched / said,
        "recall": matched / wanted,
        "f1": 2 * matched / (wanted + said),
        "exact": float(matched == wanted == said),
    }


def fields(mode: Mode, order: Order, numbers: Numbers, lenient: bool, strings: Strings = "strict") -> GradeFunction:
    """Scores a reply's JSON against the reference's JSON by `mode`: field-wise F1, or 1 only when all is right."""

    def grade(reply: str, reference: str | None, item: Mapping[str, Any]) -> Grade:
        try:
            expected = read_json(reference or "")
        except NotJsonError as error:
            raise SodateError(
                tr(f"the reference is not valid JSON: {error}.", f"正解が JSON として不正です: {error}"),
                tr("Mend the row, or grade it as text.", "行を直すか、文章としての採点に変えてください。"),
                code="bad_reference",
            ) from None

        def judge(value: Any) -> Grade:
            parts = compare(expected, value, order, numbers, strings)
            comparison = _Comparison(order, numbers, strings)
            if parts["exact"]:
                reason: str = tr("all fields right", "全項目一致")
                if strings == "loose" and (lines := comparison.folded(expected, value)):
                    reason += tr("; folded: ", "、表記の違い: ") + tr("; ", "、").join(lines[:3])
            else:
                lines = comparison.differences(expected, value)
                reason = tr("; ", "; ").join(lines[:3]) + (f" (+{len(lines) - 3})" if len(lines) > 3 else "")
            return Grade(parts[mode], reason, parts)

        return json_graded(reply, lenient, judge, {"precision": 0.0, "recall": 0.0, "f1": 0.0, "exact": 0.0})

    return grade
