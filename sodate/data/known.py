"""Which prompts a version was trained on: 8 bytes of hash for each, never the text, under the hash of its data.

A prompt is compared as leaks are (`compare.prompts`): without its system messages, normalised; every answered turn of a
conversation counts.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sodate.core.files import atomic_file
from sodate.core.home import checked_name, make_folder, prompts_dir
from sodate.core.text import tr
from sodate.core.types import Example
from sodate.data.compare import asked, prompts
from sodate.data.similar import comparable

Keys = NDArray[np.uint64]


def key(text: str) -> int:
    """64 bits of a prompt's normalised text."""
    return int.from_bytes(hashlib.blake2b(comparable(text).encode("utf-8", "surrogatepass"), digest_size=8).digest())


def asked_key(example: Example) -> int:
    """Of what a row asks."""
    return key(asked(example))


def write(sha256: str, examples: Callable[[], Iterable[Example]]) -> None:
    """All that these rows teach to answer, whose hash this is; read only if it is not kept yet."""
    file = _file(sha256)
    if file.exists():
        return
    keys = np.fromiter((key(text) for example in examples() for text in prompts(example)), dtype=np.uint64)
    make_folder(file.parent)
    with atomic_file(file) as out:
        out.write(np.unique(keys).astype("<u8").tobytes())


def read(sha256: str) -> Keys | None:
    """What the rows of this hash teach to answer; None where that was not kept."""
    file = _file(sha256)
    return np.fromfile(file, dtype="<u8") if file.exists() else None


def _file(sha256: str) -> Path:
    """Sorted little-endian numbers, each once."""
    return prompts_dir() / f"{checked_name(sha256, tr('Hash', 'ハッシュ値'))}.u64"


def among(keys: Keys, known: Keys) -> NDArray[np.bool_]:
    """Which of `keys` are in `known`, which is sorted."""
    if not known.size:
        return np.zeros(len(keys), dtype=np.bool_)
    return np.asarray(known[known.searchsorted(keys).clip(max=len(known) - 1)] == keys)
