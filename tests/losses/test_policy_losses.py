"""Policy gradients and PPO's pieces: numbers worked by hand, and TRL 1.16's on the same tensors."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from sodate.losses import policy, ppo


def tensor(*rows: list[float]) -> Tensor:
    return torch.tensor(rows if len(rows) > 1 else rows[0])


# ── GRPO and its variants ────────────────────────────────────────────────────────────────────────────────────────────


def test_advantages_by_hand() -> None:
    rewards = tensor([1.0, 0.0, 0.5, 0.5], [0.0, 0.0, 0.0, 1.0])
    # First group: mean ½, deviation √(½ / 3) = 0.408248; second: mean ¼, deviation ½.
    expected = [[0.5 / 0.408348, -0.5 / 0.408348, 0.0, 0.0], [-0.25 / 0.5001] * 3 + [0.75 / 0.5001]]
    for variant in ("grpo", "dapo"):
        torch.testing.assert_close(policy.group_advantages(rewards, variant), torch.tensor(expected), rtol=1e-5, atol=0)
    assert policy.group_advantages(rewards, "dr_grpo").tolist() == [[0.5, -0.5, 0.0, 0.0], [-0.25] * 3 + [0.75]]
    # The mean of the three others: ⅓, ⅔, ½, ½ and ⅓ × 3, 0.
    rloo = [[2 / 3, -2 / 3, 0.0, 0.0], [-1 / 3] * 3 + [1.0]]
    torch.testing.assert_close(policy.group_advantages(rewards, "rloo"), torch.tensor(rloo))


@given(st.lists(st.floats(-3, 3), min_size=2, max_size=8), st.floats(-5, 5), st.sampled_from(["grpo", "rloo"]))
@settings(max_examples=60, deadline=None)
def test_advantages_sum_to_zero_and_forget_a_constant(rewards: list[float], shift: float, variant: str) -> None:
    group = torch.tensor([rewards], dtype=torch.float64)
    found = policy.group_advantages(group, variant)  # type: ignore[arg-type]
    assert abs(float(found.sum())) < 1e-6
    torch.testing.assert_close(policy.group_advantages(group + shift, variant), found, rtol=1e-6, atol=1e-6)  # type: ignore[arg-type]


def test_groups_without_variance_are_known() -> None:
    rewards = tensor([0.3, 0.3, 0.3], [0.3, 0.3, 0.4])
    assert policy.zero_variance(rewards).tolist() == [True, False]
    assert policy.group_advantages(rewards[:1], "grpo").abs().max() < 1e-3


def test_the_clip_by_hand() -> None:
    ratio = tensor([0.5, 0.9, 1.1, 1.5, 0.5, 0.9, 1.1, 1.5])
    advantage = tensor([2.0] * 4 + [-2.0] * 4)
    log_p = ratio.log().requires_grad_(True)
    loss, held = policy.clipped(log_p, torch.zeros(8), advantage, 0.2, 0.2)
    torch.testing.assert_close(loss, tensor([-1.0, -1.8, -2.2, -2.4, 1.6, 1.8, 2.2, 3.0]))
    assert held.tolist() == [False, False, False, True, True, False, False, False]
    loss.sum().backward()  # type: ignore[no-untyped-call]
    assert log_p.grad is not None
    # A held token has no gradient; elsewhere it is -ρA.
    torch.testing.assert_close(log_p.grad, tensor([-1.0, -1.8, -2.2, 0.0, 0.0, 1.8, 2.2, 3.0]))
    higher, held = policy.clipped(log_p, torch.zeros(8), advantage, 0.2, 0.6)
    assert higher[3].item() == pytest.approx(-3.0) and not held[3]


def test_token_weights_by_hand() -> None:
    lengths = torch.tensor([1, 2, 5])
    expected = {"grpo": [1 / 3, 1 / 6, 1 / 15], "dapo": [1 / 8] * 3, "dr_grpo": [1 / 30] * 3, "rloo": [1 / 3] * 3}
    for variant, weights in expected.items():
        found = policy.token_weights(lengths, variant, 10)  # type: ignore[arg-type]
        assert found.tolist() == pytest.approx(weights)


def test_k3_by_hand_and_in_the_mean() -> None:
    log_p, reference = tensor([math.log(0.5), math.log(0.2)]), tensor([math.log(0.25), math.log(0.2)])
    assert policy.k3(log_p, reference).tolist() == pytest.approx([0.5 + math.log(2) - 1, 0.0], abs=1e-6)
    p, q = torch.tensor([0.6, 0.3, 0.1]), torch.tensor([0.2, 0.5, 0.3])
    mean = (p * policy.k3(p.log(), q.log())).sum()
    assert float(mean) == pytest.approx(float((p * (p / q).log()).sum()), rel=1e-5)  # it is unbiased


def test_the_entropy_bonus_has_the_entropys_gradient_in_the_mean() -> None:
    logits = tensor([0.3, -1.0, 0.8, 0.1]).requires_grad_(True)
    old = tensor([0.1, 0.4, -0.2, 0.3]).log_softmax(-1)  # sampled from another policy
    log_p = logits.log_softmax(-1)
    (by_hand,) = torch.autograd.grad(-(log_p.exp() * log_p).sum(), logits, retain_graph=True)
    (found,) = torch.autograd.grad((old.exp() * policy.entropy_bonus(log_p, old)).sum(), logits)
    torch.testing.assert_close(found, by_hand, rtol=1e-5, atol=1e-6)


LOG_P = tensor(
    [-0.5, -1.2, -0.3, -2.0, -0.7], [-1.1, -0.2, -0.9, -0.4, -1.5], [-0.05, -3.0, -0.6, -0.8, -0.1],
    [-1.3, -1.4, -0.2, -0.9, -0.6], [-2.2, -0.3, -1.0, -0.5, -0.4], [-0.9, -0.8, -0.7, -0.6, -0.5],
)  # fmt: skip
OLD = LOG_P + tensor(
    [0.1, -0.3, 0.05, 0.4, 0.0], [-0.2, 0.1, 0.3, -0.5, 0.02], [0.0, 0.6, -0.1, 0.2, -0.3],
    [0.25, -0.25, 0.1, -0.1, 0.3], [-0.4, 0.0, 0.2, 0.35, -0.15], [0.05, 0.1, -0.35, 0.2, 0.0],
)  # fmt: skip
REFERENCE = LOG_P + tensor(
    [-0.2, 0.1, 0.3, 0.0, 0.5], [0.4, -0.1, 0.0, 0.2, -0.3], [0.1, 0.1, -0.6, 0.3, 0.2],
    [-0.05, 0.45, 0.2, 0.1, 0.0], [0.3, -0.2, 0.15, -0.35, 0.1], [0.0, 0.05, 0.1, -0.4, 0.25],
)  # fmt: skip
LENGTHS = torch.tensor([5, 3, 2, 4, 5, 1])
REWARDS = tensor([1.0, 0.0, 0.5], [0.2, 0.9, 0.2])


@pytest.mark.parametrize(
    ("variant", "beta", "high", "loss", "norm"),
    [  # GRPOTrainer._compute_loss of TRL 1.16.0: its loss, and the norm of its gradient in the log-probabilities
        ("grpo", 0.04, 0.2, 0.007983466, 0.161924854),
        ("dr_grpo", 0.0, 0.2, -0.066754319, 0.051497974),
        ("dr_grpo", 0.1, 0.2, -0.064701378, 0.051326655),
        ("dapo", 0.0, 0.28, -0.234978363, 0.171014845),
    ],
)
def test_the_losses_are_those_of_trl(
    variant: policy.Variant, beta: float, high: float, loss: float, norm: float
) -> None:
    log_p = LOG_P.clone().requires_grad_(True)
    advantages = policy.group_advantages(REWARDS, variant).reshape(-1)
    weights = policy.token_weights(LENGTHS, variant, 5)
    mask = torch.arange(5)[None, :] < LENGTHS[:, None]
    surrogate, held = policy.clipped(log_p, OLD, advantages[:, None], 0.2, high)
    found = ((surrogate + beta * policy.k3(log_p, REFERENCE)) * mask * weights[:, None]).sum()
    found.backward()  # type: ignore[no-untyped-call]
    assert found.item() == pytest.approx(loss, abs=1e-5)
    assert log_p.grad is not None and log_p.grad.norm().item() == pytest.approx(norm, rel=1e-5)
    assert float((held & mask).sum() / mask.sum()) == pytest.approx(0.2)  # TRL's clip_ratio/region_mean
    assert float((policy.k3(LOG_P, REFERENCE) * mask).sum() / mask.sum()) == pytest.approx(0.030794185, rel=1e-5)


# ── PPO ──────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_advantage_estimation_by_hand() -> None:
    rewards = tensor([0.0, 0.0, 1.0], [0.5, 2.0, 9.0])
    values = tensor([0.5, 0.4, 0.6], [1.0, 1.0, 9.0])
    mask = torch.tensor([[1.0, 1.0, 1.0], [1.0, 1.0, 0.0]])
    advantages, returns = ppo.gae(rewards, values, mask, 0.9, 0.5)
    # δ = [0.9·0.4 - 0.5, 0.9·0.6 - 0.4, 1 - 0.6] = [-0.14, 0.14, 0.4];  A = δ_t + 0.45 A_{t+1}
    expected = [[-0.14 + 0.45 * 0.32, 0.14 + 0.45 * 0.4, 0.4], [0.5 + 0.9 - 1.0 + 0.45 * 1.0, 1.0, 0.0]]
    torch.testing.assert_close(advantages, torch.tensor(expected), rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(returns, (torch.tensor(expected) + values) * mask, rtol=1e-5, atol=1e-6)


@given(st.lists(st.tuples(st.floats(-2, 2), st.floats(-2, 2)), min_size=1, max_size=6), st.floats(0.1, 1))
@settings(max_examples=40, deadline=None)
def test_with_lambda_one_the_return_is_the_discounted_sum(steps: list[tuple[float, float]], gamma: float) -> None:
    rewards, values = (torch.tensor([column], dtype=torch.float64) for column in zip(*steps, strict=True))
    _, returns = ppo.gae(rewards, values, torch.ones_like(rewards), gamma, 1.0)
    expected = [sum(gamma**i * r for i, (r, _) in enumerate(steps[t:])) for t in range(len(steps))]
    assert returns[0].tolist() == pytest.approx(expected, abs=1e-9)


def test_rewards_less_the_divergence_by_hand() -> None:
    mask = torch.tensor([[1.0, 1.0, 0.0], [1.0, 1.0, 1.0]])
    log_p, reference = tensor([-1.0, -2.0, -7.0], [-0.5, -0.5, -1.0]), tensor([-1.5, -1.0, 0.0], [-0.5, -1.0, -1.0])
    found = ppo.kl_rewards(torch.tensor([1.0, -1.0]), log_p, reference, mask, 0.1)
    torch.testing.assert_close(found, tensor([-0.05, 0.1 + 1.0, 0.0], [0.0, -0.05, -1.0]))


def test_whitening_has_mean_zero_and_deviation_one_over_the_mask() -> None:
    values, mask = tensor([1.0, 3.0, 99.0], [5.0, 7.0, 99.0]), torch.tensor([[1.0, 1.0, 0.0]] * 2)
    # mean 4, variance 5
    torch.testing.assert_close(ppo.whiten(values, mask), tensor([-3.0, -1.0, 0.0], [1.0, 3.0, 0.0]) / math.sqrt(5))


def test_the_value_loss_by_hand() -> None:
    values, old, returns = tensor([1.0, 1.0, 0.3]), tensor([0.0, 0.9, 0.0]), tensor([1.0, 2.0, 0.0])
    loss, held = ppo.value_loss(values, old, returns, 0.2)
    # Clipped to 0.2, 1.0, 0.2: errors 0.8 > 0; 1 = 1; 0.04 < 0.09.
    torch.testing.assert_close(loss, tensor([0.32, 0.5, 0.045]))
    assert held.tolist() == [True, False, False]


@pytest.mark.parametrize(("kl", "factor"), [(6.0, 1.0), (6.6, 1.001), (60.0, 1.002), (5.7, 0.9995), (0.0, 0.998)])
def test_the_coefficient_follows_the_target(kl: float, factor: float) -> None:
    # 100 replies of a horizon of 10,000: at most 0.2 · 0.01 = 0.002 a step.
    assert ppo.adapted(0.2, kl, 6.0, 100, 10_000) == pytest.approx(0.2 * factor)
