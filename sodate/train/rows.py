"""From checked files to the rows of a training method: rendered once, kept in the cache, read where they are used."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from typing import overload

from sodate.core.errors import SodateError
from sodate.core.types import Conversation, Example
from sodate.data.measure import Measure, Measured
from sodate.data.prepare import Prepared
from sodate.data.tokens import Names
from sodate.render.renderer import Rendered, Renderer
from sodate.train.methods import Kind, Rows, supervised


def measure(kind: Kind, renderer: Renderer) -> Measure:
    """Renders the rows that a method makes of an example."""

    def many(examples: Sequence[Example]) -> list[Measured | SodateError]:
        taken = [kind.takes(example) for example in examples]
        rendered = iter(renderer.render_many([row for rows in taken for row in rows if isinstance(row, Conversation)]))
        return [_measured([next(rendered) for _ in rows]) for rows in taken]

    def one_by_one(examples: Sequence[Example]) -> list[Measured | SodateError]:
        return [_measured([_rendered(kind, renderer, row) for row in kind.takes(example)]) for example in examples]

    return many if kind.render is supervised else one_by_one


def _rendered(kind: Kind, renderer: Renderer, row: Example) -> list[Rendered] | SodateError:
    try:
        return kind.render(renderer, row)
    except SodateError as error:
        return error


def _measured(rows: Sequence[list[Rendered] | SodateError]) -> Measured | SodateError:
    error = next((row for row in rows if isinstance(row, SodateError)), None)
    return error or Measured.of([row for row in rows if not isinstance(row, SodateError)])


def rows_of(kind: Kind, prepared: Prepared | None) -> Rows:
    """What a method learns from the prepared files; empty without any."""
    if prepared is None:
        return Rows([], [], [])
    taken = Examples(len(prepared.rows), lambda: [r for e in prepared.checked.iter_examples() for r in kind.takes(e)])
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
