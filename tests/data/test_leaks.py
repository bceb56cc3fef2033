"""Held-out rows that come back in training under a slightly other prompt."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from sodate.data import check

LONG = "返品は到着から十四日以内に、注文番号を添えてフォームからお申し込みください。送料は当店が負担いたします。"
CANNED = "ご連絡ありがとうございます。担当の者が内容を確認のうえ、二営業日以内にあらためてご返信いたします。"


def row(prompt: str, reply: str) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": prompt}, {"role": "assistant", "content": reply}]}


def codes(tmp_path: Path, held: list[dict[str, Any]], *train: dict[str, Any]) -> list[str]:
    paths = tmp_path / "held.jsonl", tmp_path / "train.jsonl"
    for path, rows in zip(paths, (held, train), strict=True):
        path.write_text("".join(json.dumps(one) + "\n" for one in rows), "utf-8")
    found = check([paths[1]], against=paths[0]).ledger
    return [p.code for p in (*found.set_aside, *found.warnings) if "leak" in p.code]


@pytest.mark.parametrize(
    ("held", "train"),
    [
        ("返品の方法は？", "教えてください。返品の方法は？"),
        ("返品の方法は？", "返品の方法は？よろしくお願いします。"),
        ("教えてください。返品の方法は？", "返品の方法は？"),
        ("返品の方法は？", "お世話になっております。「返品の方法は」とのことです。"),
        ("返品したい", "はじめまして。返品 したいです！"),
        ("Ｈｏｗ do I return it?", "Please tell me: how do I return it"),
    ],
)
def test_a_prompt_within_another_with_the_same_long_answer_is_a_leak(tmp_path: Path, held: str, train: str) -> None:
    assert codes(tmp_path, [row(held, LONG)], row(train, LONG)) == ["leak"]


def test_in_every_turn_of_a_conversation(tmp_path: Path) -> None:
    talk = row("教えてください。返品の方法は？", LONG)
    talk["messages"] += row("ありがとう", "どういたしまして。")["messages"]
    assert codes(tmp_path, [row("返品の方法は？", LONG)], talk) == ["leak"]


def test_the_first_of_many_with_one_answer_does_not_hide_the_others(tmp_path: Path) -> None:
    held = [row(f"{n}番の商品は返品できますか", LONG) for n in range(20)] + [row("返品の方法は？", LONG)]
    assert codes(tmp_path, held, row("教えてください。返品の方法は？", LONG)) == ["leak"]


@pytest.mark.parametrize(
    ("prompt", "reply"),
    [
        ("教えてください。交換の方法は？", CANNED),  # another question, one set phrase
        ("教えてください。返品の方法は？", LONG.replace("十四日", "14日")),  # other numbers: another answer
        ("教えてください。返品の方法は？", CANNED + LONG),
    ],
)
def test_a_set_phrase_alone_or_a_likely_prompt_alone_is_no_leak(tmp_path: Path, prompt: str, reply: str) -> None:
    assert codes(tmp_path, [row("返品の方法は？", LONG), row("見積もりの件", CANNED)], row(prompt, reply)) == []


@pytest.mark.parametrize(
    "reply",
    [
        LONG + "以上です。",
        LONG.replace("お申し込みください", "お申し込みいただけます"),
        LONG.replace("、", "，"),
        LONG.replace("送料", "なお、送料"),
    ],
)
def test_almost_the_same_long_answer_to_a_prompt_within_another_is_named(tmp_path: Path, reply: str) -> None:
    held = [row(f"{n}番の商品は返品できますか", LONG) for n in range(5)] + [row("返品の方法は？", LONG)]
    assert codes(tmp_path, held, row("教えてください。返品の方法は？", reply)) == ["near-leak"]


def test_line_breaks_within_the_answer_hide_nothing(tmp_path: Path) -> None:
    broken = LONG.replace("。", "。\n")
    assert codes(tmp_path, [row("返品の方法は？", LONG)], row("教えてください。返品の方法は？", broken)) == ["leak"]


def test_the_reference_answer_of_a_held_out_task_counts_as_its_reply(tmp_path: Path) -> None:
    held = {"prompt": "返品の方法は？", "reference_answer": LONG, "kind": "returns"}
    assert codes(tmp_path, [held], row("教えてください。返品の方法は？", LONG)) == ["leak"]
    assert codes(tmp_path, [held], row("返品の方法はね？", LONG)) == ["leak"]


def test_short_answers_are_shared_by_chance(tmp_path: Path) -> None:
    assert codes(tmp_path, [row("返品の方法は？", "返品")], row("教えてください。返品の方法は？", "返品")) == []
