"""What a document is made of, whatever its kind: text under headings, and where it stands."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Section:
    """Text under the headings `titles`, outermost first. `place` is where it begins: `line 12`, `page 3`, `row 5`.
    `whole`: not to be cut between sentences, as a table's row. `lines` are those of the file on which the lines of the
    text stand, where it has such, so that the place of a part can be told."""

    text: str
    place: str
    titles: tuple[str, ...] = ()
    whole: bool = False
    id: str = ""  # the row's own, where it has one
    lines: Sequence[int] = ()
