"""Sentences are made once and read by whom they reach, each in his language."""

from __future__ import annotations

import copy
import pickle
from concurrent.futures import ThreadPoolExecutor

import pytest

from sodate.core.errors import SodateError, UsageError
from sodate.core.text import Sentence, en, ja, language, reading_in, said_by, tr
from sodate.data.ledger import Problem


def made() -> SodateError:
    what = tr("training data", "学習データ")
    why = tr("; ", "、").join([tr("it shrank", "短くなりました"), "orders.jsonl"])
    return SodateError(
        tr(f"The {en(what)} changed: {en(why)}.", f"{ja(what)}が変わりました: {ja(why)}"),
        tr("Start a new run.", "新しく実行してください。"),
        code="changed", param="data", file="orders.jsonl", line=3,
    )  # fmt: skip


def test_one_error_is_read_in_both_languages_with_the_sentences_inside_it() -> None:
    error = made()
    with reading_in("ja"):
        assert str(error) == "学習データが変わりました: 短くなりました、orders.jsonl\n  新しく実行してください。"
        assert error.to_json()["message"] == "学習データが変わりました: 短くなりました、orders.jsonl"
    with reading_in("en"):
        assert str(error) == "The training data changed: it shrank; orders.jsonl.\n  Start a new run."
        assert error.to_json() == {
            "code": "changed", "message": "The training data changed: it shrank; orders.jsonl.",
            "fix": "Start a new run.", "param": "data", "file": "orders.jsonl", "line": 3,
        }  # fmt: skip


def test_the_reader_of_a_request_comes_before_the_process_and_only_within_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SODATE_LANG", "ja")
    with reading_in("en"):
        assert language() == "en"
        with ThreadPoolExecutor(1) as other:  # another request's thread has its own reader
            assert other.submit(language).result() == "ja"
    assert language() == "ja"


def test_what_adds_joins_and_fills_in_keeps_both_languages() -> None:
    part = tr("a list", "リスト")
    for sentence, english, japanese in (
        ("x: " + part, "x: a list", "x: リスト"),
        (part + "!", "a list!", "リスト!"),
        (tr("{0}, not {n}", "{0}、{n} ではなく").format(part, n=3), "a list, not 3", "リスト、3 ではなく"),
        (tr(", ", "、").join([part, "b"]), "a list, b", "リスト、b"),
        (copy.deepcopy(part), "a list", "リスト"),
        (pickle.loads(pickle.dumps(part)), "a list", "リスト"),
    ):  # fmt: skip
        assert isinstance(sentence, Sentence) and (sentence.en, sentence.ja) == (english, japanese)


def test_the_ledger_fills_in_what_a_row_says_in_the_readers_language() -> None:
    problem = Problem("a.jsonl", 1, "not-an-object", (tr("a list", "リスト"),))
    with reading_in("ja"):
        assert "ここにあるのは リスト です" in problem.message.ja and str(problem.message).endswith("リスト です。")
    assert str(problem.message).endswith("but this is a list.")


def test_an_exception_of_python_says_both_if_it_was_raised_so() -> None:
    assert said_by(ValueError(tr("no", "いいえ"))) == "no" and ja(said_by(ValueError(tr("no", "いいえ")))) == "いいえ"
    assert said_by(KeyError("x")) == "'x'"


def test_a_code_is_of_the_class_unless_a_better_one_is_given() -> None:
    assert (SodateError("x").code, UsageError("x").code, UsageError("x", code="unknown_key").code) == (
        "failed", "usage", "unknown_key",
    )  # fmt: skip
    assert (SodateError("x").exit_code, UsageError("x").exit_code) == (1, 2)
