"""Opening files, .gz unpacked within bounds: a small file may not fill the disk or keep a machine busy for hours."""

from __future__ import annotations

import gzip
import io
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, cast

from sodate.core.errors import SodateError, UsageError
from sodate.core.paths import no_file, refusal
from sodate.core.text import en, ja, tr
from sodate.data.datasets import meant

if TYPE_CHECKING:
    from typing_extensions import Buffer

MAGIC = b"\x1f\x8b"
FREE = 64 << 20  # bytes that any file may unpack to
RATIO = 250  # times its own size that a file may unpack to; repeated text of real sets stays below 100
DAMAGED = (EOFError, gzip.BadGzipFile, zlib.error)


class UnpacksTooMuch(Exception):
    """A .gz that unpacks to more than it may."""


class _Unpacked(io.RawIOBase):
    def __init__(self, path: Path) -> None:
        self._packed = path.open("rb")
        self._stream = gzip.GzipFile(fileobj=self._packed, mode="rb")
        self._made = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Buffer, /) -> int:
        count = self._stream.readinto(buffer)
        self._made += count
        if self._made > FREE and self._made > RATIO * self._packed.tell():
            raise UnpacksTooMuch
        return count

    def close(self) -> None:
        self._stream.close()
        self._packed.close()
        super().close()


def is_packed(path: Path) -> bool:
    with _plain(path) as file:
        return file.read(2) == MAGIC


def opened(path: Path) -> BinaryIO:
    """The file's bytes, unpacked where its content is gzip, whatever its name. UsageError where there is no file."""
    return cast(BinaryIO, io.BufferedReader(_Unpacked(path), 1 << 18)) if is_packed(path) else _plain(path)


def _plain(path: Path) -> BinaryIO:
    if not path.is_file():
        raise UsageError(
            no_file(path),
            meant(path),
            code="file_unreadable",
            param="data",
            file=path,
        )
    try:
        return path.open("rb", buffering=1 << 18)
    except OSError as error:
        why = refusal(error)
        raise SodateError(
            tr(f"{path} cannot be read: {en(why)}.", f"{path} を読めません: {ja(why)}"),
            code="file_unreadable",
            param="data",
            file=path,
        ) from None
