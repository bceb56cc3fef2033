"""The passages of an index on disk, compressed in blocks and read one at a time.

passages.z    blocks of BLOCK passages, each a JSON line, compressed by zlib
blocks.i64    where each block begins, and the end of the last
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, fields
from functools import lru_cache
from pathlib import Path

import numpy as np

from sodate.retrieve.passages import Passage

BLOCK = 16
FILES = ("passages.z", "blocks.i64")
_encoded = json.JSONEncoder(ensure_ascii=False).encode
_FIELDS = tuple(field.name for field in fields(Passage))


def write(folder: Path, passages: Iterable[Passage]) -> Iterator[Passage]:
    """Writes the passages as they are taken from here."""
    starts: list[int] = [0]
    lines: list[str] = []

    with (folder / FILES[0]).open("wb") as out:

        def block() -> None:
            starts.append(starts[-1] + out.write(zlib.compress("\n".join(lines).encode(), 6)))
            lines.clear()

        for passage in passages:
            row = {name: getattr(passage, name) for name in _FIELDS}
            lines.append(_encoded(row))
            if len(lines) == BLOCK:
                block()
            yield passage
        if lines:
            block()
    np.array(starts, np.int64).tofile(folder / FILES[1])


def blocks(folder: Path) -> int:
    """How many blocks an index has."""
    return (folder / FILES[1]).stat().st_size // 8 - 1


@dataclass(frozen=True)
class Passages:
    """Passages by their number."""

    folder: Path
    count: int

    def __getitem__(self, number: int) -> Passage:
        return _passage(_block(self.folder, number // BLOCK)[number % BLOCK])

    def __iter__(self) -> Iterator[Passage]:
        for block in range(-(-self.count // BLOCK)):
            yield from map(_passage, _block(self.folder, block))


@lru_cache(maxsize=128)
def _block(folder: Path, block: int) -> list[bytes]:
    """Its lines, which are parsed one by one as they are asked for."""
    with (folder / FILES[1]).open("rb") as file:
        file.seek(8 * block)  # two numbers: mapping the file for them would take ten times as long
        start, end = np.frombuffer(file.read(16), np.int64).tolist()
    with (folder / FILES[0]).open("rb") as file:
        file.seek(start)
        return zlib.decompress(file.read(end - start)).split(b"\n")


def _passage(line: bytes) -> Passage:
    row = json.loads(line)
    return Passage(**(row | {"titles": tuple(row["titles"])}))
