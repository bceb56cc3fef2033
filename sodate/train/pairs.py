"""What DPO, ORPO and SimPO share: a row is a chosen and a rejected reply after one prompt, computed once.

    loss of a step = Σ over pairs of the pair loss / pairs  +  w · Σ nll of the chosen replies / their tokens

Both replies of a pair lie in one micro-batch, because the pair loss couples them.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from sodate.core.text import tr
from sodate.core.types import Example, Preference, Ranking
from sodate.model.forward import score
from sodate.render import trie
from sodate.render.renderer import Rendered, Renderer
from sodate.train import acts, cached_reference, pair_alarms
from sodate.train.acts import Acts, silent
from sodate.train.gain import HeldOut
from sodate.train.loop import MicroBatchLoss, Update, Validation
from sodate.train.methods import Setup
from sodate.train.sft import supervised

Pair = Sequence[Rendered]  # chosen, rejected


@dataclass(frozen=True, slots=True)
class Batch:
    """Pairs of a micro-batch, each tensor (pairs,): Σ log p of a reply, its tokens, Σ log p under the reference."""

    chosen: Tensor
    rejected: Tensor
    chosen_tokens: Tensor
    rejected_tokens: Tensor
    reference_chosen: Tensor
    reference_rejected: Tensor


@dataclass(frozen=True, slots=True)
class PairLosses:
    """The loss of each pair, and the rewards it implies; each (pairs,)."""

    loss: Tensor
    chosen_reward: Tensor
    rejected_reward: Tensor


PairLoss = Callable[[Batch, float], PairLosses]
"""The losses of a batch, where the distance to the reference costs so many times as much as the recipe says."""


def takes(example: Example) -> Sequence[Example]:
    """The pairs in an example as it was read."""
    if isinstance(example, Ranking):
        return example.pairs()
    return (example,) if isinstance(example, Preference) else ()


def wants() -> str:
    """What rows of pairs are, as a person reads it."""
    return tr(
        "prompts with a chosen and a rejected reply, or with ranked replies",
        "好ましい返答と好ましくない返答の組、または順位付きの返答",
    )


def render(renderer: Renderer, example: Example) -> list[Rendered]:
    """A pair as two sequences, chosen first, that share the prompt's ids."""
    assert isinstance(example, Preference)
    pair = renderer.render_pair(example)
    return [pair.chosen, pair.rejected]


class Pairs:
    """The method of the loop. With `start`, log-probabilities under the reference are found when it is built."""

    def __init__(
        self,
        model: Any,
        train: Sequence[Pair],
        held_out: Sequence[Pair],
        pair_loss: PairLoss,
        *,
        names: Sequence[str],
        micro_tokens: int,
        warn: Callable[[str], None],
        start: Any = None,
        likelihood_weight: float = 0.0,
        acts: Acts | None = None,
    ) -> None:
        self.model = model
        self.train = train
        self.held_out = held_out
        self.pair_loss = pair_loss
        self.micro_tokens = micro_tokens
        self.names = names
        self.rows = len(train)
        self.memory: dict[str, float] = acts.memory if acts else {}
        self.acts = acts
        self.before = HeldOut(self.memory, [prompt_of(chosen) for chosen, _ in held_out])
        self.warn = warn
        self.likelihood_weight = likelihood_weight
        self.has_reference = start is not None
        began = time.perf_counter()
        self.references = [
            cached_reference.log_probabilities(model, pairs, start, micro_tokens)
            if self.has_reference
            else torch.zeros(len(pairs), 2)
            for pairs in (train, held_out)
        ]
        self.reference_seconds = time.perf_counter() - began

    def length(self, row: int) -> int:
        """Tokens of both replies with their prompt."""
        return sum(len(sequence.ids) for sequence in self.train[row])

    def updates(self, step: int, rows: Sequence[int]) -> Iterator[Update]:
        metrics = self.before.first(self.validate, self.warn, self.acts) if step == 0 else {}
        parts = self._parts([self.train[r] for r in rows], self.references[0][list(rows)], metrics)
        yield Update(len(rows), parts, metrics)
        at_start = 0.0 if self.has_reference else None
        chosen, margin, act = metrics["rewards/chosen"], metrics["margin"], self.acts or silent
        pair_alarms.watch(self.memory, chosen, margin, at_start, self.warn, act, step + 1)

    def heaviest(self, steps: Iterator[Sequence[int]]) -> tuple[int, Callable[[], MicroBatchLoss]]:
        """The computed tokens of the largest micro-batch of these steps' rows, and what computes it."""
        computed, rows = trie.heaviest(steps, self.train, self.micro_tokens)
        return computed, lambda: next(self._parts([self.train[r] for r in rows], self.references[0][rows], {}))

    def validate(self) -> Validation | None:
        if not self.held_out:
            return None
        with self.before.timed():
            metrics: dict[str, float] = {}
            each = torch.zeros(len(self.held_out), 2)
            with torch.inference_mode():
                parts = self._parts(self.held_out, self.references[1], metrics, each)
                loss = sum(part.loss.item() for part in parts) / len(self.held_out)
            margins, likeliest = each.T.tolist()
            gained = self.before.look(self.before.moved(margins)) | self.before.lost(likeliest)
        figures = {f"eval_{key}": value for key, value in metrics.items()}
        return Validation(loss, {**figures, **gained})

    def _parts(
        self, pairs: Sequence[Pair], known: Tensor, metrics: dict[str, float], each: Tensor | None = None
    ) -> Iterator[MicroBatchLoss]:
        """The micro-batches of `pairs`. Behind the last one, `metrics` holds the means over the pairs, and `each`
        (pairs, 2) the margin of each and which share of its chosen reply's tokens the model would say itself."""
        price = self.memory.get("price", 1.0)
        sums: dict[str, float] = {}
        # The likelihood is a mean over the step's tokens while the loop divides by its pairs.
        likelihood = self.likelihood_weight * len(pairs) / sum(supervised(chosen) for chosen, _ in pairs)
        for numbers in trie.pack_rows(pairs, self.micro_tokens):
            group = [sequence for n in numbers for sequence in pairs[n]]
            packed = trie.build(group)
            scores = score(self.model, packed)
            batch = _batch(scores.row_log_probabilities().view(-1, 2), group, known[numbers])
            losses = self.pair_loss(batch, price)
            if each is not None:
                chosen = scores.row_right().view(-1, 2)[:, 0]
                each[numbers] = torch.stack([_margins(losses), chosen], 1).float().cpu()
            loss = losses.loss.sum()
            if likelihood:
                loss = loss - likelihood * batch.chosen.sum()
            for key, value in _logged(batch, losses).items():
                sums[key] = sums.get(key, 0.0) + value
            tokens = sum(len(s.ids) for s in group)
            yield MicroBatchLoss(loss, tokens, supervised_tokens=len(packed.entry_row), computed_tokens=packed.computed)
        metrics.update({key: value / len(pairs) for key, value in sums.items()})


def build(setup: Setup, pair_loss: PairLoss, *, start: Any = None, likelihood_weight: float = 0.0) -> Pairs:
    """`Pairs` of the rows, under a pair loss."""
    return Pairs(
        setup.model, setup.train.sequences, setup.held_out.sequences, pair_loss, names=setup.train.names,
        micro_tokens=setup.micro_tokens, warn=setup.say, start=start, likelihood_weight=likelihood_weight,
        acts=acts.of(setup),
    )  # fmt: skip


def prompt_of(sequence: Rendered) -> tuple[int, ...]:
    """The ids before the reply."""
    return tuple(sequence.ids[: next(i for i, weight in enumerate(sequence.weights) if weight)])


def report(method: Any) -> dict[str, Any]:
    """What a finished run says beyond the loop's figures: seconds of the reference, and of looking."""
    reference = {"reference_seconds": method.reference_seconds} if method.has_reference else {}
    return {**reference, "look_seconds": method.memory.get("look_seconds", 0.0)}


def _batch(scored: Tensor, group: Sequence[Rendered], known: Tensor) -> Batch:
    tokens = scored.new_tensor([supervised(sequence) for sequence in group]).view(-1, 2)
    known = known.to(scored)
    return Batch(scored[:, 0], scored[:, 1], tokens[:, 0], tokens[:, 1], known[:, 0], known[:, 1])


def _logged(batch: Batch, losses: PairLosses) -> dict[str, float]:
    """Sums over the pairs. A pair whose rewards are equal is half right, as it is before the first step."""
    chosen, rejected = losses.chosen_reward.detach(), losses.rejected_reward.detach()
    margin = _margins(losses)
    sums = {
        "rewards/chosen": chosen,
        "rewards/rejected": rejected,
        "margin": margin,
        "accuracy": (margin.sign() + 1) / 2,
        "logps/chosen": batch.chosen.detach(),
        "logps/rejected": batch.rejected.detach(),
    }
    return {key: value.sum().item() for key, value in sums.items()}


def _margins(losses: PairLosses) -> Tensor:
    """(pairs,) how much higher the reward of the chosen reply is."""
    return losses.chosen_reward.detach() - losses.rejected_reward.detach()
