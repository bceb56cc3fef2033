"""What every engine is to the rest of the house: requests in, events out.

An engine holds one base model and the versions over it. `admit` takes a request, `step` moves all admitted requests
on and says what happened, `cancel` lets go of one. Text, messages and templates are not its business: token ids go in,
token ids come out. One thread calls it; who serves many callers puts a queue before it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

Finish = Literal["stop", "length", "cancelled"]


@dataclass(frozen=True, slots=True)
class Sampling:
    """How a token is chosen. Temperature 0 is greedy. `top_p` keeps the smallest set of tokens with that much mass.

    `bias` is added to the logits of its token ids (nats). `presence_penalty` is taken off a token's logit once it is
    in the reply, `frequency_penalty` each time it is. `top_logprobs` likeliest tokens are told with every token.
    """

    max_new_tokens: int = 256
    temperature: float = 0.0
    top_p: float = 1.0
    seed: int = 0
    bias: Mapping[int, float] = field(default_factory=dict)
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    top_logprobs: int = 0


@dataclass(frozen=True, slots=True)
class Constraint:
    """What the reply's text has to be: a JSON schema (as text), a regular expression, one of several texts, or what a
    grammar in llguidance's Lark describes (tool calls)."""

    kind: Literal["json_schema", "regex", "choice", "lark"]
    value: str | tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Request:
    """One prompt for one version. `number` is the caller's name for it, used once in an engine's life."""

    number: int
    prompt: Sequence[int]
    stop_ids: Sequence[int]
    sampling: Sampling = Sampling()
    version: str = ""  # an adapter's version the engine was given; "" is the base
    constraint: Constraint | None = None
    tenant: str = ""  # prefixes are shared within one tenant only


@dataclass(frozen=True, slots=True)
class Token:
    """A token of a reply. `log_probability` (nats) is that of the distribution it was drawn from.

    `top` are the likeliest ids and their log-probabilities, likeliest first.
    """

    number: int
    id: int
    log_probability: float
    top: tuple[tuple[int, float], ...] = ()


@dataclass(frozen=True, slots=True)
class Done:
    """A reply has ended. `cached` of the prompt's tokens were found computed; `error` says why nothing came of it."""

    number: int
    finish: Finish
    cached: int = 0
    error: str | None = None


Event = Token | Done


class Engine(Protocol):
    """torch, llama.cpp or a server upstream."""

    name: str

    def admit(self, request: Request) -> None:
        """Takes a request, or raises SodateError: code `busy` if there is no room now, another if there never is."""

    def step(self) -> list[Event]:
        """Moves every admitted request on by at least a token, or returns [] when there is none."""

    def cancel(self, number: int) -> None:
        """Lets go of a request; unknown numbers are none to let go of. No event follows."""

    def close(self) -> None:
        """Frees what the engine holds; running requests are lost."""
