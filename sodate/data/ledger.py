"""The ledger: rows in = rows used + rows set aside, each of those with file, line, code and a sentence that helps."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from sodate.core.errors import SodateError
from sodate.core.text import Sentence, tr, written
from sodate.data.codes import CODES, Severity

MAX_ENTRIES = 10_000  # listed of one code; the others are counted
SAID = 500  # characters quoted of one thing a row says


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing to say about one row. The sentence is made only when asked for, so that many stay small.

    `place` is where in the row (`messages[1].content`), if that is known.
    """

    file: str
    line: int
    code: str
    args: tuple[str | int, ...] = ()
    place: str = ""

    def __post_init__(self) -> None:
        if self.args or self.place:
            object.__setattr__(self, "args", tuple(map(_sayable, self.args)))
            object.__setattr__(self, "place", _sayable(self.place))

    @property
    def severity(self) -> Severity:
        return CODES[self.code].severity

    @property
    def message(self) -> Sentence:
        code = CODES[self.code]
        sentence = tr(code.en, code.ja).format(*self.args)
        return self.place + ": " + sentence if self.place else sentence

    def to_json(self) -> dict[str, Any]:
        return {"file": self.file, "line": self.line, "code": self.code, "message": str(self.message)}


def _sayable(part: str | int) -> str | int:
    if isinstance(part, Sentence):
        return tr(_quoted(part.en), _quoted(part.ja))
    return _quoted(part) if isinstance(part, str) else part


def _quoted(part: str) -> str:
    """What a row says, fit to be quoted: not longer than SAID characters, and without halves of surrogate pairs."""
    return written(part if len(part) <= SAID else part[:SAID] + "…")


class RowError(Exception):
    """A row that cannot be used. Raised while a row is parsed, turned into a Problem where its line is known."""

    def __init__(self, code: str, *args: str | int) -> None:
        super().__init__(code, *args)
        self.code = code
        self.details = args
        self.place = ""
        self.rows = 1  # how many rows are lost by it

    def at(self, place: str) -> RowError:
        """The same, said of a place in the row; a place found further inside is added after it."""
        self.place = place + ": " + self.place if self.place and place else place or self.place
        return self

    def problem(self, file: str, line: int) -> Problem:
        return Problem(file, line, self.code, self.details, self.place)


class Lines:
    """A set of line numbers, a bit for each."""

    def __init__(self, bits: bytes = b"") -> None:
        self._bits = bytearray(bits)

    def add(self, line: int) -> None:
        if line >> 3 >= len(self._bits):
            self._bits.extend(bytes(max(64, (line >> 2) - len(self._bits))))
        self._bits[line >> 3] |= 1 << (line & 7)

    def __contains__(self, line: int) -> bool:
        return line >> 3 < len(self._bits) and bool(self._bits[line >> 3] & 1 << (line & 7))

    def __bytes__(self) -> bytes:
        return bytes(self._bits.rstrip(b"\0"))


def unforeseen(error: Exception, file: str, line: int) -> Problem:
    """What nobody thought of while one row was worked on: the row is set aside, and the others go on.

    Raises the error again where it is not about the row: what a person can mend, a full disk, no memory left.
    """
    if isinstance(error, SodateError | MemoryError):
        raise error
    return Problem(file, line, "unforeseen", (f"{type(error).__name__}: {error}",))


@dataclass(slots=True)
class Ledger:
    """What happened to every row. Law: `rows_in == rows_used + rows_aside`.

    Every entry is counted, and every row set aside is known by its line; of each code the first MAX_ENTRIES are listed.
    """

    rows_in: int = 0
    rows_used: int = 0
    set_aside: list[Problem] = field(default_factory=list)
    warnings: list[Problem] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    lines_aside: dict[str, Lines] = field(default_factory=dict)

    @property
    def rows_aside(self) -> int:
        return self.rows_in - self.rows_used

    @property
    def unlisted(self) -> dict[str, int]:
        """How many entries of a code were counted but not listed, for codes where there are any."""
        return {code: count - MAX_ENTRIES for code, count in self.counts.items() if count > MAX_ENTRIES}

    def use(self) -> None:
        self.rows_in += 1
        self.rows_used += 1

    def add(self, problem: Problem) -> None:
        """A row set aside counts as a row in; a warning belongs to a row that is counted elsewhere."""
        self.counts[problem.code] += 1
        warning = problem.severity == "warning"
        if not warning:
            self.rows_in += 1
            self.lines_aside.setdefault(problem.file, Lines()).add(problem.line)
        if self.counts[problem.code] <= MAX_ENTRIES:
            (self.warnings if warning else self.set_aside).append(problem)

    def is_aside(self, file: str, line: int) -> bool:
        lines = self.lines_aside.get(file)
        return lines is not None and line in lines
