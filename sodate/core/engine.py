"""What every engine is to the rest of the house: requests in, events out.

An engine holds one base model and the versions over it. `admit` takes a request, `step` moves admitted requests on and
says what happened, `cancel` lets go of one. Text, messages and templates are not its business: token ids go in, token
ids come out. One thread calls it; who serves many callers puts a queue before it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from sodate.core.errors import SodateError

Finish = Literal["stop", "length", "cancelled"]


@dataclass(frozen=True, slots=True)
class Sampling:
    """How a token is chosen. Temperature 0 is greedy. `top_p` keeps the smallest set of tokens with that much mass.

    What is drawn depends on (`seed`, `stream`) and the prompt alone, never on what else is running: `stream` tells
    apart several replies under one seed. `bias` is added to the logits of its token ids (nats). `presence_penalty` is
    taken off a token's logit once it is in the reply, `frequency_penalty` each time it is. `top_logprobs` likeliest
    tokens are told with every token.
    """

    max_new_tokens: int = 256
    temperature: float = 0.0
    top_p: float = 1.0
    seed: int = 0
    stream: int = 0
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
    """A token of a reply. `log_probability` (nats) is that of the distribution it was drawn from: after temperature,
    bias, penalties and constraint; 0 where the constraint leaves no other.

    `top` are the likeliest ids and their log-probabilities, likeliest first. `cached` is as in Done, which never comes
    where a stop string cuts the reply.
    """

    number: int
    id: int
    log_probability: float
    top: tuple[tuple[int, float], ...] = ()
    cached: int = 0


@dataclass(frozen=True, slots=True)
class Done:
    """A reply has ended: with a stop token, its last; or by length, at `max_new_tokens` or where the model's context
    ends. `cached` of the prompt's tokens were found computed; `error` says why nothing came of it, in a word or
    sentence, and `cause` with all that is known.

    `counted` are the prompt's and the reply's tokens as the engine counts them, where those are not the ids that went
    in and came out.
    """

    number: int
    finish: Finish
    cached: int = 0
    error: str | None = None
    cause: SodateError | None = None
    counted: tuple[int, int] | None = None


Event = Token | Done


class Engine(Protocol):
    """torch, llama.cpp or a server upstream."""

    name: str
    context_length: int  # tokens that prompt and reply may have together; 0 where only the engine itself knows

    @property
    def details(self) -> str:
        """What of it decides its numbers, for reports."""

    @property
    def figures(self) -> Mapping[str, Any]:
        """Of an engine in this process: `dtype`, `threads`, and `rates`, what was tried when it was made."""

    def admit(self, request: Request) -> None:
        """Takes a request, or raises SodateError and has allocated nothing.

        Codes: `busy` if there is no room now; `context_length_exceeded` if there never will be; `unknown_version`;
        `constraint_unsupported`, naming the keyword of a schema that can't be enforced; `invalid_prompt`;
        `engine_refused`, naming what of the sampling this engine can't do: it is never done by halves.
        """

    def step(self) -> list[Event]:
        """Moves admitted requests on, and says what came of it: every request gets on within a few steps, however
        long the others' prompts are. [] can mean that a long prompt is under way."""

    def cancel(self, number: int) -> None:
        """Lets go of a request before the next step; numbers it does not know are ignored. No event follows."""

    def close(self) -> None:
        """Frees what the engine holds; running requests are lost."""
