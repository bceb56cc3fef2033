"""What `data check` and `data show` draw."""

from __future__ import annotations

import pytest

from sodate.api.data import ShownPiece, ShownRow, ShownSequence
from sodate.terminal import data


@pytest.mark.parametrize(
    ("seconds", "english"), [(0.2, "1 s"), (89, "89 s"), (100, "2 min"), (1800, "30 min"), (9000, "2.5 h")]
)
def test_durations_are_said_roughly(seconds: float, english: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SODATE_LANG", "en")
    assert data.duration(seconds) == english


def test_rows_are_drawn_with_their_place_and_what_is_wrong(capsys: pytest.CaptureFixture[str]) -> None:
    pieces = (ShownPiece("User: hi\x1b[2J ", False), ShownPiece("[bold]Hello", True))
    whole = ShownRow("a[b].jsonl", 3, (ShownSequence(7, 2, pieces),))
    data.print_rows([whole, ShownRow("a.jsonl", 4, problem="cut off")])
    shown = capsys.readouterr().out
    assert shown == "a[b].jsonl:3  7 tokens, 2 trained\nUser: hi\\x1b[2J [bold]Hello\na.jsonl:4 cut off\n"
