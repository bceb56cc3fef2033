"""What one of OpenAI's graders found, and the models that some of them ask."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from sodate.core.types import Message
from sodate.grade.templates import MissingError

Fault = Literal[
    "formula_parse_error", "sample_parse_error", "invalid_variable_error", "other_error",
    "python_grader_server_error", "python_grader_runtime_error", "model_grader_server_error",
    "model_grader_parse_error",
]  # fmt: skip
"""Why there is no value, in the wire's words."""


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens a model grader cost."""

    prompt: int = 0
    reply: int = 0
    cached: int = 0

    def __add__(self, other: Usage) -> Usage:
        return Usage(self.prompt + other.prompt, self.reply + other.reply, self.cached + other.cached)


@dataclass(frozen=True, slots=True)
class Outcome:
    """The value a grader gave, as its maker scales it, and 0 where `fault` says that there is none.

    `in_sample`: what was missing is missing in the reply. `parts` are the values of a multi grader's own graders,
    `usage` the tokens of each model asked, by its name, `said` what a model grader answered.
    """

    value: float
    reason: str
    fault: Fault | None = None
    in_sample: bool = False
    parts: Mapping[str, float] = field(default_factory=dict)
    usage: Mapping[str, Usage] = field(default_factory=dict)
    said: str | None = None

    @property
    def blames_reply(self) -> bool:
        """Whether the fault is the reply's: it is graded 0 then."""
        return self.fault == "sample_parse_error" or (self.fault == "invalid_variable_error" and self.in_sample)


def missed(missing: MissingError) -> Outcome:
    """The outcome where a template's hole stays open."""
    fault: Fault = "sample_parse_error" if missing.unreadable else "invalid_variable_error"
    return Outcome(0.0, missing.message, fault, missing.of == "sample")


@dataclass(frozen=True, slots=True)
class How:
    """How a model is asked: the reply has to fit `schema`. Greedily, unless a temperature is given. `engine` is who
    computes it: torch, llamacpp or upstream:URL."""

    schema: Mapping[str, Any]
    max_tokens: int
    temperature: float = 0.0
    top_p: float = 1.0
    seed: int = 0
    engine: str = "torch"


@dataclass(frozen=True, slots=True)
class Said:
    """What a model said; `model` is the exact version that did. `failed`: why it could not say anything."""

    text: str
    model: str
    usage: Usage = Usage()
    cut_off: bool = False
    failed: str | None = None


Turns = Sequence[Message]


class Judges(Protocol):
    """The models that graders may ask, by name. SodateError for one that is not here, or not of that kind."""

    def ask(self, model: str, prompts: Sequence[Sequence[Message]], how: How) -> Sequence[Said]:
        """A reply to each prompt."""
        ...

    def scores(self, model: str, conversations: Sequence[Turns]) -> Sequence[float]:
        """What a reward model gives the last reply of each conversation; only differences mean something."""
        ...

    def likelihoods(self, model: str, conversations: Sequence[Turns]) -> Sequence[tuple[float, int]]:
        """The log-probability of the last reply of each conversation in nats, and of how many tokens it is."""
        ...
