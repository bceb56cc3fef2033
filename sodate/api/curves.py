"""The lines of metrics.jsonl as curves: read as they are added, and thinned so that no spike is lost."""

from __future__ import annotations

import json
import threading
from collections import OrderedDict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Columns = dict[str, NDArray[np.float64]]

_KEPT = 32  # runs whose columns are kept in memory
_BLOCK = 64 * 1024  # bytes that a tail is read by
_open: OrderedDict[Path, _Read] = OrderedDict()
_opening = threading.Lock()


class _Read:
    """What was read of one file: its columns, NaN where a line lacks a key. Only what was added is read again."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.inode = -1
        self.end = 0  # of the last whole line, in bytes
        self.columns: Columns = {}

    def refresh(self, path: Path) -> Columns:
        """The columns with what was added to the file since."""
        with self.lock:
            try:
                stream = path.open("rb")
            except FileNotFoundError:
                return {}
            with stream:
                found = path.stat()
                if found.st_ino != self.inode or found.st_size < self.end:  # a resumed run wrote it again
                    self.inode, self.end, self.columns = found.st_ino, 0, {}
                stream.seek(self.end)
                added = stream.read()
            added = added[: added.rfind(b"\n") + 1]
            if added:
                self.columns = _joined(self.columns, _parsed(added))
                self.end += len(added)
            return self.columns


def columns(path: Path) -> Columns:
    """Every number of a metrics file by its key, in the order of the lines."""
    with _opening:
        read = _open.pop(path, None) or _Read()
        _open[path] = read
        while len(_open) > _KEPT:
            _open.popitem(last=False)
    return read.refresh(path)


def drawn(path: Path, points: int, first: int | None = None, last: int | None = None) -> dict[str, Any]:
    """`series` by key: steps `x` and values `y`; `lines` in the file, and the `last_step`."""
    found = columns(path)
    steps = found.get("step")
    if steps is None or not len(steps):
        return {"lines": 0, "last_step": None, "series": {}}
    low = 0 if first is None else int(np.searchsorted(steps, first))
    high = len(steps) if last is None else int(np.searchsorted(steps, last, side="right"))
    series = {}
    for key, values in found.items():
        if key in ("step", "steps"):
            continue
        x, y = steps[low:high], values[low:high]
        infinite = np.isinf(y)
        there = np.isfinite(y)
        if not there.any() and not infinite.any():
            continue
        kept = thinned(y[there], points)
        series[key] = {
            "x": x[there][kept].astype(np.int64).tolist(), "y": _short(y[there][kept]),
            "not_finite": x[infinite][:100].astype(np.int64).tolist(),
        }  # fmt: skip
    return {"lines": len(steps), "last_step": int(steps[-1]), "series": series}


def _short(values: NDArray[np.float64]) -> list[float]:
    """Finite values to six digits, as a picture needs them."""
    size = np.log10(np.abs(values), where=values != 0, out=np.zeros_like(values))
    places = 5 - np.floor(size)
    up, down = (10.0 ** np.clip(one, 0, 300) for one in (places, -places))
    return (np.rint(values * up / down) / up * down).tolist()  # type: ignore[no-any-return]


def thinned(y: NDArray[np.float64], points: int) -> NDArray[np.int64]:
    """Which of the finite values of `y` to draw: of each stretch the lowest and the highest, the first and the last."""
    count = len(y)
    stretches = max(1, points // 2)
    if count <= 2 * stretches:
        return np.arange(count)
    size = -(-count // stretches)
    stretches = -(-count // size)
    padded = np.concatenate([y, np.full(stretches * size - count, y[-1])]).reshape(stretches, size)
    starts = np.arange(stretches) * size
    ends = [np.array([0, count - 1])]
    places = np.concatenate([starts + padded.argmin(axis=1), starts + padded.argmax(axis=1), *ends])
    return np.unique(np.minimum(places, count - 1))


def last_lines(path: Path, count: int) -> list[dict[str, Any]]:
    """The last whole lines of a file of JSON lines, read from its end."""
    try:
        stream = path.open("rb")
    except FileNotFoundError:
        return []
    with stream:
        place = stream.seek(0, 2)
        data = b""
        while place > 0 and data.count(b"\n") <= count:
            step = min(_BLOCK, place)
            place -= step
            stream.seek(place)
            data = stream.read(step) + data
    lines = data[: data.rfind(b"\n") + 1].splitlines()
    return list(_objects(lines[-count:]))


def _parsed(data: bytes) -> Columns:
    """The numbers of whole lines. Arrow reads them many times faster, but neither NaN nor a key of two types."""
    import pyarrow as pa
    from pyarrow import json as reader

    try:
        options = reader.ReadOptions(block_size=max(1 << 20, len(data) // 2 + 1), use_threads=False)
        table = reader.read_json(pa.BufferReader(data), read_options=options)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        return _slowly(data)
    found: Columns = {}
    for name in table.column_names:
        column = table.column(name)
        if pa.types.is_integer(column.type) or pa.types.is_floating(column.type):
            found[name] = column.cast(pa.float64()).to_numpy(zero_copy_only=False).astype(np.float64)
    return found


def _slowly(data: bytes) -> Columns:
    lines = list(_objects(data.splitlines()))
    names = dict.fromkeys(key for line in lines for key, value in line.items() if _is_number(value))
    return {
        name: np.array([float(line[name]) if _is_number(line.get(name)) else np.nan for line in lines])
        for name in names
    }


def _objects(lines: list[bytes]) -> Iterator[dict[str, Any]]:
    for line in lines:
        try:
            value = json.loads(line)
        except ValueError:
            continue  # a line that a crash or a full disk cut off
        if isinstance(value, dict):
            yield value


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _joined(before: Columns, after: Columns) -> Columns:
    old = len(next(iter(before.values()))) if before else 0
    new = len(next(iter(after.values()))) if after else 0
    return {
        key: np.concatenate([
            before.get(key, np.full(old, np.nan)), after.get(key, np.full(new, np.nan)),
        ])
        for key in dict.fromkeys([*before, *after])
    }  # fmt: skip
