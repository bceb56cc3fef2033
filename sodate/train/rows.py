"""From checked files to the rows of a training method: rendered once, kept in the cache, read where they are used."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import overload

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
