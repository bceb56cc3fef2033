"""RLHF with PPO (sodate.losses.ppo): a value for every token of a reply, learnt beside the policy on the same forward.

A step samples replies, pays each its reward at the last token less the divergence from the reference at every token,
and makes `updates` optimiser updates on them. The value head reads the policy's hidden states; no version keeps it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from sodate.core.recipe import PPORecipe
from sodate.losses import policy, ppo
from sodate.model import scalar_head
from sodate.model.forward import prediction_states, scored
from sodate.train import rollout_setup
from sodate.train.loop import MicroBatchLoss, Update, Validation
from sodate.train.methods import Setup, TrainingMethod, one_by_one
from sodate.train.reference import ReferenceModel
from sodate.train.rollout import Agreement, Pack, Rollouts, Sample, grouped, part_of


@dataclass(frozen=True, slots=True)
class PPOSettings:
    """The numbers of PPO. `kl_target` (nats a reply) and `kl_horizon` (replies) steer the coefficient; None: fixed."""

    kl_coefficient: float
    kl_target: float | None
    kl_horizon: int
    clip: float
    value_clip: float
    value_coefficient: float
    entropy_coefficient: float
    gamma: float
    lam: float
    updates: int


@dataclass(frozen=True, slots=True)
class ScoredPack:
    """A pack with what stays the same during the updates on it: each (E,)."""

    pack: Pack
    values: Tensor  # V when the replies were sampled
    advantages: Tensor
    returns: Tensor


class PPO:
    """The method. A row is a task; a step is a rollout with several updates."""

    def __init__(self, model: Any, rollouts: Rollouts, settings: PPOSettings, *, names: Sequence[str]) -> None:
        self.model = model
        self.rollouts = rollouts
        self.settings = settings
        self.names = names
        self.rows = len(rollouts.tasks)
        self.memory = rollouts.memory
        self.memory["kl_coefficient"] = settings.kl_coefficient
        self.reference = ReferenceModel(model)
        self.head = scalar_head.add(model)

    def length(self, row: int) -> int:
        return self.rollouts.length(row)

    def updates(self, step: int, rows: Sequence[int]) -> Iterator[Update]:
        samples = self.rollouts.draw([self.rollouts.tasks[r] for r in rows], step)
        flat = policy.zero_variance(grouped(samples, self.rollouts.samples))
        metrics = self.rollouts.metrics(samples, flat)
        if step == 0:
            metrics |= self.rollouts.tried(samples)
        scored = self._score(samples, metrics)
        tokens = sum(len(s.log_p) for s in samples)
        for number in range(self.settings.updates):
            seen = metrics if number == 0 else {}
            yield Update(float(tokens), self._parts(scored, samples, seen, number), seen)
        if self.settings.kl_target is not None:
            self.memory["kl_coefficient"] = ppo.adapted(
                self.memory["kl_coefficient"], metrics["kl_reply"], self.settings.kl_target, len(samples),
                self.settings.kl_horizon,
            )  # fmt: skip
        self.rollouts.step_done(step, metrics, metrics["zero_variance_groups"])

    def validate(self) -> Validation | None:
        return self.rollouts.validate()

    def _forward(self, pack: Pack) -> tuple[Tensor, Tensor]:
        """(log-probability of each token, value before it), each (E,), from one pass."""
        states = prediction_states(self.model, pack.batch)
        log_p = -scored(self.model, pack.batch, states).nll
        return log_p[pack.prediction], self.head(states)[pack.prediction]

    @torch.no_grad()
    def _score(self, samples: Sequence[Sample], metrics: dict[str, float]) -> list[ScoredPack]:
        """Values, divergence from the reference, advantages and returns of a rollout."""
        packs = self.rollouts.packs(samples)
        values = self._by_reply(packs, samples, [self._forward(pack)[1] for pack in packs])
        with self.reference.active():
            reference = self._by_reply(packs, samples, [pack.log_p(self.model) for pack in packs])
        log_p = self._by_reply(packs, samples, [pack.old for pack in packs])
        lengths = torch.tensor([len(s.log_p) for s in samples], device=values.device)
        mask = (torch.arange(values.shape[1], device=values.device)[None, :] < lengths[:, None]).float()
        scores = torch.tensor([s.reward for s in samples], device=values.device)
        coefficient = self.memory["kl_coefficient"] * self.memory.get("price", 1.0)
        rewards = ppo.kl_rewards(scores, log_p, reference, mask, coefficient)
        advantages, returns = ppo.gae(rewards, values, mask, self.settings.gamma, self.settings.lam)
        advantages = ppo.whiten(advantages, mask)
        held = mask.bool()
        metrics |= {
            "kl": float(policy.k3(log_p, reference)[held].mean()),
            "kl_reply": float(((log_p - reference) * mask).sum(1).mean()),
            "kl_coefficient": coefficient,
            "value_mean": float(values[held].mean()),
            "return_mean": float(returns[held].mean()),
        }
        return [
            ScoredPack(pack, *(self._of_pack(pack, samples, t) for t in (values, advantages, returns)))
            for pack in packs
        ]

    def _by_reply(self, packs: Sequence[Pack], samples: Sequence[Sample], found: Sequence[Tensor]) -> Tensor:
        """(R, T) of the rollout, zero after each reply's end, from each pack's (E,)."""
        longest = max(len(s.log_p) for s in samples)
        out = torch.zeros(len(samples), longest, device=found[0].device)
        for pack, flat in zip(packs, found, strict=True):
            at = 0
            for i in pack.samples:
                n = len(samples[i].log_p)
                out[i, :n] = flat[at : at + n]
                at += n
        return out

    def _of_pack(self, pack: Pack, samples: Sequence[Sample], values: Tensor) -> Tensor:
        """(E,) of a pack from (R, T) of the rollout."""
        return torch.cat([values[i, : len(samples[i].log_p)] for i in pack.samples])

    def _parts(
        self, scored: Sequence[ScoredPack], samples: Sequence[Sample], seen: dict[str, float], number: int
    ) -> Iterator[MicroBatchLoss]:
        one, agreement = self.settings, Agreement()
        clipped = value_clipped = tokens = 0
        errors = 0.0
        for row in scored:
            log_p, values = self._forward(row.pack)
            if number == 0:
                agreement.add(log_p, row.pack.old)
            surrogate, held = policy.clipped(log_p, row.pack.old, row.advantages, one.clip, one.clip)
            error, value_held = ppo.value_loss(values, row.values, row.returns, one.value_clip)
            loss = surrogate + one.value_coefficient * error
            if one.entropy_coefficient:
                loss = loss - one.entropy_coefficient * policy.entropy_bonus(log_p, row.pack.old)
            clipped += int(held.sum())
            value_clipped += int(value_held.sum())
            tokens += len(log_p)
            errors += float(error.detach().sum())
            yield part_of(row.pack, samples, loss.sum())
        # The line shows these of the last update, where the policy is furthest from the one that drew the replies.
        seen |= {"clip_fraction": clipped / tokens, "value_clip_fraction": value_clipped / tokens,
                 "value_loss": errors / tokens}  # fmt: skip
        if number == 0:
            seen |= agreement.metrics()


def _build(setup: Setup) -> PPO:
    recipe = setup.recipe
    assert isinstance(recipe, PPORecipe)
    settings = PPOSettings(
        recipe.kl_coefficient, recipe.kl_target if recipe.kl_control == "adaptive" else None, recipe.kl_horizon,
        recipe.clip_low, recipe.value_clip, recipe.value_coefficient, recipe.entropy_coefficient, recipe.gamma,
        recipe.gae_lambda, recipe.updates,
    )  # fmt: skip
    return PPO(setup.model, rollout_setup.rollouts(setup, recipe), settings, names=setup.train.names)


METHOD = TrainingMethod(
    takes=rollout_setup.takes,
    wants=rollout_setup.wants,
    render=one_by_one(rollout_setup.render),
    build=_build,
    report=rollout_setup.report,
)
