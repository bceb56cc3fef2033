"""What is wrong with a value, told by the field's own name, whatever forms it may have."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import pytest
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from sodate.core.complaints import complaint, in_file
from sodate.core.text import Sentence, ja
from sodate.grade.rules import Rules


class Part(BaseModel):
    model_config = ConfigDict(strict=True)
    type: str


class Turn(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid")
    content: str | list[Part]
    stop: str | list[str] | None = None
    epochs: Annotated[int, Field(ge=1)] | Literal["auto"] = "auto"
    shown: Literal[False] = False
    rate: float = Field(1.0, le=2, allow_inf_nan=False)


class Talk(BaseModel):
    turns: list[Turn] = Field(min_length=1)


def said(given: dict[str, Any]) -> tuple[str, str, str | None]:
    with pytest.raises(ValidationError) as caught:
        Talk.model_validate(given)
    return complaint(caught.value.errors(), given)


@pytest.mark.parametrize(
    ("turn", "param", "english"),
    [
        ({"content": 5}, "turns[0].content", "it must be a string or a list"),
        ({"content": [{"type": "a"}, {"type": 5}]}, "turns[0].content[1].type", "it must be a string"),
        ({"content": "x", "stop": ["a", None]}, "turns[0].stop[1]", "it must be a string"),
        ({"content": "x", "epochs": 0}, "turns[0].epochs", "it must be at least 1"),
        ({"content": "x", "epochs": "many"}, "turns[0].epochs", "it must be a whole number or 'auto'"),
        ({"content": "x", "shown": True}, "turns[0].shown", "it must be false"),
        ({"content": "x", "rate": 3}, "turns[0].rate", "it must be at most 2"),
        ({"content": "x", "rate": float("inf")}, "turns[0].rate", "it must be a finite number"),
    ],
)
def test_a_wrong_value_is_named_as_it_stands_in_the_request(turn: dict[str, Any], param: str, english: str) -> None:
    sentence, code, named = said({"turns": [turn]})
    assert (code, named) == ("invalid_value", param)
    assert isinstance(sentence, Sentence)
    assert sentence.en == f"Invalid value for {param}: {english}."
    assert "must" not in sentence.ja and param in sentence.ja


def test_what_is_missing_unknown_or_empty_is_named() -> None:
    assert said({})[1:] == ("missing_parameter", "turns")
    assert said({"turns": [{}]})[1:] == ("missing_parameter", "turns[0].content")
    assert said({"turns": [{"content": [{}]}]})[1:] == ("missing_parameter", "turns[0].content[0].type")
    assert said({"turns": [{"content": "x", "odd": 1}]})[1:] == ("unknown_parameter", "turns[0].odd")
    assert said({"turns": []})[0] == "Invalid value for turns: it is empty."


def test_the_name_of_what_holds_it_stands_before() -> None:
    given = {"turns": [{"content": 5}]}
    with pytest.raises(ValidationError) as caught:
        Talk.model_validate(given)
    assert complaint(caught.value.errors(), given, "grader")[2] == "grader.turns[0].content"


def test_a_file_that_a_person_wrote_has_keys_and_no_request() -> None:
    def said(given: object) -> Sentence:
        with pytest.raises(ValidationError) as wrong:
            Rules.model_validate(given)
        return in_file(wrong.value.errors(), given)

    assert said({"rules": [{"kind": "length", "least": 3}]}) == "Unknown key rules[0].least."
    assert ja(said({"rules": [{"kind": "length", "least": 3}]})) == "知らないキーです: rules[0].least"
    assert said({"rules": [{"kind": "sections"}]}) == "rules[0].sections is missing."
    assert "rules[0].sections[0].any_of[0]:" in said(
        {"rules": [{"kind": "sections", "sections": [{"name": "a", "any_of": [" "]}]}]}  # the kind has the key's name
    )
    assert said([]) == "It must be an object."
