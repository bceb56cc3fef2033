"""From checked files to the rows of a training method: rendered once, kept in the cache, read where they are used."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TypeVar, overload

import numpy as np
from numpy.typing import NDArray

from sodate.core.errors import SodateError
from sodate.core.types import Example
from sodate.data.measure import Measure, Measured
from sodate.data.tokenise import TokenisedData
from sodate.data.tokens import Names, TokenRows
from sodate.render.renderer import Rendered, Renderer
from sodate.train.methods import TrainingMethod


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


T = TypeVar("T")


class Picked(Sequence[T]):
    """Some of a sequence's items, by their places; those are read where they are."""

    def __init__(self, items: Sequence[T], places: NDArray[np.intp]) -> None:
        self._items = items
        self._places = places

    def __len__(self) -> int:
        return len(self._places)

    @overload
    def __getitem__(self, index: int) -> T: ...
    @overload
    def __getitem__(self, index: slice) -> list[T]: ...
    def __getitem__(self, index: int | slice) -> T | list[T]:
        if isinstance(index, slice):
            return [self._items[int(place)] for place in self._places[index]]
        return self._items[int(self._places[index])]


def apart(rows: Rows, held: NDArray[np.bool_]) -> tuple[Rows, Rows]:
    """The rows to train on and those that `held` (rows,) marks."""
    sides = (np.flatnonzero(~held), np.flatnonzero(held))
    train, out = (Rows(Picked(rows.examples, s), Picked(rows.sequences, s), Picked(rows.names, s)) for s in sides)
    return train, out


def measure(method: TrainingMethod, renderer: Renderer) -> Measure:
    """Renders the rows that a method makes of an example."""

    def measured(examples: Sequence[Example]) -> list[Measured | SodateError]:
        taken = [method.takes(example) for example in examples]
        rendered = iter(method.render(renderer, [row for rows in taken for row in rows]))
        return [_measured([next(rendered) for _ in rows]) for rows in taken]

    return measured


def _measured(rows: Sequence[list[Rendered] | SodateError]) -> Measured | SodateError:
    error = next((row for row in rows if isinstance(row, SodateError)), None)
    return error or Measured.of([row for row in rows if not isinstance(row, SodateError)])


def rows_of(method: TrainingMethod, prepared: TokenisedData | None) -> Rows:
    """What a method learns from the prepared files; empty without any."""
    if prepared is None:
        return Rows([], [], [])
    taken = Examples(len(prepared.rows), lambda: [r for e in prepared.checked.iter_examples() for r in method.takes(e)])
    return Rows(taken, prepared.rows, Names(prepared.rows, prepared.checked.files))


class Examples(Sequence[Example]):
    """The examples behind the rows, read from the files when a method first asks for one: most never do."""

    def __init__(self, count: int, read: Callable[[], list[Example]]) -> None:
        self._count = count
        self._read = read

    @cached_property
    def _all(self) -> list[Example]:
        return self._read()

    def __len__(self) -> int:
        return self._count

    @overload
    def __getitem__(self, index: int) -> Example: ...
    @overload
    def __getitem__(self, index: slice) -> list[Example]: ...
    def __getitem__(self, index: int | slice) -> Example | list[Example]:
        return self._all[index]

    def __iter__(self) -> Iterator[Example]:
        return iter(self._all)
