"""What the model sees of each row: its token sequences, made a batch ahead of the checks that use their lengths."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from typing import Protocol

from sodate.core.errors import SodateError
from sodate.core.types import Conversation, Example, TaskItem
from sodate.data.compare import conversations_of
from sodate.data.examples import ParsedRow
from sodate.data.ledger import Problem
from sodate.render.renderer import Rendered

BATCH = 128  # rows rendered at once


class RendererLike(Protocol):
    """What the data room needs of the renderer."""

    def render_many(self, conversations: Iterable[Conversation]) -> list[list[Rendered] | SodateError]: ...
    def control_text(self, text: str) -> list[str]: ...
    def token_count(self, text: str) -> int: ...


@dataclass(frozen=True, slots=True)
class Measured:
    """Lengths in tokens of an example, and the rows that training makes of it (none when it is only checked)."""

    longest: int  # of its sequences
    tokens: int
    supervised: int
    rows: Sequence[list[Rendered]] = ()
    left_out: tuple[str, ...] = ()  # codes of the ledger: what the template did not write as the row has it

    @classmethod
    def of(cls, rows: Sequence[list[Rendered]]) -> Measured:
        sequences = [sequence for row in rows for sequence in row]
        lengths = [len(sequence.ids) for sequence in sequences]
        supervised = sum(len(s.weights) - s.weights.count(0.0) for s in sequences)
        left_out = tuple(sorted({code for sequence in sequences for code in sequence.left_out}))
        return cls(max(lengths, default=0), sum(lengths), supervised, rows, left_out)


Measure = Callable[[Sequence[Example]], Sequence[Measured | SodateError]]
"""What each of some examples comes to, or why it can't be rendered."""


def by_renderer(renderer: RendererLike) -> Measure:
    """Every conversation in an example. A task item's prompt is counted as text."""

    def measure(examples: Sequence[Example]) -> list[Measured | SodateError]:
        asked = [conversations_of(example) for example in examples]
        rendered = iter(renderer.render_many([conversation for each in asked for conversation in each]))
        found: list[Measured | SodateError] = []
        for example, conversations in zip(examples, asked, strict=True):
            if isinstance(example, TaskItem):
                count = sum(renderer.token_count(message.content) for message in example.prompt)
                found.append(Measured(count, count, 0))
                continue
            rows = list(islice(rendered, len(conversations)))
            error = next((row for row in rows if isinstance(row, SodateError)), None)
            found.append(error or Measured.of([row for row in rows if not isinstance(row, SodateError)]))
        return found

    return measure


Item = Problem | ParsedRow
Outcome = Measured | Exception | None


def _each(measure: Measure, examples: Sequence[Example]) -> Sequence[Measured | Exception]:
    """What each example comes to. Where one breaks the batch in a way nobody foresaw, it alone has that error."""
    try:
        return measure(examples)
    except (SodateError, MemoryError):
        raise
    except Exception as error:
        if len(examples) == 1:
            return [error]
        return [found for example in examples for found in _each(measure, [example])]


def measured(items: Iterable[Item], measure: Measure | None) -> Generator[tuple[Item, Outcome]]:
    """Each item with what its example comes to. While a batch is looked at, a thread measures the next one."""
    if measure is None:
        yield from ((item, None) for item in items)
        return
    source = iter(items)
    with ThreadPoolExecutor(1) as pool:
        waiting: list[Item] = []
        outcomes: Future[Sequence[Measured | Exception]] | None = None
        while True:
            batch = list(islice(source, BATCH))
            examples = [item.example for item in batch if isinstance(item, ParsedRow)]
            coming = pool.submit(_each, measure, examples)
            if outcomes is not None:
                found = iter(outcomes.result())
                yield from ((item, next(found) if isinstance(item, ParsedRow) else None) for item in waiting)
            waiting, outcomes = batch, coming
            if not batch:
                return
