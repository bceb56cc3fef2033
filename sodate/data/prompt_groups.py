"""Which rows must stand on one side of a split, so that no prompt of a held-out row is in a training row.

A conversation of several turns holds the prompt of each of them. Held out, it is asked its last one only; in training
it gives all of them away. So a row that asks what is an earlier turn of others belongs together with them.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sodate.data.ondisk import Column

LAST = (1 << 63) - 1  # the key of rows that are never held out
_BLOCK = 1 << 18  # prompts looked up at once
_Words = NDArray[np.uint64]
_Rows = NDArray[np.bool_]


class PromptGroups:
    """The prompts of every row as 63 hash bits, in mapped temporary files: 8 bytes a turn and 8 a row."""

    def __init__(self) -> None:
        self._turns = Column("Q")
        self._ends = Column("q")  # where a row's turns end

    def __len__(self) -> int:
        return len(self._ends)

    def add(self, turns: Iterable[int]) -> None:
        """The next row: the prompts of its turns, the one it asks last."""
        for turn in turns:
            self._turns.append(turn)
        self._ends.append(len(self._turns))

    def keys(self, most: float) -> _Words:
        """For every row the hash of the first of its turns that a row asks: rows with one key belong together.

        The opening of more than `most` longer rows (a greeting) would put all of them on one side. It joins none: rows
        that ask nothing more are never held out, and the longer ones go by their next turn.
        """
        keys = self._asked()
        joining = np.sort(keys)
        earlier = np.ones(len(self._turns), dtype=np.bool_)
        earlier[self._ends.numpy() - 1] = False
        places = np.flatnonzero(earlier)
        # Turns that add no text (a tool that answers nothing) ask the same again: nothing longer begins there.
        places = places[self._turns.numpy()[places] != keys[self._rows(places)]]
        while True:
            places = places[_among(self._turns.numpy()[places], joining)]
            rows, first = np.unique(self._rows(places), return_index=True)
            begun = self._turns.numpy()[places[first]]
            openings, longer = np.unique(begun, return_counts=True)
            common = openings[longer > most]
            if not common.size:
                break
            joining = joining[~_among(joining, common)]
        alone = ~_among(keys, joining)
        keys[rows] = begun
        keys[alone] = LAST
        return keys

    def spread(self, held_out: _Rows) -> _Rows:
        """`held` and every row that has, in any turn, what a held row asks.

        Rows with one key stand together already. What is left is one text cut into turns in two ways.
        """
        held_out = held_out.copy()
        while True:
            rows = self._rows(np.flatnonzero(_among(self._turns.numpy(), np.sort(self._asked()[held_out]))))
            if held_out[rows].all():
                return held_out
            held_out[rows] = True

    def _asked(self) -> _Words:
        found: _Words = self._turns.numpy()[self._ends.numpy() - 1]
        return found

    def _rows(self, places: NDArray[Any]) -> NDArray[Any]:
        """The row of each place among the turns."""
        return self._ends.numpy().searchsorted(places, "right")


def _among(values: _Words, known: _Words) -> _Rows:
    """Which of `values` are in `known`, which is sorted."""
    found = np.zeros(len(values), dtype=np.bool_)
    if not known.size:
        return found
    for at in range(0, len(values), _BLOCK):
        block = values[at : at + _BLOCK]
        found[at : at + _BLOCK] = known.take(known.searchsorted(block), mode="clip") == block
    return found
