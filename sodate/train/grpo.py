"""GRPO and its kin (sodate.losses.policy): replies to one prompt are each other's baseline, without a value model.

    loss = Σ over tokens of weight · (clipped surrogate + kl_coefficient · k3 to the reference)

The log-probabilities of the engine that drew the tokens are the old ones, so a difference between engine and trainer is
part of the ratio and does no harm unseen.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sodate.core.recipe import GRPORecipe
from sodate.losses import policy
from sodate.train import rollout_setup
from sodate.train.loop import MicroBatchLoss, Update, Validation
from sodate.train.methods import Setup, TrainingMethod, one_by_one
from sodate.train.reference import ReferenceModel
from sodate.train.rollout import Agreement, Pack, Rollouts, Sample, grouped, part_of

CLIP_HIGHER = 0.28  # DAPO's (2503.14476, sec. 4.1)


@dataclass(frozen=True, slots=True)
class GRPOSettings:
    """The numbers of the loss. For a rollout up to `draws` batches of tasks are tried; `updates` optimiser updates are
    made on it."""

    variant: policy.Variant
    kl_coefficient: float
    clip_low: float
    clip_high: float
    updates: int
    draws: int


class GRPO:
    """The method. A row is a task; a step is a rollout of k replies to each of its tasks."""

    def __init__(self, model: Any, rollouts: Rollouts, settings: GRPOSettings, *, names: Sequence[str]) -> None:
        self.model = model
        self.rollouts = rollouts
        self.settings = settings
        self.names = names
        self.rows = len(rollouts.tasks)
        self.memory = rollouts.memory
        self.reference = ReferenceModel(model) if settings.kl_coefficient > 0 else None

    def length(self, row: int) -> int:
        return self.rollouts.length(row)

    def updates(self, step: int, rows: Sequence[int]) -> Iterator[Update]:
        samples, drawn = self._rollout(step, rows)
        k = self.rollouts.samples
        rewards = grouped(samples, k)
        flat = policy.zero_variance(grouped(drawn, k))
        metrics = {**self.rollouts.metrics(drawn, flat), "groups": float(len(flat))}
        if step == 0:
            metrics |= self.rollouts.tried(drawn)
        advantages = policy.group_advantages(rewards, self.settings.variant).view(-1)
        lengths = torch.tensor([len(s.log_p) for s in samples])
        weights = policy.token_weights(lengths, self.settings.variant, self.rollouts.max_new_tokens)
        # Without a divergence to pay for, a reply of no advantage moves nothing.
        useful = [i for i in range(len(samples)) if self.reference is not None or float(advantages[i]) != 0.0]
        packs = self.rollouts.packs([samples[i] for i in useful])
        useful_samples = [samples[i] for i in useful]
        references = self._references(packs)
        # Adam's steps are as long however few groups have variance; a batch of so many takes the square root of their
        # share (Malladi et al., arXiv 2205.10287).
        taught = int((~policy.zero_variance(rewards)).sum()) / len(rows)
        rate = math.sqrt(taught)
        for number in range(self.settings.updates):
            agreement = Agreement() if number == 0 else None
            seen = metrics if number == 0 else {}
            yield Update(1.0, self._parts(
                packs, useful_samples, advantages[useful], weights[useful], references, agreement, seen
            ), seen, rate)  # fmt: skip
        self.rollouts.step_done(step, metrics, 1 - taught)

    def validate(self) -> Validation | None:
        return self.rollouts.validate()

    def _rollout(self, step: int, rows: Sequence[int]) -> tuple[list[Sample], list[Sample]]:
        """The replies to train on, and all that were drawn for them.

        Dynamic sampling (DAPO, 2503.14476, eq. 11): groups without variance are replaced by those of other tasks, drawn
        from (seed, step), until the batch is full or `draws` batches were tried. By the share that had variance so far
        it is reckoned how many tasks it takes. Where no group has any, the replies are the first batch's.
        """
        k, batch = self.rollouts.samples, len(rows)
        first = drawn = self.rollouts.draw([self.rollouts.tasks[r] for r in rows], step)
        kept = _lively(first, k)
        others = np.random.Generator(np.random.Philox([self.rollouts.seed, step, 1])).permutation(self.rows)
        spare = [int(r) for r in others if r not in set(rows)][: (self.settings.draws - 1) * batch]
        for attempt in itertools.count(1):
            lively, tried = len(kept) // k, len(drawn) // k
            wanted = math.ceil(max(0, batch - lively) * tried / max(1, lively))
            more, spare = spare[:wanted], spare[wanted:]
            if not more:
                break
            new = self.rollouts.draw([self.rollouts.tasks[r] for r in more], step, attempt)
            drawn = drawn + new
            kept += _lively(new, k)
        return kept[: batch * k] or first, drawn

    def _references(self, packs: Sequence[Pack]) -> list[Tensor | None]:
        if self.reference is None:
            return [None] * len(packs)
        with self.reference.active(), torch.no_grad():
            return [pack.log_p(self.model) for pack in packs]

    def _parts(
        self,
        packs: Sequence[Pack],
        samples: Sequence[Sample],
        advantages: Tensor,
        weights: Tensor,
        references: Sequence[Tensor | None],
        agreement: Agreement | None,
        seen: dict[str, float],
    ) -> Iterator[MicroBatchLoss]:
        clipped = tokens = 0
        divergence = 0.0
        price = self.settings.kl_coefficient * self.memory.get("price", 1.0)
        for pack, reference in zip(packs, references, strict=True):
            log_p = pack.log_p(self.model)
            if agreement is not None:
                agreement.add(log_p, pack.old)
            loss, cut = self._loss(pack, log_p, advantages, weights)
            if reference is not None:
                k3 = policy.k3(log_p, reference)
                loss = loss + price * (pack.spread(weights) * k3).sum()
                divergence += float(k3.detach().sum())
            clipped += cut
            tokens += len(log_p)
            yield part_of(pack, samples, loss)
        seen["clip_fraction"] = clipped / max(1, tokens)
        if self.reference is not None:
            seen["kl"] = divergence / max(1, tokens)
        if agreement is not None:
            seen |= agreement.metrics()

    def _loss(self, pack: Pack, log_p: Tensor, advantages: Tensor, weights: Tensor) -> tuple[Tensor, int]:
        """(weighted sum of the clipped surrogate, tokens the clip holds)."""
        one = self.settings
        if one.variant != "rloo":
            loss, cut = policy.clipped(log_p, pack.old, pack.spread(advantages), one.clip_low, one.clip_high)
            return (pack.spread(weights) * loss).sum(), int(cut.sum())
        # A whole reply is one action: its log-probability is the sum over its tokens.
        rows = len(pack.samples)
        ratio = torch.zeros(rows, dtype=log_p.dtype, device=log_p.device).index_add(0, pack.row, log_p - pack.old)
        chosen = torch.as_tensor(pack.samples)
        mine, share = (t[chosen].to(ratio) for t in (advantages, weights))
        loss, cut = policy.clipped(ratio, torch.zeros_like(ratio), mine, one.clip_low, one.clip_high)
        return (share * loss).sum(), int(cut[pack.row].sum())


def _lively(samples: list[Sample], k: int) -> list[Sample]:
    """The samples of groups with variance."""
    flat = policy.zero_variance(grouped(samples, k))
    return [s for i, s in enumerate(samples) if not flat[i // k]]


def _build(setup: Setup) -> GRPO:
    recipe = setup.recipe
    assert isinstance(recipe, GRPORecipe)
    high = recipe.clip_low if recipe.variant != "dapo" else CLIP_HIGHER
    settings = GRPOSettings(
        recipe.variant, recipe.kl_coefficient, recipe.clip_low,
        high if recipe.clip_high == "auto" else recipe.clip_high, recipe.updates, recipe.draws,
    )  # fmt: skip
    return GRPO(setup.model, rollout_setup.rollouts(setup, recipe), settings, names=setup.train.names)


METHOD = TrainingMethod(
    takes=rollout_setup.takes,
    wants=rollout_setup.wants,
    render=one_by_one(rollout_setup.render),
    build=_build,
    report=rollout_setup.report,
)
