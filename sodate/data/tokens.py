"""Token ids of a data set, rendered once and mapped into memory: a million rows cost no more of it than ten.

A folder of flat little-endian files. A row is a list of sequences, each with ids and loss weights:

    rows        per row        end in `sequences`, number of the file, line
    sequences   per sequence   end in `ids`, end in `runs`
    ids         per token      16 bits where the vocabulary allows, else 32
    runs        per run        length, weight: neighbours of equal loss weight are one run
    index.json                 counts, sizes, the SHA-256 of `rows` and `sequences`, and what the writer adds

Ends are counts of all entries up to here, so that entry i is found at [end(i-1), end(i)) without reading the others.
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray

from sodate.core.errors import SodateError
from sodate.core.files import write_json
from sodate.core.manifests import SCHEMA_VERSION, TokensManifest, read_manifest
from sodate.core.text import tr
from sodate.render.renderer import Rendered

_ROW = np.dtype([("end", "<u8"), ("file", "<u4"), ("line", "<u4")])
_SEQUENCE = np.dtype([("ids", "<u8"), ("runs", "<u8")])
_RUN = np.dtype([("length", "<u4"), ("weight", "<f8")])
_HASHED = ("rows", "sequences")  # small, and a wrong end would give wrong tokens without a word


class Writer:
    """Appends rows to the files of a new folder; `close` writes the index, without which there is no data set."""

    def __init__(self, folder: Path, stack: contextlib.ExitStack, *, vocabulary: int) -> None:
        self._folder = folder
        self._dtype = "<u2" if vocabulary <= 1 << 16 else "<i4"
        names = ("ids", "runs", "sequences", "rows")
        self._files = {name: stack.enter_context((folder / name).open("wb", buffering=1 << 18)) for name in names}
        self._hashes = {name: hashlib.sha256() for name in _HASHED}
        self._ids = self._runs = self._sequences = self.rows = 0

    def add(self, row: Sequence[Rendered], file: int, line: int) -> None:
        for sequence in row:
            self._files["ids"].write(np.array(sequence.ids, dtype=self._dtype).tobytes())
            for weight, same in itertools.groupby(sequence.weights):
                self._files["runs"].write(struct.pack("<Id", sum(1 for _ in same), weight))
                self._runs += 1
            self._ids += len(sequence.ids)
            self._sequences += 1
            self._write("sequences", struct.pack("<QQ", self._ids, self._runs))
        self.rows += 1
        self._write("rows", struct.pack("<QII", self._sequences, file, line))

    def _write(self, name: str, data: bytes) -> None:
        self._files[name].write(data)
        self._hashes[name].update(data)

    def close(self, more: dict[str, Any]) -> None:
        """Writes the index with `more` in it."""
        for file in self._files.values():
            file.close()
        sizes = {name: (self._folder / name).stat().st_size for name in self._files}
        hashes = {name: digest.hexdigest() for name, digest in self._hashes.items()}
        own = {"schema_version": SCHEMA_VERSION, "ids": self._dtype, "sizes": sizes, "sha256": hashes}
        write_json(self._folder / "index.json", {**own, **more})


class TokenRows(Sequence[list[Rendered]]):
    """The rows of a written folder. Only the asked-for ones become Python objects; the rest stays on the disk.

    Raises SodateError when a file is not as it was written.
    """

    def __init__(self, folder: Path) -> None:
        self.about: TokensManifest = read_manifest(folder / "index.json")
        for name, size in self.about["sizes"].items():
            with contextlib.suppress(OSError):
                if (folder / name).stat().st_size == size:
                    continue
            raise _damaged(folder / name)
        self._ids = _mapped(folder / "ids", np.dtype(self.about["ids"]))
        self._runs = _mapped(folder / "runs", _RUN)
        self._sequences = _mapped(folder / "sequences", _SEQUENCE)
        self._rows = _mapped(folder / "rows", _ROW)
        for name, array in zip(_HASHED, (self._rows, self._sequences), strict=True):
            if hashlib.sha256(array.data).hexdigest() != self.about["sha256"][name]:
                raise _damaged(folder / name)

    def __len__(self) -> int:
        return len(self._rows)

    @overload
    def __getitem__(self, index: int) -> list[Rendered]: ...
    @overload
    def __getitem__(self, index: slice) -> list[list[Rendered]]: ...
    def __getitem__(self, index: int | slice) -> list[Rendered] | list[list[Rendered]]:
        if isinstance(index, slice):
            return [self[i] for i in range(len(self))[index]]
        start, end = _span(self._rows["end"], range(len(self))[index])
        return [self._sequence(number) for number in range(start, end)]

    def _sequence(self, number: int) -> Rendered:
        start, end = _span(self._sequences["ids"], number)
        first, last = _span(self._sequences["runs"], number)
        runs = self._runs[first:last]
        return Rendered(self._ids[start:end].tolist(), np.repeat(runs["weight"], runs["length"]).tolist())

    def place(self, row: int) -> tuple[int, int]:
        """(number of the file, line) a row was read from."""
        return int(self._rows["file"][row]), int(self._rows["line"][row])

    @property
    def lengths(self) -> NDArray[np.int64]:
        """Tokens of each sequence, without reading any token."""
        ends = self._sequences["ids"].astype(np.int64)
        ends[1:] -= ends[:-1].copy()
        return ends


class Names(Sequence[str]):
    """`file:line` of each row, made when asked for."""

    def __init__(self, rows: TokenRows, files: Sequence[Path]) -> None:
        self._rows = rows
        self._files = files

    def __len__(self) -> int:
        return len(self._rows)

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> list[str]: ...
    def __getitem__(self, index: int | slice) -> str | list[str]:
        if isinstance(index, slice):
            return [self[i] for i in range(len(self))[index]]
        file, line = self.place(index)
        return f"{file.name}:{line}"

    def place(self, index: int) -> tuple[Path, int]:
        """File and line of a row."""
        file, line = self._rows.place(range(len(self))[index])
        return self._files[file], line


def _span(ends: NDArray[np.uint64], number: int) -> tuple[int, int]:
    return int(ends[number - 1]) if number else 0, int(ends[number])


def _mapped(path: Path, dtype: np.dtype[Any]) -> NDArray[Any]:
    if not path.stat().st_size:  # an empty file can't be mapped
        return np.empty(0, dtype=dtype)
    return np.asarray(np.memmap(path, dtype=dtype, mode="r"))


def _damaged(path: Path) -> SodateError:
    return SodateError(tr(f"{path} is damaged.", f"{path} が壊れています。"), code="damaged", file=path)
