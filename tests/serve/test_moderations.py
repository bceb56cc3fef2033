"""/v1/moderations by rules, and what is not there yet."""

from __future__ import annotations

from typing import Any

import openai
import pytest

from sodate.api.moderation import PHRASES, moderate
from tests.serve.running import Running


def test_the_client_gets_a_result_for_each_text_and_a_score_that_is_0_or_1(served: Running) -> None:
    answer = served.client().moderations.create(input=["Where is my parcel?", "I WILL  kill you!"])
    assert answer.model == "sodate-rules-1"
    assert [one.flagged for one in answer.results] == [False, True]
    assert answer.results[1].categories.harassment_threatening
    assert answer.results[1].category_scores.harassment_threatening == 1.0
    assert not answer.results[1].categories.self_harm
    parts = served.client().moderations.create(input=[{"type": "text", "text": "死にたい"}], model="omni-latest")
    assert [one.categories.self_harm_intent for one in parts.results] == [True]


def test_every_category_of_the_client_is_there_and_says_what_it_found(served: Running) -> None:
    (result,) = served.http().post("/v1/moderations", json={"input": "ぶっ殺す"}).json()["results"]
    assert set(result["categories"]) == set(result["category_scores"]) == set(PHRASES)
    wanted = {field.alias or name for name, field in openai.types.moderation.Categories.model_fields.items()}
    assert set(result["categories"]) == wanted
    assert result["found"] == {"harassment/threatening": ["ぶっ殺す"], "violence": ["ぶっ殺す"]}


@pytest.mark.parametrize(
    ("text", "category"),
    [("How to  make a BOMB?", "illicit/violent"), ("ﾘｽﾄｶｯﾄ", "self-harm"), ("all those people are vermin", "hate"),
     ("i’ll kill you", "harassment/threatening"), ("死\u200bね", "harassment")],
)  # fmt: skip
def test_phrases_are_found_however_they_are_written(text: str, category: str) -> None:
    assert moderate(text)[category]


@pytest.mark.parametrize("text", ["skill your team", "The bomb was defused.", "", "死ぬほど忙しい"])
def test_words_within_other_words_and_plain_talk_are_not_flagged(text: str) -> None:
    assert not any(moderate(text).values())


@pytest.mark.parametrize(
    "body", [{}, {"input": []}, {"input": [{"type": "image_url", "image_url": {"url": "x"}}]}, {"input": 3}]
)
def test_what_is_no_text_is_a_400(served: Running, body: dict[str, Any]) -> None:
    assert served.http().post("/v1/moderations", json=body).status_code == 400
