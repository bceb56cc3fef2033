"""Inputs near to given ones: bytes flipped, cut, doubled, put together of two, numbers and words exchanged."""

from __future__ import annotations

import random
import re
from collections.abc import Sequence

MAX_BYTES = 1 << 15
USUAL_BYTES = 1 << 12  # of all but one in fifty
NUMBERS = (
    b"0", b"-1", b"1", b"255", b"65536", b"2147483648", b"9223372036854775807", b"18446744073709551616", b"1e308",
    b"1e999", b"-0.0", b"0.1", b"9" * 400, b"9" * 5000, b"NaN", b"Infinity", b"null", b"true",
)  # fmt: skip
INTEGERS = tuple(
    number.to_bytes(width, "little")
    for width in (1, 2, 4, 8)
    for number in (0, 1, 127, 128, 255, 1 << 15, 1 << 31, (1 << 32) - 1, 1 << 62, (1 << 64) - 1)
    if number < 1 << (8 * width)
)
_NUMBER = re.compile(rb"-?\d+(?:\.\d+)?")


def mutated(corpus: Sequence[bytes], words: Sequence[bytes], rng: random.Random) -> bytes:
    """One of the corpus with up to eight changes; no longer than MAX_BYTES."""
    data = bytearray(rng.choice(corpus))
    for _ in range(rng.choice((1, 1, 2, 3, 5, 8))):
        _change(data, corpus, words, rng)
    return bytes(data[: MAX_BYTES if rng.random() < 0.02 else USUAL_BYTES])


def _change(data: bytearray, corpus: Sequence[bytes], words: Sequence[bytes], rng: random.Random) -> None:
    at = rng.randrange(len(data) + 1)
    end = min(len(data), at + rng.choice((1, 1, 2, 4, 16, 64, 512)))
    kind = rng.randrange(9)
    if kind == 0 and at < len(data):
        data[at] ^= 1 << rng.randrange(8)
    elif kind == 1:
        data[at:end] = rng.randbytes(rng.choice((0, 1, 2, 4)))
    elif kind == 2:
        del data[at:end]
    elif kind == 3:
        data[at:at] = data[at:end]
    elif kind == 4:  # a piece many times over
        data[at:end] = bytes(data[at:end]) * min(rng.choice((2, 30, 300, 3000)), MAX_BYTES // max(1, end - at))
    elif kind == 5:
        other = rng.choice(corpus)
        start = rng.randrange(len(other) + 1)
        data[at:end] = other[start : start + rng.choice((4, 16, 64, 512))]
    elif kind == 6 and words:
        data[at : rng.choice((at, end))] = rng.choice(words)
    elif kind == 7 and (found := list(_NUMBER.finditer(data))):
        number = rng.choice(found)
        data[number.start() : number.end()] = rng.choice(NUMBERS)
    else:
        given = rng.choice(INTEGERS)
        data[at : at + len(given)] = given
