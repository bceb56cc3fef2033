"""A candidate is asked what was asked before, and its replies are graded beside those that were served."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from sodate.core.errors import SodateError
from sodate.learn import feedback, proposing, recording, replay
from sodate.learn.replay import replay as replayed
from tests.learn.made import exchange, keep


@pytest.fixture
def answers(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """What the candidate says, by the question; "Two days." to any other."""
    said: dict[str, str] = {}

    def replies(model: str, asked: Sequence[Any], **_: Any) -> list[dict[str, Any]]:
        return [{"replies": [said.get(one.messages[-1].content, "Two days.")]} for one in asked]

    monkeypatch.setattr(replay, "replies", replies)
    monkeypatch.setattr(proposing, "replies", replies)
    return said


def test_differences_are_graded_and_what_got_worse_comes_first(home: Path, answers: dict[str, str]) -> None:
    recording.change("default", {"mode": "on", "graders": ("banned_words:guarantee",)})
    keep(*(exchange(f"chatcmpl-{n}", f"Question {n}?") for n in range(4)))
    keep(exchange("chatcmpl-bad", "Broken?", "We guarantee it."), exchange("chatcmpl-idk", "Unsure?", "I don't know."))
    feedback.give("chatcmpl-3", correction="Three days, in winter four.")
    answers |= {"Question 1?": "I guarantee two days.", "Question 2?": "I don't know.", "Broken?": "We hope so.",
                "Question 3?": "Three days, in winter five."}  # fmt: skip
    told = replayed("orders@2")
    assert (told["n"], told["same"], told["changed"]) == (6, 1, 5)
    words = told["graders"]["banned_words:guarantee"]
    assert (words["n"], words["better"], words["worse"]) == (6, 1, 1)
    assert words["ci"][0] < 0 < words["ci"][1]
    knows = told["graders"]["abstained"]
    assert (knows["better"], knows["worse"]) == (1, 1)
    nearer = told["graders"]["corrected"]
    assert (nearer["n"], nearer["better"], nearer["worse"]) == (1, 1, 0)
    assert {one["id"] for one in told["differences"][:2]} == {"chatcmpl-1", "chatcmpl-2"}


def test_a_fair_share_is_asked_and_nothing_of_another_project(home: Path, answers: dict[str, str]) -> None:
    keep(*(exchange(f"chatcmpl-{n}", f"Question {n}?") for n in range(50)), exchange("chatcmpl-s", project="shop"))
    first, again = replayed("orders@2", limit=10), replayed("orders@2", limit=10)
    assert first == again and first["n"] == 10
    with pytest.raises(SodateError) as refused:
        replayed("orders@2", "nobody")
    assert refused.value.code == "no_rows"


def test_a_model_proposes_and_nobody_is_asked_where_nothing_waits(home: Path, answers: dict[str, str]) -> None:
    from sodate.learn import review

    keep(exchange("chatcmpl-1", "Question?"))
    (item,) = proposing.proposed(review.queue("aoki"), "big@1")
    assert (item["proposal"], item["proposed_by"]) == ("Two days.", "big@1")
    assert proposing.proposed([], "big@1") == []
