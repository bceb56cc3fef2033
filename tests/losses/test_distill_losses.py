"""The divergence between a student's and a teacher's distribution, against numbers worked by hand."""

from __future__ import annotations

import math

import pytest
import torch

from sodate.losses.distill import generalised_jsd

P, Q = torch.tensor([0.5, 0.5]).log(), torch.tensor([0.9, 0.1]).log()  # teacher, student


def test_the_ends_are_the_two_directions_of_kl() -> None:
    # KL(P ‖ Q) = 0.5 ln(0.5/0.9) + 0.5 ln(0.5/0.1) = 0.5 (-0.58779 + 1.60944) = 0.51083.
    assert float(generalised_jsd(Q, P, 0)) == pytest.approx(0.51083, abs=1e-5)
    # KL(Q ‖ P) = 0.9 ln 1.8 + 0.1 ln 0.2 = 0.52901 - 0.16094 = 0.36806.
    assert float(generalised_jsd(Q, P, 1)) == pytest.approx(0.36806, abs=1e-5)


def test_the_middle_is_the_jensen_shannon_divergence() -> None:
    # M = (0.7, 0.3): 0.5 (0.5 ln(5/7) + 0.5 ln(5/3)) + 0.5 (0.9 ln(9/7) + 0.1 ln(1/3)) = 0.04359 + 0.05816.
    assert float(generalised_jsd(Q, P, 0.5)) == pytest.approx(0.10175, abs=1e-5)
    assert float(generalised_jsd(P, P, 0.3)) == pytest.approx(0, abs=1e-7)


def test_divided_by_beta_it_goes_to_the_ends() -> None:
    assert float(generalised_jsd(Q, P, 1e-4)) / 1e-4 == pytest.approx(0.51083, abs=1e-2)
    assert float(generalised_jsd(Q, P, 1 - 1e-4)) / 1e-4 == pytest.approx(0.36806, abs=1e-2)


def test_what_has_no_probability_adds_nothing_and_the_gradient_is_the_students() -> None:
    student = torch.zeros(3, requires_grad=True)
    sure = torch.tensor([0.0, -math.inf, -math.inf])
    loss = generalised_jsd(student.log_softmax(-1), sure, 0)
    loss.backward()
    assert float(loss.detach()) == pytest.approx(math.log(3), abs=1e-6)
    assert student.grad is not None and student.grad.tolist() == pytest.approx([-2 / 3, 1 / 3, 1 / 3], abs=1e-6)
