"""Preference losses against numbers worked by hand and against TRL 1.16 on the same log-probabilities."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from sodate.losses import preference, reward


def t(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


# Log-probabilities of each token of three pairs; of whole replies under the reference.
CHOSEN = [[-0.5, -1.25, -0.1, -2.0], [-0.75, -0.05, -3.0], [-1.5, -0.3]]
REJECTED = [[-1.0, -2.5], [-0.2, -0.4, -1.1, -0.6, -2.2], [-0.9, -0.7, -1.3]]
REFERENCE_CHOSEN, REFERENCE_REJECTED = t(-4.6, -3.1, -2.4), t(-3.0, -4.9, -2.5)
C, R = (t(*(sum(row) for row in rows)) for rows in (CHOSEN, REJECTED))
C_TOKENS, R_TOKENS = (t(*(len(row) for row in rows)) for rows in (CHOSEN, REJECTED))
# What trl 1.16.0 made of them: DPOTrainer, KTOTrainer, and trl.experimental's ORPOTrainer and CPOTrainer, with beta
# 0.3 unless it is said. 1.16 has no conservative DPO, but its `aot` on a single pair is the same formula.
TRL = {
    "sigmoid": 0.6497256224007428,
    "hinge": 0.8850000000000001,
    "ipo": 2.3174539351851853,
    "sigmoid + 0.7 sft": 1.3847256224007427,
    "label_smoothing 0.1, a pair": [0.5606232641398401, 0.8386983585938614, 0.5843552444685272],
    "kto": (0.6034688130049047, 0.21666666666666679),
    "kto, divergence below 0": (0.6075450597734169, 0.0),
    "orpo beta 0.25, a pair": [0.07323287427425385, 0.2525697350502014, 0.15992611646652222],
    "simpo beta 2 gamma 0.5, a pair": [0.29363761939956406, 1.4889982000451027, 0.893192762492887],
}


def dpo(**keys: object) -> Tensor:
    return preference.dpo(
        C, R, REFERENCE_CHOSEN, REFERENCE_REJECTED, beta=0.3, chosen_tokens=C_TOKENS, rejected_tokens=R_TOKENS,
        **keys,  # type: ignore[arg-type]
    )  # fmt: skip


@pytest.mark.parametrize("kind", ["sigmoid", "hinge", "ipo"])
def test_dpo_is_what_trl_computes(kind: str) -> None:
    assert dpo(kind=kind).mean().item() == pytest.approx(TRL[kind], abs=1e-5)


def test_conservative_dpo_and_the_sft_term_are_what_trl_computes() -> None:
    assert dpo(label_smoothing=0.1).tolist() == pytest.approx(TRL["label_smoothing 0.1, a pair"], abs=1e-5)
    with_likelihood = dpo().mean() + 0.7 * -C.sum() / C_TOKENS.sum()
    assert with_likelihood.item() == pytest.approx(TRL["sigmoid + 0.7 sft"], abs=1e-5)


@pytest.mark.parametrize(
    ("name", "policy", "start"),
    [
        ("kto", (-5.0, -6.0, -7.0, -4.0, -3.0, -8.0), (-5.5, -6.2, -6.9, -4.4, -3.3, -8.0)),
        ("kto, divergence below 0", (-6.0, -6.0, -7.0, -4.0, -3.0, -8.0), (-5.5, -5.2, -6.9, -3.4, -3.3, -8.0)),
    ],
)
def test_kto_is_what_trl_computes(name: str, policy: tuple[float, ...], start: tuple[float, ...]) -> None:
    z = preference.kto_divergence(t(*policy), t(*start))
    loss = preference.kto(
        torch.cat([C, R]), torch.cat([REFERENCE_CHOSEN, REFERENCE_REJECTED]), torch.tensor([True] * 3 + [False] * 3),
        z, beta=0.3, desirable_weight=1.0, undesirable_weight=1.5,
    )  # fmt: skip
    assert (loss.mean().item(), z.item()) == pytest.approx(TRL[name], abs=1e-5)


def test_orpo_and_simpo_are_what_trl_computes() -> None:
    odds = 0.25 * preference.orpo(C, R, C_TOKENS, R_TOKENS)
    assert odds.tolist() == pytest.approx(TRL["orpo beta 0.25, a pair"], abs=1e-5)
    margin = preference.simpo(C, R, C_TOKENS, R_TOKENS, beta=2.0, gamma=0.5)
    assert margin.tolist() == pytest.approx(TRL["simpo beta 2 gamma 0.5, a pair"], abs=1e-5)


def test_dpo_by_hand() -> None:
    # Chosen gained 2 nats, rejected lost 1: h = 3. β = ln 9 / 3 makes σ(β h) = 9/10.
    chosen, rejected, zero = t(-1.0), t(-4.0), t(0.0)
    beta = math.log(9) / 3
    loss = preference.dpo(chosen, rejected, chosen - 2, rejected + 1, beta=beta)
    assert loss.item() == pytest.approx(-math.log(0.9))
    smooth = preference.dpo(chosen, rejected, chosen - 2, rejected + 1, beta=beta, label_smoothing=0.25)
    assert smooth.item() == pytest.approx(-0.75 * math.log(0.9) - 0.25 * math.log(0.1))
    assert preference.dpo(chosen, rejected, chosen - 2, rejected + 1, beta=0.25, kind="hinge").item() == 0.25
    # 2 nats over 4 tokens and -1 over 2: h' = 1; target 1/(2 · 0.25) = 2.
    ipo = preference.dpo(
        chosen, rejected, chosen - 2, rejected + 1, beta=0.25, kind="ipo", chosen_tokens=t(4), rejected_tokens=t(2)
    )
    assert ipo.item() == pytest.approx((1 - 2) ** 2)
    assert preference.dpo(zero, zero, zero, zero, beta=0.1).item() == pytest.approx(math.log(2))


def test_kto_by_hand() -> None:
    # β (gain - z) = 0.5 · (3 - 1) = 1 for both: the wanted reply is on the right side, the unwanted one on the wrong.
    loss = preference.kto(
        t(-2, -2), t(-5, -5), torch.tensor([True, False]), torch.tensor(1.0), beta=0.5, undesirable_weight=2.0
    )
    up = 1 / (1 + math.exp(-1))
    assert loss.tolist() == pytest.approx([1 - up, 2 * up])


def test_orpo_by_hand() -> None:
    # Mean token probabilities 3/4 and 1/2: odds 3 and 1, so σ(log 3) = 3/4.
    loss = preference.orpo(2 * torch.log(t(0.75)), 3 * torch.log(t(0.5)), t(2), t(3))
    assert loss.item() == pytest.approx(-math.log(0.75))
    certain = preference.orpo(t(0.0), t(-1.0), t(1), t(1))
    assert math.isfinite(certain.item())


def test_simpo_by_hand() -> None:
    # β (−1 − (−2)) − γ = 2 − 2 = 0.
    assert preference.simpo(t(-3), t(-4), t(3), t(2), beta=2.0, gamma=2.0).item() == pytest.approx(math.log(2))


def test_bradley_terry_by_hand() -> None:
    assert reward.bradley_terry(t(math.log(3)), t(0.0)).item() == pytest.approx(-math.log(0.75))
    assert reward.bradley_terry(t(2.0), t(1.0), margin=t(1.0)).item() == pytest.approx(math.log(2))


def test_plackett_luce_by_hand() -> None:
    # Worths 4, 2, 1 ranked in that order: 4/7 · 2/3.
    scores, ranks = torch.log(t(2.0, 4.0, 1.0)), torch.tensor([2, 1, 3])
    assert reward.plackett_luce(scores, ranks).item() == pytest.approx(-math.log(4 / 7 * 2 / 3))
    # 4 and 2 tied above 1: each beats 1, and they are not compared.
    tied = reward.plackett_luce(scores, torch.tensor([1, 1, 2]))
    assert tied.item() == pytest.approx(-math.log(4 / 5 * 2 / 3))
    assert reward.plackett_luce(scores, torch.tensor([1, 1, 1])).item() == 0


@given(st.lists(st.floats(-5, 5), min_size=2, max_size=2), st.floats(-3, 3))
@settings(max_examples=30, deadline=None)
def test_a_ranking_of_two_is_a_pair_and_no_score_has_an_origin(scores: list[float], shift: float) -> None:
    pair = reward.bradley_terry(t(scores[0]), t(scores[1]))
    ranked = reward.plackett_luce(t(*scores) + shift, torch.tensor([1, 2]))
    assert ranked.item() == pytest.approx(pair.item(), abs=1e-9)


@given(st.floats(-4, 4), st.floats(0.05, 2.0))
@settings(max_examples=30, deadline=None)
def test_dpo_pulls_chosen_up_and_rejected_down_by_as_much(lead: float, beta: float) -> None:
    chosen, rejected = t(lead).requires_grad_(), t(0.0).requires_grad_()
    preference.dpo(chosen, rejected, t(0.0), t(0.0), beta=beta).sum().backward()
    assert chosen.grad is not None and rejected.grad is not None
    # dL/dh = -β σ(-β h): the further the pair is learnt, the less it pulls.
    assert chosen.grad.item() == pytest.approx(-beta / (1 + math.exp(beta * lead)))
    assert rejected.grad.item() == pytest.approx(-chosen.grad.item())
