"""Numbers side by side: one finding must not hide the next."""

from __future__ import annotations

import pytest

from sodate.data.pii import find

CARD = "4111 1111 1111 1111"


@pytest.mark.parametrize(
    ("phone", "between"),
    [("090-1234-5678", " "), ("090 1234 5678", " "), ("+81 90-1234-5678", " "), ("03-1234-5678", "、")],
)
def test_a_card_beside_a_phone_number_and_the_phone_number_are_both_found(phone: str, between: str) -> None:
    assert [(f.kind, f.text) for f in find(f"{phone}{between}{CARD}")] == [("phone", phone), ("card", CARD)]
    assert [(f.kind, f.text) for f in find(f"{CARD}{between}{phone}")] == [("card", CARD), ("phone", phone)]
