"""What counts as the same answers: figures worked by hand, and each way in which an export can differ."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from sodate.api import agreement
from sodate.api.agreement import Bound, Own, compare, divergence
from sodate.core.errors import SodateError
from sodate.core.types import Message
from sodate.release.references import REFERENCES
from sodate.render.renderer import Renderer
from tests import tiny

LOOSE = Bound(kl_mean=1.0, kl_max=1.0, gap=0.5)


def logs(*rows: list[float]) -> Any:
    return np.log(np.array(rows, np.float64)).astype(np.float32)


def test_divergence_is_the_sum_of_p_log_p_over_q() -> None:
    found = divergence(logs([0.5, 0.25, 0.25], [0.2, 0.3, 0.5]), logs([0.25, 0.5, 0.25], [0.2, 0.3, 0.5]))
    by_hand = 0.5 * math.log(2) + 0.25 * math.log(0.5)
    assert found == pytest.approx([by_hand, 0.0], abs=1e-6)


def test_what_an_engine_did_not_tell_is_left_out_on_either_side() -> None:
    """Of (½, ⅜, ⅛) the last is not told, of which p = (0.6, 0.396, 0.004) has next to nothing."""
    told = logs([0.5, 0.375, 0.125])
    told[0, 2] = np.nan
    p, q = (0.6 / 0.996, 0.396 / 0.996), (0.5 / 0.875, 0.375 / 0.875)
    by_hand = sum(a * math.log(a / b) for a, b in zip(p, q, strict=True))
    assert divergence(logs([0.6, 0.396, 0.004]), told) == pytest.approx([by_hand], abs=1e-6)


def test_an_engine_whose_likeliest_tokens_are_others_is_infinitely_far() -> None:
    told = logs([0.5, 0.375, 0.125])
    told[0, 2] = np.nan
    assert divergence(logs([0.5, 0.3, 0.2]), told) == [math.inf]


def test_log_probabilities_that_sum_to_more_than_one_are_brought_back() -> None:
    """llama.cpp adds up 49,152 of them in float32 and is a ten-thousandth off."""
    same = logs([0.5, 0.25, 0.25])
    assert divergence(same, same + np.float32(1e-4))[0] < 1e-9


def test_what_cannot_follow_at_all_diverges_by_nothing() -> None:
    """A token of probability 0 here adds nothing, whatever the other thinks of it."""
    with np.errstate(divide="ignore"):
        assert divergence(logs([1.0, 0.0]), logs([1.0, 0.0]))[0] < 1e-6


OWN = Own(
    asked=[], prompts=[[5, 6], [5, 7]], replies=[[8, 9, 2], [8, 8, 8]], places=[[5, 6]] * 4,
    log_probabilities=logs(*[[0.5, 0.25, 0.25]] * 4), stops=(2, 3),
    control=frozenset([4]),
)  # fmt: skip
SAME = {"ids": [[5, 6], [5, 7]], "replies": [[8, 9, 2], [8, 8, 8]], "stops": [True, True]}


def test_the_same_answers_agree_and_it_is_said_how_many_ended() -> None:
    found = compare(OWN, None, SAME, OWN.log_probabilities, LOOSE)
    assert found["token_ids"] is True and found["stops"] is True and found["greedy_equal"] == 1.0
    assert (found["kl_mean"], found["kl_max"], found["ended"], found["places"]) == (0.0, 0.0, 1, 4)


def test_any_token_that_ends_a_reply_ends_it() -> None:
    answers = SAME | {"replies": [[8, 9, 3], [8, 8, 8]]}
    assert compare(OWN, None, answers, OWN.log_probabilities, LOOSE)["greedy_equal"] == 1.0


def test_an_engine_that_ends_at_a_control_token_of_another_template_agrees_up_to_there() -> None:
    """llama.cpp counts <|eot_id|> and its like as ends wherever it meets their names."""
    own = replace(OWN, replies=[[8, 4, 7], [8, 8, 8]])
    answers = SAME | {"replies": [[8, 4], [8, 8, 8]]}
    assert compare(own, None, answers, own.log_probabilities, LOOSE)["greedy_equal"] == 1.0


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"ids": [[5, 6], [5, 4, 7]]}, r"conversation 2 has other token ids from place 1 on: \[7\] here, \[4, 7\]"),
        ({"ids": [[5, 6, 6], [5, 7]]}, "conversation 1 has other token ids from place 2 on"),
        ({"stops": [True, False]}, "token 3 ends a reply here and not there"),
        ({"replies": [[8, 9, 9], [8, 8, 8]]}, "conversation 1 parts at a token that is 0.69 nats less likely"),
        ({"replies": [[8, 9], [8, 8, 8]]}, "conversation 1 parts at a token that is inf nats less likely"),
    ],
)
def test_each_difference_is_an_error_that_names_it(
    change: dict[str, Any], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    from sodate.generate import scoring

    def half_as_likely(merged: Any, rows: Any) -> Any:
        assert rows == [[5, 6, 8, 9]]
        told = torch.full((1, 10), -5.0)
        told[0, 2], told[0, 9] = math.log(0.5), math.log(0.25)
        return told

    monkeypatch.setattr(scoring, "following", half_as_likely)
    with pytest.raises(SodateError, match=said) as caught:
        compare(OWN, None, SAME | change, OWN.log_probabilities, LOOSE)
    assert caught.value.code == "export_differs"


def test_a_distribution_beyond_the_bound_of_its_format_is_refused() -> None:
    far = logs(*[[0.25, 0.5, 0.25]] * 4)
    with pytest.raises(SodateError, match=r"KL of the next token is 0.17, 0.17 nats .* bound is 0.1, 1"):
        compare(OWN, None, SAME, far, replace(LOOSE, kl_mean=0.1))


@pytest.mark.parametrize("name", sorted(tiny.TEMPLATES))
def test_there_are_twenty_conversations_for_every_template(name: str) -> None:
    """Whatever a template lacks, a system role or tools, is said in its own way; long ones are cut to what fits."""
    renderer = Renderer(tiny.tokenizer(), tiny.TEMPLATES[name], bos_token="<bos>", eos_token="<eos>")
    found = agreement.conversations(renderer, 600)
    lengths = [len(renderer.prompt(one.messages, one.tools)) for one in found]
    assert len(found) == 20 and max(lengths) + agreement.REPLY <= 600
    whole = agreement.conversations(renderer, 100_000)
    assert [one.messages for one in whole] == [one.messages for one in REFERENCES]


def test_a_model_that_reads_next_to_nothing_is_refused() -> None:
    renderer = Renderer(tiny.tokenizer(), tiny.CHATML, bos_token="<bos>", eos_token="<eos>")
    with pytest.raises(SodateError, match="reads 40 tokens: too few"):
        agreement.conversations(renderer, 40)


def test_turns_are_given_to_other_programs_as_they_are() -> None:
    """Nothing of the guard that keeps text from forging a turn is left in them."""
    renderer = Renderer(tiny.tokenizer(), tiny.CHATML, bos_token="<bos>", eos_token="<eos>")
    turns, tools = renderer.given([Message("user", "a <|im_end|> b")])
    assert turns == [{"role": "user", "content": "a <|im_end|> b"}] and tools is None
