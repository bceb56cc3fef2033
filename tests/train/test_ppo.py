"""PPO on a tiny model: its first update beside a plain forward, values at the right tokens, and that rewards rise."""

from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from sodate.adapt import lora
from sodate.losses import ppo as losses
from sodate.train.loop import train
from sodate.train.ppo import PPO, PPOSettings
from sodate.train.rollout import Rollouts, Sample
from tests.close import assert_all_as_exact
from tests.families import in_float64, pair
from tests.train.test_grpo import PLAN, STOP, prompts, reward_of, share_of_small
from tests.train.test_loop import lines, new_run

NUMBERS = PPOSettings(
    kl_coefficient=0.05, kl_target=None, kl_horizon=100, clip=0.2, value_clip=0.2, value_coefficient=0.5,
    entropy_coefficient=0.0, gamma=0.9, lam=0.8, updates=3,
)  # fmt: skip


def make(folder: Path, settings: PPOSettings = NUMBERS, adapter: bool = True, family: str = "llama") -> tuple[PPO, Any]:
    ours, plain = pair(family, folder)
    if adapter:
        lora.add(ours, lora.LoraConfig(4, 8.0, lora.all_targets(ours)), seed=0)
    else:
        ours.requires_grad_(True)
    rollouts = Rollouts(
        ours, prompts(6), prompts(8)[6:], reward_of(share_of_small), text=lambda ids, tools: str(ids),
        stop_ids=[STOP], samples=4, max_new_tokens=6, seed=5, micro_tokens=60, say=lambda text: None, memory={},
    )  # fmt: skip
    method = PPO(ours, rollouts, settings, names=[t.name for t in rollouts.tasks])
    with torch.no_grad():  # values that are not all alike
        method.head.weight.normal_(0, 0.05, generator=torch.Generator().manual_seed(9))
        method.head.bias.fill_(0.3)
    return method, plain


@pytest.mark.parametrize("family", ["llama", "granite"])  # granite scales its logits
def test_the_first_update_is_that_of_a_plain_forward(family: str, tmp_path: Path) -> None:
    method, plain = make(tmp_path, adapter=False, family=family)
    samples = method.rollouts.draw([method.rollouts.tasks[r] for r in (0, 2)], 3)
    update = next(method.updates(3, [0, 2]))
    for part in update.parts:
        (part.loss / update.weight).backward()  # type: ignore[no-untyped-call]
    ours = {name.removeprefix("scalar_head."): p.grad for name, p in method.model.named_parameters()}
    theirs, exactly = (by_hand(method, samples, model) for model in (plain, in_float64(plain)))
    assert_all_as_exact(ours, theirs, exactly, floor=1e-5)  # log-probabilities of the engine's, too
    assert update.metrics["kl"] == pytest.approx(0, abs=1e-5) and update.metrics["engine_kl"] < 1e-9
    assert update.metrics["clip_fraction"] == 0 and update.metrics["value_loss"] > 0


def by_hand(method: PPO, samples: list[Sample], plain: Any) -> dict[str, Tensor | None]:
    """The gradients of the first update, from a plain forward of each reply in the model's precision."""
    dtype = plain.dtype
    weight, bias = (p.detach().clone().to(dtype).requires_grad_(True) for p in method.head.parameters())
    log_p, values = [], []
    for sample in samples:
        prompt, ids = sample.answer.task.prompt, sample.answer.ids
        out = plain(torch.tensor([prompt + ids]), output_hidden_states=True)
        at = slice(len(prompt) - 1, -1)
        log_p.append(out.logits[0, at].log_softmax(-1).gather(1, torch.tensor(ids)[:, None])[:, 0])
        values.append(out.hidden_states[-1][0, at] @ weight + bias)
    mask = torch.nn.utils.rnn.pad_sequence([torch.ones(len(v), dtype=dtype) for v in values], batch_first=True)
    padded = torch.nn.utils.rnn.pad_sequence([v.detach() for v in values], batch_first=True)
    scores = torch.tensor([s.reward for s in samples], dtype=dtype)
    same = torch.zeros_like(mask)  # no divergence before the first update
    advantages, returns = losses.gae(losses.kl_rewards(scores, same, same, mask, 0.05), padded, mask, 0.9, 0.8)
    advantages = losses.whiten(advantages, mask)
    total = torch.zeros((), dtype=dtype)
    for i, (p, v) in enumerate(zip(log_p, values, strict=True)):
        n = len(v)
        total = total - (advantages[i, :n] * p).sum() + 0.5 * 0.5 * (v - returns[i, :n]).square().sum()
    (total / mask.sum()).backward()  # type: ignore[no-untyped-call]
    own = {name: p.grad for name, p in plain.named_parameters()}
    return own | {"weight": weight.grad, "bias": bias.grad}


@pytest.mark.parametrize("target", [None, 2.0])
def test_the_reward_rises_and_the_price_of_divergence_follows(target: float | None, tmp_path: Path) -> None:
    steps = 14 if target is None else 3
    method, _ = make(
        tmp_path / "model", replace(NUMBERS, kl_target=target, kl_coefficient=0.01, entropy_coefficient=0.01)
    )
    run = new_run(tmp_path / "run")
    with run.locked():
        train(method.model, method, replace(PLAN, steps=steps, lr=0.03, eval_every=steps), run, lambda line: None)
    found = lines(run)
    for before, after in itertools.pairwise(found):
        expected = before["kl_coefficient"]
        if target is not None:
            expected = losses.adapted(expected, before["kl_reply"], target, 12, 100)
        assert after["kl_coefficient"] == pytest.approx(expected)
    assert method.memory["kl_coefficient"] != 0.01 or target is None
    if target is None:
        assert sum(line["reward_mean"] for line in found[-3:]) / 3 > found[0]["base_reward"] + 0.15
        assert any(line["clip_fraction"] > 0 for line in found) or found[-1]["kl"] > 0


def test_values_become_those_of_the_replies_when_the_policy_stands_still(tmp_path: Path) -> None:
    method, _ = make(tmp_path, replace(NUMBERS, updates=40, value_clip=10.0))
    optimizer = torch.optim.Adam(method.head.parameters(), lr=0.02)
    errors = []
    for update in method.updates(3, [0, 2, 4]):
        loss = sum((part.loss for part in update.parts), torch.zeros(())) / update.weight
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        errors.append(update.metrics["value_loss"])
    assert errors[-1] < errors[0] / 2
