"""Token ids become text while they come: no half character, and not a letter of a stop string."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from sodate.core.engine import Token
from sodate.render.renderer import Renderer

_HALF = "\ufffd"  # what an unfinished character decodes to


@dataclass(frozen=True, slots=True)
class Scored:
    """A token as the wire tells it: the bytes it stands for, its log-probability (nats), and the likeliest instead."""

    id: int
    bytes: bytes
    log_probability: float | None
    top: tuple[Scored, ...] = ()

    @property
    def text(self) -> str:
        r"""The token's text; one that holds part of a character has its bytes written out, as `\xe3\x81`."""
        try:
            return self.bytes.decode()
        except UnicodeDecodeError:
            return "".join(f"\\x{byte:02x}" for byte in self.bytes)


class TokenBytes:
    """The bytes that each token id stands for."""

    def __init__(self, renderer: Renderer) -> None:
        from llguidance import LLTokenizer

        self._tokenizer: Any = LLTokenizer(renderer.tokenizer.to_str())
        self._of = lru_cache(maxsize=1 << 16)(self._read)

    def _read(self, token: int) -> bytes:
        return bytes(self._tokenizer.decode_bytes([token]))

    def ids(self, text: str) -> list[int]:
        """The tokens of a piece of text that stands within another: no space is put before it."""
        return list(self._tokenizer.tokenize_bytes(text.encode()))

    def scored(self, id: int, log_probability: float | None, top: Sequence[tuple[int, float]] = ()) -> Scored:
        """A token with its bytes, and the likeliest `top` with theirs."""
        likeliest = tuple(Scored(other, self._of(other), value) for other, value in top)
        known = None if log_probability is None or math.isnan(log_probability) else log_probability
        return Scored(id, self._of(id), known, likeliest)

    def of(self, token: Token) -> Scored:
        """An engine's token with its bytes."""
        return self.scored(token.id, token.log_probability, token.top)


class Detokeniser:
    """Text of ids, piece by piece. The pieces together are what the tokenizer makes of all ids at once.

    Decoding starts a little before what is new, since what a token spells may depend on the one before it.
    """

    def __init__(self, decode: Callable[[Sequence[int]], str]) -> None:
        self._decode = decode
        self._ids: list[int] = []
        self._from = 0  # where decoding starts
        self._told = 0  # ids whose text has been given

    def push(self, id: int) -> str:
        """The text that `id` completes, "" while a character is unfinished."""
        self._ids.append(id)
        before, text = self._decode(self._ids[self._from : self._told]), self._decode(self._ids[self._from :])
        if text.endswith(_HALF) or len(text) <= len(before):
            return ""
        self._from, self._told = self._told, len(self._ids)
        return text[len(before) :]

    def flush(self) -> str:
        """What is left when the reply has ended: a character that was never finished."""
        before, text = self._decode(self._ids[self._from : self._told]), self._decode(self._ids[self._from :])
        self._from = self._told = len(self._ids)
        return text[len(before) :]


class StopStrings:
    """Cuts a text before the first stop string in it, also where one is spread over several pieces.

    What may be the beginning of a stop string is held back until it is known.
    """

    def __init__(self, stops: Iterable[str]) -> None:
        self._stops = [stop for stop in stops if stop]
        self._held = ""
        self.hit: str | None = None
        self.rest = ""  # what came from the stop string on

    def push(self, piece: str) -> str:
        """What can be given of the text so far. Nothing more once `hit` is set."""
        text = self._held + piece
        found = [(at, -len(stop), stop) for stop in self._stops if (at := text.find(stop)) >= 0]
        if found:
            at, _, self.hit = min(found)
            self._held, self.rest = "", text[at:]
            return text[:at]
        keep = max((_overlap(text, stop) for stop in self._stops), default=0)
        self._held = text[len(text) - keep :]
        return text[: len(text) - keep]

    def flush(self) -> str:
        """What was held back, once it is known that nothing follows."""
        held, self._held = self._held, ""
        return held


def _overlap(text: str, stop: str) -> int:
    """Characters at the end of `text` that are a beginning of `stop`, but not all of it."""
    return next((n for n in range(min(len(stop) - 1, len(text)), 0, -1) if text.endswith(stop[:n])), 0)
