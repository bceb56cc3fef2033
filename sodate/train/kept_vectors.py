"""The vectors of all rows of a run at one checkpoint (influence.py) in a file, made block by block and used again.

cache/influence/3f2a…/
  rows           of each row a scale (32 bits) and its vector in units of it (16 bits a number)
  rows.part      the same while it is made; whole blocks are gone on from after a kill
  index.json     how many, how wide, the SHA-256 of `rows`
  lock           one maker at a time
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sodate.core import progress
from sodate.core.files import fsync_dir, full_disk_said, lock, sha256_file, write_json
from sodate.core.home import make_folder
from sodate.core.manifests import SCHEMA_VERSION, VectorsManifest, read_manifest
from sodate.core.text import tr
from sodate.train.influence import blocks

AT_ONCE = 512  # rows that are multiplied in one go


def record(wide: int) -> np.dtype[Any]:
    """What is kept of a row."""
    return np.dtype([("scale", "<f4"), ("vector", "<f2", (wide,))])


class KeptVectors:
    """The vectors of `rows` rows, as they are on disk."""

    def __init__(self, file: Path, rows: int, kind: np.dtype[Any]) -> None:
        self._rows = np.memmap(file, dtype=kind, mode="r", shape=(rows,))

    def products(self, query: NDArray[np.float32]) -> NDArray[np.float64]:
        """(rows) dot products with a query (wide)."""
        found = np.empty(len(self._rows))
        for start in range(0, len(found), AT_ONCE):
            found[start : start + AT_ONCE] = self._rows[start : start + AT_ONCE]["vector"].astype(np.float32) @ query
        found *= self._rows["scale"]
        return found

    def norms(self) -> NDArray[np.float64]:
        """(rows) the vectors' lengths; a scale is 1 / 256 of one, so that few numbers are below what 16
        bits hold."""
        return self._rows["scale"].astype(np.float64) * 256


def opened(folder: Path, rows: int, kind: np.dtype[Any]) -> KeptVectors | None:
    """What is kept in a folder; None where it is not there, or not what was written."""
    if not (folder / "index.json").exists():
        return None
    about: VectorsManifest = read_manifest(folder / "index.json")
    file = folder / "rows"
    sizes = about["rows"], about["bytes"]
    if sizes != (rows, kind.itemsize) or not file.exists() or sha256_file(file) != about["sha256"]:
        return None
    return KeptVectors(file, rows, kind)


def made(
    folder: Path, rows: int, kind: np.dtype[Any], vectors: Callable[[range], NDArray[np.float32]], of: str
) -> KeptVectors:
    """The vectors as they are kept, or as `vectors` makes them of a block of rows; what a killed maker made stays."""
    make_folder(folder)
    with lock(folder / "lock", tr("these gradients", "この勾配"), wait=True):
        if (kept := opened(folder, rows, kind)) is not None:
            return kept
        part, size = folder / "rows.part", kind.itemsize
        with full_disk_said(part), os.fdopen(os.open(part, os.O_RDWR | os.O_CREAT, 0o600), "r+b") as file:
            done = min(rows, file.seek(0, os.SEEK_END) // size)
            file.truncate(done * size)
            progress.report("gradients", done, rows, of)
            for block in blocks(rows, done):
                file.seek(block.start * size)
                file.write(_packed(vectors(block), kind).tobytes())
                file.flush()
                os.fsync(file.fileno())
                progress.report("gradients", block.stop, rows, of)
        about = {"rows": rows, "bytes": size, "sha256": sha256_file(part)}
        part.replace(folder / "rows")
        fsync_dir(folder)
        write_json(folder / "index.json", {"schema_version": SCHEMA_VERSION, **about})
        return KeptVectors(folder / "rows", rows, kind)


def _packed(vectors: NDArray[np.float32], kind: np.dtype[Any]) -> NDArray[Any]:
    scale = np.linalg.norm(vectors, axis=1) / 256
    found = np.zeros(len(vectors), dtype=kind)
    found["scale"] = scale
    found["vector"] = vectors / np.where(scale > 0, scale, 1)[:, None]
    return found
