"""What pages say: counts and states in words, and nothing in one language that its reader did not choose."""

from __future__ import annotations

import json
from typing import Any

import pytest

from sodate.api.ladders import measured_ladder
from sodate.core import home
from sodate.core.recipe import METHODS
from sodate.core.text import en, ja, reading_in, tr
from sodate.data import pii
from sodate.data.codes import CODES
from sodate.release.gate import Held, reason
from sodate.serve.pages import row_words, words


def test_one_of_a_thing_is_one() -> None:
    with reading_in("en"):
        assert words.counted(1, "report", "reports", "評価レポート {} 件") == "1 report"
        assert words.counted(1200, "report", "reports", "評価レポート {} 件") == "1,200 reports"
    with reading_in("ja"):
        assert words.counted(1, "report", "reports", "評価レポート {} 件") == "評価レポート 1 件"


def test_a_run_says_what_is_left_and_that_it_is_finishing_after_its_last_step() -> None:
    with reading_in("en"):
        assert words.left({"step": 3, "steps": 9, "seconds_left": 130.0}) == "about 2 min left"
        assert words.left({"step": 9, "steps": 9, "seconds_left": 0.0}) == "all steps done, finishing"
        assert words.left({"step": 3, "steps": 9, "seconds_left": None}) == ""


def test_every_code_of_the_ledger_and_kind_of_personal_data_has_a_name_in_both_languages() -> None:
    assert set(row_words.CODES) == set(CODES)
    assert {code.removeprefix("pii-") for code in CODES if code.startswith("pii-")} == set(row_words.PERSONAL)
    for name in (*row_words.CODES.values(), *row_words.PERSONAL.values()):
        assert name.en and name.ja and len(name.en) <= 26 and len(name.ja) <= 13
    found = pii.find("090-1234-5678")
    assert [row_words.PERSONAL[one.kind].en for one in found] == ["phone number"]


def test_every_method_is_called_something_beside_its_name() -> None:
    for method in METHODS:
        assert words.method_word(method).endswith(f"({method})")
    assert words.method_word(None) == "–" and words.method_word("other") == "other"


def test_a_gate_is_kept_with_its_reasons_in_both_languages() -> None:
    kept = json.loads(json.dumps(Held("target", "exact", 0.2, None, True, tr("better", "改善")).to_json()))
    assert (en(reason(kept)), ja(reason(kept))) == ("better", "改善")
    assert reason({"why": "as it was kept before"}) == "as it was kept before"


@pytest.mark.parametrize(("language", "because"), [("en", "the cheapest"), ("ja", "最も安い")])
def test_a_ladder_is_read_in_another_language_than_it_was_measured_in(
    language: Any, because: str, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SODATE_HOME", str(tmp_path))
    about = {
        "schema_version": 1, "rungs": [{"name": "prompt", "label": "a prompt"}], "because": "the cheapest",
        "said": {"the cheapest": ["the cheapest", "最も安い"]}, "stopped": None,
    }  # fmt: skip
    path = home.ladders_dir() / "support" / "result.json"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps(about))
    with reading_in(language):
        told = measured_ladder("support")
        assert str(told["because"]) == because and told["rungs"][0]["label"] == "a prompt"
