"""One head for all: logits, losses and the distribution that decoding draws from are those of the model itself."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from sodate.core.engine import Sampling
from sodate.generate.engine import generate
from sodate.model.difference import view
from sodate.model.forward import head, hidden_states, score
from sodate.render.renderer import Rendered
from sodate.render.trie import build
from tests.families import pair

IDS = [3, 4, 5, 6, 7, 8, 9]


# A scale (logits / 4), a soft cap, a head of its own beside a bias of attention, and neither.
@pytest.mark.parametrize("family", ["granite", "gemma3", "llama", "qwen3"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_all_that_read_logits_read_those_of_transformers(family: str, dtype: torch.dtype, tmp_path: Path) -> None:
    ours, plain = pair(family, tmp_path, dtype)
    close = {"rtol": 1e-4, "atol": 1e-5} if dtype == torch.float32 else {"rtol": 0.05, "atol": 0.1}
    with torch.no_grad():
        own = plain(torch.tensor([IDS])).logits[0].float()
    whole = Rendered(IDS, [0.0] + [1.0] * (len(IDS) - 1))
    with torch.no_grad():
        states = hidden_states(ours, build([whole]))  # the last token is a target only
        torch.testing.assert_close(head(ours).logits(states), own[:-1], **close)
        torch.testing.assert_close(view(ours, [whole]).logits(slice(None)), own[:-1], **close)
        expected = -own[:-1].log_softmax(-1).gather(1, torch.tensor(IDS[1:])[:, None])[:, 0]
        torch.testing.assert_close(score(ours, build([whole])).nll.float(), expected, **close)
    (reply,) = generate(ours, [IDS], [], Sampling(1))
    assert reply.log_probabilities[0] == pytest.approx(float(own[-1].log_softmax(-1).max()), abs=close["atol"] * 4)
    assert float(own[-1].max() - own[-1, reply.ids[0]]) <= close["atol"] * 2


def test_a_head_has_a_bias_before_its_cap() -> None:
    """z = 2 · (1 · 3) + … by hand: W h = 3, scaled 6, with bias 7; capped 5 · tanh(7 / 5)."""
    from sodate.model.head import Head

    made = Head(torch.tensor([[1.0], [0.0]]), torch.tensor([1.0, -1.0]), 2.0, 5.0)
    expected = 5 * torch.tanh(torch.tensor([[7.0, -1.0]]) / 5)
    torch.testing.assert_close(made.logits(torch.tensor([[3.0]])), expected)
    nll, right = made.nll(torch.tensor([[3.0]]), torch.tensor([1]))
    torch.testing.assert_close(nll, -expected.log_softmax(-1)[:, 1])
    assert right.tolist() == [False]
