"""Supervised fine-tuning: cross-entropy on the replies, over a trie of the batch's conversations.

    loss of a step = Σ over supervised tokens of the whole optimiser step of nll / their number

so that one micro-batch of 8 rows and 8 of one row give the same numbers (the gradient-accumulation fault of
transformers#34191 was a mean of means).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch

from sodate.core.errors import SodateError
from sodate.core.text import tr
from sodate.core.types import Conversation, Example, Preference
from sodate.model.forward import score
from sodate.render import trie
from sodate.render.renderer import Rendered, Renderer
from sodate.train import parallel
from sodate.train.loop import MicroBatchLoss, Update, Validation
from sodate.train.methods import Setup, TrainingMethod


def takes(example: Example) -> Sequence[Example]:
    """A conversation as it is, and of a pair the reply that people want, where they said so."""
    if isinstance(example, Preference):
        return (example.lesson,) if example.lesson else ()
    return (example,) if isinstance(example, Conversation) else ()


def render(renderer: Renderer, rows: Sequence[Example]) -> list[list[Rendered] | SodateError]:
    """Conversations, every reply of each; the tokenizer is called once for all."""
    return renderer.render_many([row for row in rows if isinstance(row, Conversation)])


class SFT:
    """The method's data and objective. A row is a conversation: one sequence, or several where history is rewritten."""

    def __init__(
        self,
        model: Any,
        train: Sequence[list[Rendered]],
        held_out: Sequence[list[Rendered]],
        *,
        names: Sequence[str],
        micro_tokens: int,
    ) -> None:
        self.model = model
        self.train = train
        self.held_out = held_out
        self.micro_tokens = micro_tokens
        self.names = names
        self.rows = len(train)
        self.memory: dict[str, float] = {}

    def length(self, row: int) -> int:
        return sum(len(s.ids) for s in self.train[row])

    def updates(self, step: int, rows: Sequence[int]) -> Iterator[Update]:
        sequences = [s for r in rows for s in self.train[r]]
        yield Update(sum(supervised(s) for s in sequences), self._parts(sequences))

    def _parts(self, sequences: list[Rendered]) -> Iterator[MicroBatchLoss]:
        for (group, batch), counts in self._mine(sequences):
            part = self._part(group, batch)
            yield part if counts else MicroBatchLoss(part.loss * 0, 0, 0, 0)

    def _mine(self, sequences: list[Rendered]) -> Iterator[tuple[tuple[list[Rendered], trie.Trie], bool]]:
        """This process's micro-batches, and whether each counts."""
        mine = self._packed(parallel.share(sequences, lambda s: s.ids))
        return parallel.evened(self.model, list(mine), lambda: next(self._packed(sequences[:1])))

    def _part(self, group: list[Rendered], batch: trie.Trie) -> MicroBatchLoss:
        scores = score(self.model, batch)
        return MicroBatchLoss(
            scores.weighted_sum(),
            tokens=sum(len(s.ids) for s in group),
            supervised_tokens=len(batch.entry_row),
            computed_tokens=batch.computed,
            sums={"accuracy": float((scores.right.cpu().numpy() * batch.weight).sum())},
        )

    def heaviest(self, steps: Iterator[Sequence[int]]) -> tuple[int, Callable[[], MicroBatchLoss]]:
        """The computed tokens of the largest micro-batch of these steps' rows, and what computes it."""
        mine = (parallel.share([s for r in rows for s in self.train[r]], lambda s: s.ids) for rows in steps)
        batches = (pair for sequences in mine for pair in self._packed(sequences))
        heaviest = max(batches, key=lambda pair: pair[1].computed, default=None)
        # A process may have no rows in these steps: another row then shows that a step fits.
        group, batch = heaviest or next(self._packed(self.train[0][:1]))
        return batch.computed, lambda: self._part(group, batch)

    def validate(self) -> Validation | None:
        sequences = [s for row in self.held_out for s in row]
        if not sequences:
            return None
        total = right = weight = 0.0
        with torch.inference_mode():
            for (_, batch), counts in self._mine(sequences):
                scores = score(self.model, batch)
                total += counts * scores.weighted_sum().item()
                right += counts * float((scores.right.cpu().numpy() * batch.weight).sum())
                weight += counts * float(batch.weight.sum())
        sums = parallel.summed({"loss": total, "right": right, "weight": weight})
        return Validation(sums["loss"] / sums["weight"], {"eval_accuracy": sums["right"] / sums["weight"]})

    def _packed(self, sequences: list[Rendered]) -> Iterator[tuple[list[Rendered], trie.Trie]]:
        for numbers in trie.pack(sequences, self.micro_tokens):
            group = [sequences[i] for i in numbers]
            yield group, trie.build(group)


def supervised(sequence: Rendered) -> float:
    """Σ weights of the tokens that can be predicted (the first has no predecessor)."""
    return sum(sequence.weights[1:])


def _build(setup: Setup) -> SFT:
    rows, held_out = setup.train, setup.held_out.sequences
    return SFT(setup.model, rows.sequences, held_out, names=rows.names, micro_tokens=setup.micro_tokens)


METHOD = TrainingMethod(
    takes=takes,
    wants=lambda: tr("prompts with one reply each", "返答が 1 つずつあるプロンプト"),
    render=render,
    build=_build,
)
