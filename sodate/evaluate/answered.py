"""Who made a model's replies, and how quickly."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from sodate.core.text import tr


@dataclass(frozen=True, slots=True)
class Answered:
    """`engine` is its name, `details` what of it decides its numbers, `figures` what it measured of this machine
    (`dtype`, `threads`, `rates`). `tokens` of replies in `seconds`."""

    engine: str
    details: str
    seconds: float
    tokens: int
    figures: Mapping[str, Any] = field(default_factory=dict)
    requests: int = 0
    prompt_tokens: int = 0  # of all requests
    waits: tuple[float, ...] = ()  # seconds from a request's admission to its end, among the others, in order
    alone: float | None = None  # median seconds of a request that is answered by itself, where that was measured
    others: float | None = None  # cores that other programs took meanwhile, where that is told

    @property
    def speed(self) -> float:
        """Tokens of replies a second, prompts' time included."""
        return self.tokens / max(self.seconds, 1e-9)

    def to_json(self) -> dict[str, Any]:
        about = {"engine": self.engine, "details": self.details, **self.figures}
        speed = {"seconds": round(self.seconds, 3), "tokens_per_second": round(self.speed, 2)}
        return {**about, **speed, **self.per_request()}

    def per_request(self) -> dict[str, Any]:
        """Mean tokens of a request, the seconds of the machine that one takes, and how long half of them and 95 % of
        them took at most, as many at once as the evaluation had."""
        if not self.requests:
            return {}
        n, last = self.requests, len(self.waits) - 1
        waits = {f"latency_{name}": self.waits[round(last * share)] for name, share in (("p50", 0.5), ("p95", 0.95))
                 if self.waits}  # fmt: skip
        return {"requests": n, "prompt_tokens": self.prompt_tokens / n, "reply_tokens": self.tokens / n,
                "seconds_per_request": self.seconds / n, **waits,
                **({} if self.alone is None else {"seconds_alone": self.alone}),
                **({} if self.others is None else {"cores_of_others": round(max(0.0, self.others), 2)})}  # fmt: skip

    def __str__(self) -> str:
        tried = ", ".join(f"{name} {rate:.0f}" for name, rate in self.figures.get("rates", {}).items())
        said = f"; GFLOP/s: {tried}" if tried else ""
        with_what = f"{self.engine} ({self.details}{said})"
        return str(tr(f"{with_what}, {self.seconds:.1f} s, {self.speed:.1f} tokens/s",
                      f"{with_what}、{self.seconds:.1f} 秒、{self.speed:.1f} トークン/秒"))  # fmt: skip
