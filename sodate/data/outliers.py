"""What a careful person would notice at a glance: a row many times as long as others, one that says it is a test."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sodate.data.marks import verdict

FEWEST = 10  # rows of which a median says something
TIMES = 20  # times the median that a row is an outlier from …
CHARS = 5000  # … if it is this long as well

_SPLITS = frozenset(
    ["split", "subset", "partition", "set", "fold", "data split", "dataset split", "分割", "用途", "区分", "データ区分"]
)
_MARKS = frozenset(
    ["is test", "is eval", "is validation", "is heldout", "is held out", "heldout", "held out", "holdout"]
)
_HELD_OUT = frozenset(
    (
        *(
            "test",
            "testing",
            "dev",
            "val",
            "valid",
            "validation",
            "test set",
            "dev set",
            "eval",
            "evaluation",
            "heldout",
            "held out",
            "holdout",
        ),
        *("評価", "評価用", "検証", "検証用", "テスト", "テスト用"),
    )
)


def outliers(sizes: NDArray[Any]) -> Iterator[tuple[int, int, int]]:
    """(row, its multiple of the median, the median) of every outlier among the lengths of all rows."""
    if len(sizes) < FEWEST:
        return
    median = max(1, int(np.median(sizes)))
    for row in np.flatnonzero(sizes >= max(CHARS, TIMES * median)).tolist():
        yield row, int(sizes[row]) // median, median


def says_held_out(row: Mapping[str, Any]) -> str | None:
    """`split: test`, where a row's own columns (or its metadata) put it among those for evaluation; None elsewhere."""
    inside = row.get("metadata")
    for columns in (row, inside if isinstance(inside, dict) else {}):
        for key, value in columns.items():
            name = _plain(str(key))
            if name in _SPLITS and isinstance(value, str) and _plain(value) in _HELD_OUT:
                return f"{key}: {value.strip()}"
            if name in _MARKS and verdict(value):
                return f"{key}: {json.dumps(value, ensure_ascii=False)}"
    return None


def _plain(word: str) -> str:
    return word.strip().casefold().replace("_", " ").replace("-", " ")
