"""How sure a reply is: its tokens' probabilities, as a whole and in the places of JSON fields."""

from __future__ import annotations

import math

import pytest

from sodate.evaluate import confidence


def test_a_reply_is_as_sure_as_its_tokens_on_average() -> None:
    assert confidence.of_reply([math.log(0.9), math.log(0.4)]) == pytest.approx(0.6)  # √(.9 · .4)
    assert confidence.of_reply([]) == 0


def test_a_field_is_as_sure_as_the_tokens_its_value_lies_in() -> None:
    pieces = [b'{"customer": "', "東".encode(), "京".encode()[:2], "京".encode()[2:], b'", "n', b'": 1', b"2}"]
    logs = [math.log(p) for p in (0.5, 0.8, 0.9, 0.9, 0.7, 0.6, 0.3)]
    found = confidence.of_fields(pieces, logs)
    assert found == pytest.approx({"customer": 0.5 * 0.8 * 0.9 * 0.9 * 0.7, "n": 0.6 * 0.3})


def test_fields_within_objects_are_named_and_lists_are_values() -> None:
    text = '{"a": "x,}", "b": {"c": 1, "d": [1, {"e": 2}]} , "f":null, "g": {}}'
    assert {name: text[a:b] for name, (a, b) in confidence.spans(text).items()} == {
        "a": '"x,}"', "b.c": "1", "b.d": '[1, {"e": 2}]', "f": "null"
    }  # fmt: skip
    assert confidence.values('{"b": {"y": [1,  2]}, "a": "\\u6771"}') == {"b.y": "[1, 2]", "a": '"東"'}


@pytest.mark.parametrize("text", ["", "no JSON", "[1, 2]", '{"a": 1', '{"a": 1} and more', "{" * 3000])
def test_what_is_no_object_has_no_fields(text: str) -> None:
    assert confidence.of_fields([text.encode()], [-0.1]) == {}
