"""Probabilities of options as branches below a prompt, beside writing every option out and scoring it alone."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from sodate.generate import branches, scoring
from sodate.generate.branches import likelihoods
from sodate.model import forward, traits
from sodate.model.load import load_base
from tests.families import make
from tests.generate.test_versions import ready

STOP = 2
# Common beginnings, one within another up to the stop token, an option of one token, and single ways of some tokens.
OPTIONS = [[40, STOP], [40, 41, STOP], [40, 41, 42, 43, STOP], [40, 30, 31, STOP], [32, 33, 34, 35, STOP], [39, STOP]]
LONG = [3 + n % 36 for n in range(40)]
# One of them twice, two that others go on from, and two that fill their blocks.
PROMPTS = [
    LONG,
    LONG[:20],
    [*LONG[:20], 0, 7],
    [5, 6, 7, 8, 9, 10, 11, 12, 13, 14],
    [5, 6, 7, 8, 9, 10, 11, 12, 13, 15, 16],
    [30, 31],
    LONG,
    LONG[:16],
    LONG[3:35],
]


def alone(model: Any, prompt: list[int], option: list[int]) -> float:
    """The sum of log-probabilities by transformers itself."""
    with torch.no_grad():
        logits = model(input_ids=torch.tensor([[*prompt, *option]])).logits[0].double()
    logp = torch.log_softmax(logits, -1)
    return sum(float(logp[len(prompt) - 1 + k, token]) for k, token in enumerate(option))


@pytest.fixture(scope="module", params=["llama", "gemma3"])
def models(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Any]:
    """A model as transformers has it, and as it decodes here; gemma3 has sliding windows."""
    folder = tmp_path_factory.mktemp(request.param)
    plain = make(request.param).eval()
    plain.save_pretrained(folder)
    return plain, ready(load_base(folder, device=torch.device("cpu"), dtype=torch.float32))


@pytest.mark.parametrize("tokens", [4096, 12])
def test_likelihoods_are_those_of_every_option_written_out(
    models: tuple[Any, Any], tokens: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(branches, "TOKENS", tokens)
    plain, model = models
    for prompt, found in zip(PROMPTS, likelihoods(model, PROMPTS, OPTIONS), strict=True):
        assert found.exact == [True] * len(OPTIONS)
        assert found.logp == pytest.approx([alone(plain, prompt, option) for option in OPTIONS], abs=2e-4)


def test_a_beginning_below_the_floor_is_a_bound_and_the_rest_stays_exact(models: tuple[Any, Any]) -> None:
    _, model = models
    weight, floor = forward.head(model).weight, 1e-3
    with torch.no_grad():
        weight *= 20  # a model that is sure of itself
    exact, found = likelihoods(model, PROMPTS, OPTIONS), likelihoods(model, PROMPTS, OPTIONS, floor)
    with torch.no_grad():
        weight /= 20
    assert any(not known for one in found for known in one.exact)
    for truth, one in zip(exact, found, strict=True):
        total = math.log(sum(map(math.exp, truth.logp)))
        for true, value, known in zip(truth.logp, one.logp, one.exact, strict=True):
            assert not known or value == pytest.approx(true, abs=1e-3)
        # What was left has together no more than it is given, and nothing with the floor of all or more was left.
        left = [n for n, known in enumerate(one.exact) if not known]
        assert sum(math.exp(truth.logp[n]) for n in left) <= sum(math.exp(one.logp[n]) for n in left) + 1e-9
        assert all(truth.logp[n] - total < math.log(floor) for n in left)


def test_an_architecture_without_shared_prefixes_gives_the_same(
    models: tuple[Any, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    plain, _ = models
    monkeypatch.setattr(traits, "of", lambda model: traits.Traits(False))
    found = likelihoods(plain, PROMPTS[3:5], OPTIONS)
    assert found[1].logp == pytest.approx([alone(plain, PROMPTS[4], option) for option in OPTIONS], abs=2e-4)


def test_an_ending_has_the_probability_that_transformers_gives_it(models: tuple[Any, Any]) -> None:
    plain, model = models
    rows = [(LONG, [40, 41, 42]), (LONG[:20], [30, 31]), ([5, 6, 7], [8]), (LONG, [9])]
    found = scoring.ending(model, rows)
    assert found == pytest.approx([alone(plain, begin, end) for begin, end in rows], abs=1e-4)
