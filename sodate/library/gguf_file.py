"""Reads and checks a GGUF file's header: magic, metadata and tensor table.

Every length, count and offset is compared with the size of the file before it is used, so that a truncated file or a
lying offset is refused before anyone maps it. Format: the GGUF specification, versions 2 and 3, little-endian.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

from sodate.core.errors import SodateError
from sodate.core.files import CHUNK
from sodate.core.text import tr

STRING, ARRAY, UINT32 = 8, 9, 4
SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
MAX_DIMENSIONS = 4
# Far above what models have: Gemma's header, of the largest, has 262,144 tokens and 15 MB. MAX_VALUES is of all arrays.
MAX_KEYS, MAX_TENSORS, MAX_VALUES, MAX_TEXT_BYTES, MAX_HEADER_BYTES = 10_000, 200_000, 1 << 22, 1 << 20, 1 << 28
# Smallest bytes of one entry: a metadata key (length, type, value) and a tensor (name length, rank, type, offset).
MIN_KEY_BYTES, MIN_TENSOR_BYTES = 8 + 4 + 1, 8 + 4 + 4 + 8


@dataclass(frozen=True, slots=True)
class GgufTensor:
    """One row of the tensor table. `start` counts from the beginning of the file; `shape` is in the file's order."""

    name: str
    shape: tuple[int, ...]
    kind: int
    start: int
    size: int


@dataclass(frozen=True, slots=True)
class GgufFile:
    """A checked header. `spans` are the byte ranges of each metadata entry, `table` that of the tensor table."""

    path: Path
    metadata: dict[str, Any]
    tensors: tuple[GgufTensor, ...]
    version: int
    table: tuple[int, int]
    data_start: int
    spans: dict[str, tuple[int, int]] = field(repr=False)

    @property
    def architecture(self) -> str:
        return str(self.metadata["general.architecture"])

    @property
    def parameters(self) -> int:
        return sum(math.prod(tensor.shape) for tensor in self.tensors)


class _Reader:
    """Sequential little-endian reads that never pass the end of the file."""

    def __init__(self, handle: BinaryIO, path: Path, size: int) -> None:
        self.handle, self.path, self.size, self.position, self.values = handle, path, size, 0, 0

    def fail(self, en: str, ja: str) -> SodateError:
        return SodateError(
            tr(
                f"{self.path} is not a sound GGUF file: {en}.",
                f"{self.path} は正しい GGUF ファイルではありません: {ja}。",
            ),
            tr("Download it again and compare its hash.", "もう一度ダウンロードし、ハッシュ値を確かめてください。"),
            code="damaged",
            file=self.path,
        )

    def need(self, count: int, unit: int) -> None:
        """Refuses a count that cannot fit in what is left, before any loop or allocation."""
        if count * unit > self.size - self.position:
            raise self.fail(f"it ends early (byte {self.position})", f"途中で終わっています ({self.position} バイト目)")

    def take(self, count: int) -> bytes:
        self.need(count, 1)
        self.position += count
        if self.position > MAX_HEADER_BYTES:
            raise self.fail(f"a header of over {MAX_HEADER_BYTES} bytes", f"{MAX_HEADER_BYTES} バイトを超えるヘッダー")
        data = self.handle.read(count)
        if len(data) != count:
            raise self.fail("it ends early", "途中で終わっています")
        return data

    def number(self, kind: str) -> Any:
        return struct.unpack(f"<{kind}", self.take(struct.calcsize(f"<{kind}")))[0]

    def string(self) -> str:
        length = self.number("Q")
        if length > MAX_TEXT_BYTES:
            raise self.fail(f"a text of {length} bytes", f"{length} バイトの文字列")
        raw = self.take(length)
        try:
            return raw.decode("utf-8")
        except UnicodeDecodeError:
            raise self.fail("a text in it is not UTF-8", "文字列が UTF-8 ではありません") from None

    def value(self, kind: int) -> Any:
        if kind in SCALARS:
            return self.number(SCALARS[kind])
        if kind == STRING:
            return self.string()
        if kind != ARRAY:
            raise self.fail(f"unknown value type {kind}", f"未知の値の型 {kind}")
        inner, count = self.number("I"), self.number("Q")
        self.values += count
        if self.values > MAX_VALUES:
            raise self.fail(f"an array of {count} values", f"{count} 個の値の配列")
        if inner == STRING:
            self.need(count, 8)
            return [self.string() for _ in range(count)]
        if inner not in SCALARS:
            raise self.fail(f"unknown array type {inner}", f"未知の配列の型 {inner}")
        width = struct.calcsize(f"<{SCALARS[inner]}")
        return list(struct.unpack(f"<{count}{SCALARS[inner]}", self._sized(count, width)))

    def _sized(self, count: int, width: int) -> bytes:
        self.need(count, width)
        return self.take(count * width)


def read_gguf(path: Path) -> GgufFile:
    """The checked header of the GGUF file at `path`. Raises SodateError naming what is wrong with it."""
    size = path.stat().st_size
    with path.open("rb") as handle:
        reader = _Reader(handle, path, size)
        if size < 4 or reader.take(4) != b"GGUF":
            raise reader.fail("it does not start with 'GGUF'", "先頭が 'GGUF' ではありません")
        version = reader.number("I")
        if version not in (2, 3):
            raise reader.fail(f"version {version} (2 and 3 are read)", f"バージョン {version} (読めるのは 2 と 3)")
        tensor_count, key_count = reader.number("Q"), reader.number("Q")
        reader.need(key_count, MIN_KEY_BYTES)
        reader.need(tensor_count, MIN_TENSOR_BYTES)
        if key_count > MAX_KEYS or tensor_count > MAX_TENSORS:
            raise reader.fail(f"{key_count} keys, {tensor_count} tensors", f"キー {key_count}、テンソル {tensor_count}")
        metadata: dict[str, Any] = {}
        spans: dict[str, tuple[int, int]] = {}
        for _ in range(key_count):
            begin = reader.position
            key = reader.string()
            if key in metadata:
                raise reader.fail(f"{key!r} appears twice", f"{key!r} が二度現れます")
            metadata[key] = reader.value(reader.number("I"))
            spans[key] = (begin, reader.position)
        if not isinstance(metadata.get("general.architecture"), str):
            raise reader.fail("it names no architecture", "アーキテクチャ名がありません")
        if metadata.get("split.count", 1) not in (0, 1):
            raise reader.fail("it is one part of several", "分割ファイルの一部です")
        reader.need(tensor_count, MIN_TENSOR_BYTES)
        table_start = reader.position
        rows = [_tensor_row(reader) for _ in range(tensor_count)]
        table = (table_start, reader.position)
        alignment = metadata.get("general.alignment", 32)
        if not isinstance(alignment, int) or alignment < 8 or alignment & (alignment - 1) or alignment > 1 << 20:
            raise reader.fail(f"alignment {alignment}", f"アラインメント {alignment}")
        data_start = -(-reader.position // alignment) * alignment
        tensors = _checked_tensors(reader, rows, data_start, alignment)
    return GgufFile(path, metadata, tensors, version, table, data_start, spans)


def _tensor_row(reader: _Reader) -> tuple[str, tuple[int, ...], int, int]:
    name, rank = reader.string(), reader.number("I")
    if not 1 <= rank <= MAX_DIMENSIONS:
        raise reader.fail(f"tensor {name!r} has {rank} dimensions", f"テンソル {name!r} の次元数が {rank} です")
    shape = tuple(reader.number("Q") for _ in range(rank))
    return name, shape, reader.number("I"), reader.number("Q")


def _checked_tensors(
    reader: _Reader, rows: list[tuple[str, tuple[int, ...], int, int]], data_start: int, alignment: int
) -> tuple[GgufTensor, ...]:
    """Every tensor lies inside the file, aligned, with whole blocks, and shares no byte with another."""
    from gguf.constants import GGML_QUANT_SIZES

    blocks = {int(kind): sizes for kind, sizes in GGML_QUANT_SIZES.items()}
    tensors = []
    for name, shape, kind, offset in rows:
        if kind not in blocks:
            raise reader.fail(f"tensor {name!r} has unknown type {kind}", f"テンソル {name!r} の型 {kind} は未知です")
        per_block, block_bytes = blocks[kind]
        if 0 in shape or shape[0] % per_block or offset % alignment:
            raise reader.fail(f"tensor {name!r} has a broken shape", f"テンソル {name!r} の形が壊れています")
        tensors.append(GgufTensor(name, shape, kind, data_start + offset, math.prod(shape) // per_block * block_bytes))
    if not tensors:
        raise reader.fail("it holds no tensors", "テンソルがありません")
    if len({tensor.name for tensor in tensors}) != len(tensors):
        raise reader.fail("a tensor appears twice", "同じテンソルが二度現れます")
    end, previous = data_start, ""
    for tensor in sorted(tensors, key=lambda t: t.start):
        if tensor.start < end:
            raise reader.fail(
                f"tensors {previous!r} and {tensor.name!r} overlap",
                f"テンソル {previous!r} と {tensor.name!r} が重なっています",
            )
        end, previous = tensor.start + tensor.size, tensor.name
        if end > reader.size:
            raise reader.fail(
                f"tensor {tensor.name!r} lies beyond the end of the file",
                f"テンソル {tensor.name!r} がファイルの終わりを越えています",
            )
    return tuple(tensors)


def write_without_vocabulary(source: GgufFile, target: Path) -> None:
    """A copy whose metadata has no tokenizer arrays; tensors and their order are the same.

    transformers parses the whole file three times through a reader that spends 15 µs on each vocabulary entry: on a
    vocabulary of 262k that is most of a minute, and none of it is needed to read the weights.
    """
    kept = [
        span
        for key, span in source.spans.items()
        if not (key.startswith("tokenizer.") and isinstance(source.metadata[key], list))
    ]
    with target.open("wb") as write:
        copy(source, write, kept)


def copy(source: GgufFile, write: BinaryIO, kept: Sequence[tuple[int, int]], added: Sequence[bytes] = ()) -> None:
    """Writes a file with the metadata entries whose spans are `kept`, those `added`, and the same tensors."""
    alignment = source.metadata.get("general.alignment", 32)
    with source.path.open("rb") as read:
        write.write(b"GGUF" + struct.pack("<IQQ", source.version, len(source.tensors), len(kept) + len(added)))
        for begin, end in kept:
            read.seek(begin)
            write.write(read.read(end - begin))
        write.write(b"".join(added))
        read.seek(source.table[0])
        write.write(read.read(source.table[1] - source.table[0]))
        write.write(b"\0" * (-write.tell() % alignment))
        read.seek(source.data_start)
        while chunk := read.read(CHUNK):
            write.write(chunk)
