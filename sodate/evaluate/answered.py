"""Who made a model's replies, and how quickly."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Answered:
    """`engine` is its name, `details` what of it decides its numbers, `figures` what it measured of this machine
    (`dtype`, `threads`, `rates`). `tokens` of replies in `seconds`."""

    engine: str
    details: str
    seconds: float
    tokens: int
    figures: Mapping[str, Any] = field(default_factory=dict)

    @property
    def speed(self) -> float:
        """Tokens of replies a second, prompts' time included."""
        return self.tokens / max(self.seconds, 1e-9)

    def to_json(self) -> dict[str, Any]:
        about = {"engine": self.engine, "details": self.details, **self.figures}
        return {**about, "seconds": round(self.seconds, 3), "tokens_per_second": round(self.speed, 2)}

    def __str__(self) -> str:
        tried = ", ".join(f"{name} {rate:.0f}" for name, rate in self.figures.get("rates", {}).items())
        said = f"; GFLOP/s: {tried}" if tried else ""
        return f"{self.engine} ({self.details}{said}), {self.seconds:.1f} s, {self.speed:.1f} tokens/s"
