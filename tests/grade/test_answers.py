"""Graders of answers: numbers, lengths, honesty."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from sodate.core.errors import SodateError, UsageError
from sodate.core.types import TaskItem
from sodate.data import tasks
from sodate.data.check import check
from sodate.grade import parse_grader


@pytest.mark.parametrize(("reply", "reference", "score"), [
    ("12", "12", 1), ("7 + 5 = 12.", "12", 1), ("12 - no, 13", "12", 0), ("-4", "4", 0), ("１２", "12", 1),
    ("1,234.50", "1234.5", 1), ("twelve", "12", 0), ("", "0", 0), ("v12", "12", 0), ("3.10", "3.1", 1),
    # A dot before a number: an ellipsis, an abbreviation, a full stop, a decimal point.
    ("答えは…42", "42", 1), ("Rs.500", "500", 1), ("No.12", "12", 1), ("答え.5", "5", 1), ("Rs.1,000.50", "1000.5", 1),
    (".5", "0.5", 1), ("x = -.5", "-0.5", 1), ("1.2.3", "1.2", 0), ("v1.2.3", "3", 0), ("2024.05.01", "2024.05", 0),
    # Powers and fractions are neither numbers of more digits nor their first digits.
    ("10²", "102", 0), ("10²", "10", 0), ("100 = 10²", "100", 1), ("25 m²", "25", 1), ("10⁻³", "3", 0), ("2½", "2", 0),
])  # fmt: skip
def test_the_last_number_counts(reply: str, reference: str, score: float) -> None:
    assert parse_grader("number")(reply, reference, {}).score == score


def test_a_reference_without_a_number_is_an_error() -> None:
    with pytest.raises(SodateError, match="has none"):
        parse_grader("number")("12", "twelve", {})


def test_a_number_of_endless_digits_is_read_in_reasonable_time() -> None:
    started = time.monotonic()
    assert parse_grader("number")("7" * 300_000 + " 12", "12", {}).score == 1
    assert time.monotonic() - started < 2


def test_length_falls_in_proportion_outside_its_range() -> None:
    grader = parse_grader("length:min=4,max=8")
    assert [grader("x" * n, None, {}).score for n in (0, 2, 4, 8, 16)] == [0, 0.5, 1, 1, 0.5]


@pytest.mark.parametrize(("reply", "reference", "value"), [
    ("You have 14 days.", "14 days", 1), ("I don’t know.", "14 days", 0.3), ("30 days", "14 days", -1),
    ("I don't know.", "", 1), ("Yes, we do.", "", -1), ("すみません、わかりません。", "", 1), ("", "14 days", -1),
    ("14 days", "4 days", -1), ("8:30.", "8:30", 1), ("8:305", "8:30", -1), ("1.5 kg", "5 kg", -1), ("５日", "5日", 1),
    ("It is covered.", "red", -1), ("RED!", "red", 1), ("5,000 euros", "5", -1), ("¥500", "¥500", 1),
    ("14日です", "14日", 1),
    # A number is the same number however it is written, and never part of another.
    ("1e-1 V", "0.1", 1), ("それは三千五百円です", "3500", 1), ("10²", "102", -1), ("½", "2", -1), ("-5", "5", -1),
    ("6.02×10^23", "23", -1), ("50%", "50", 1), ("14 days, not 4", "4 days", -1), ("2½ cups", "2.5", 1),
    ("-14 days", "14 days", -1), ("at 2026-03-02", "02", -1), ("at 2026-03-02", "2026/3/2", 1),
])  # fmt: skip
def test_wrong_is_worse_than_not_knowing(reply: str, reference: str, value: float) -> None:
    assert parse_grader("honest")(reply, reference, {}).score == pytest.approx((value + 1) / 2)
    if value == 0.3:
        assert parse_grader("honest:idk=-0.5")(reply, reference, {}).score == pytest.approx(0.25)


def test_no_reference_is_not_the_reference_that_nobody_knows(tmp_path: Path) -> None:
    read = []
    for name, value in (("reference_answer", ""), ("reference_answer", "4 days"), ("reference_anser", "4 days")):
        (tmp_path / "row.jsonl").write_text(json.dumps({"prompt": "Q", name: value}), "utf-8")
        read += [
            tasks.reference(one) for one in check([tmp_path / "row.jsonl"]).iter_examples() if isinstance(one, TaskItem)
        ]
    assert read == ["", "4 days", None]
    honest = parse_grader("honest")
    assert honest("I don't know.", "", {}).score == 1
    with pytest.raises(SodateError, match=r"this row has none[\s\S]*reference_answer"):
        honest("I don't know.", None, {})
    (tmp_path / "r.yaml").write_text("rules: [{kind: grader, grader: honest}]")
    assert parse_grader("rules:r.yaml", tmp_path).needs_reference


@pytest.mark.parametrize("spec", ["honest:idk=2", "honest:idk=x", "length:min=0", "length:min=9,max=3", "number:x=1"])
def test_options_that_make_no_sense_are_refused(spec: str) -> None:
    with pytest.raises(UsageError):
        parse_grader(spec, Path())
