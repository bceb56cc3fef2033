"""What a grader is: a pure function from a reply to a score in [0, 1] with a reason."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sodate.core.errors import SodateError
from sodate.core.text import tr


@dataclass(frozen=True, slots=True)
class Grade:
    """A score in [0, 1], one sentence that says why, and named part scores (also in [0, 1])."""

    score: float
    reason: str
    parts: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        # NaN fails both comparisons, so it is refused here too.
        if not 0.0 <= self.score <= 1.0:
            raise ValueError(f"a score must lie in [0, 1], not {self.score}")


GradeFunction = Callable[[str, str | None, Mapping[str, Any]], Grade]
Aggregate = Callable[[Sequence[str], Sequence[str | None]], Mapping[str, float]]


@dataclass(frozen=True, slots=True)
class Grader:
    """A named grader. `name` is the spec it was made from, so two graders of one kind stay apart.

    `aggregate` is for figures that no mean over items gives, such as macro-F1: (replies, references) → name → figure.
    `whole` says that a right reply is about as long as its reference; otherwise it may explain itself first.
    `notes` are for the person who grades: what this grader leaves out, or does more strictly than usual.
    """

    name: str
    function: GradeFunction
    needs_reference: bool = True
    aggregate: Aggregate | None = None
    whole: bool = True
    notes: tuple[str, ...] = ()
    knowing: Callable[[Sequence[str]], Grader] | None = None

    def told(self, references: Sequence[str]) -> Grader:
        """This grader when it knows all references that it will compare with; most graders don't care."""
        return self.knowing(references) if self.knowing else self

    def __call__(self, reply: str, reference: str | None, item: Mapping[str, Any]) -> Grade:
        """Judges one reply. Raises SodateError when the item itself cannot be judged, never a silent 0."""
        if self.needs_reference and reference is None:
            raise SodateError(
                tr(
                    f"{self.name} compares with a reference, and this row has none.",
                    f"{self.name} は正解と比べる採点ですが、この行には正解がありません。",
                ),
                tr(
                    "Give the row a reference_answer, end it with an assistant message, or use a grader without one.",
                    "行に reference_answer を書くか最後に assistant のメッセージを置いてください。"
                    "正解の要らない採点方法も使えます。",
                ),
            )
        return self.function(reply, reference, item)
