"""The honesty example: what its README promises about the data and the table holds."""

from __future__ import annotations

import itertools
import json
import re
import runpy
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from sodate.core.recipe import load_recipe

EXAMPLE = Path(__file__).parents[2] / "examples" / "honesty"
TRAINING = ("train", "pairs", "tasks")
MEASURING = ("familiar", "heldout", "heldout_pairs")
DONT_KNOW = "I don't know."


def rows(name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (EXAMPLE / f"{name}.jsonl").read_text("utf-8").splitlines()]


def asked(row: dict[str, Any]) -> tuple[str, str]:
    """System prompt and question of a row of any file."""
    turns = row.get("prompt") or row["messages"]
    return turns[0]["content"], turns[1]["content"]


def facts(row: dict[str, Any]) -> list[str]:
    return [line[2:] for line in asked(row)[0].splitlines() if line.startswith("- ")]


@pytest.fixture
def parts(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    return runpy.run_path(str(EXAMPLE / "parts.py"))


def test_the_generator_writes_the_shipped_files_again_byte_for_byte(tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-B", str(EXAMPLE / "make.py"), "--out", str(tmp_path)], check=True)
    assert {path.name for path in tmp_path.iterdir()} == {f"{name}.jsonl" for name in TRAINING + MEASURING}
    for path in tmp_path.iterdir():
        assert path.read_bytes() == (EXAMPLE / path.name).read_bytes(), path.name


def test_every_answer_stands_in_one_fact_and_nothing_answers_an_unanswerable_question() -> None:
    for row in rows("tasks") + rows("familiar") + rows("heldout"):
        answer = row["reference_answer"]
        assert len(facts(row)) == 6
        if answer:
            told = re.compile(rf"(?<![\w:]){re.escape(answer)}\b", re.IGNORECASE)
            assert sum(bool(told.search(fact)) for fact in facts(row)) == 1, row


def test_every_faq_is_asked_once_what_it_says_and_once_what_it_does_not() -> None:
    unknown = {
        "train": [row["messages"][2]["content"] == DONT_KNOW for row in rows("train")],
        "pairs": [row["chosen"] == DONT_KNOW for row in rows("pairs")],
        **{name: [row["reference_answer"] == "" for row in rows(name)] for name in ("tasks", "familiar", "heldout")},
    }
    for name, empty in unknown.items():
        faqs: dict[str, list[bool]] = {}
        for row, unsaid in zip(rows(name), empty, strict=True):
            faqs.setdefault(asked(row)[0], []).append(unsaid)
        some = [[False], [False, True]] if name in ("train", "pairs") else [[False, True]]
        assert all(sorted(both) in some for both in faqs.values()), name
    assert (unknown["train"].count(False), unknown["train"].count(True)) == (75, 27)


def test_pairs_punish_inventing_refusing_and_erring() -> None:
    kinds = []
    for row in rows("pairs"):
        chosen, rejected = row["chosen"], row["rejected"]
        assert chosen != rejected
        kinds.append("invents" if chosen == DONT_KNOW else "refuses" if rejected == DONT_KNOW else "errs")
        text = asked(row)[0].lower()
        assert chosen == DONT_KNOW or chosen[:-1].lower() in text
    assert {kind: kinds.count(kind) for kind in kinds} == {"invents": 352, "refuses": 133, "errs": 267}


def test_no_question_with_its_facts_comes_twice() -> None:
    everything = [asked(row) for name in (*TRAINING, "familiar", "heldout") for row in rows(name)]
    assert len(everything) == len(set(everything)) == 1614
    assert {asked(row) for row in rows("heldout_pairs")} == {asked(row) for row in rows("heldout")}


def test_familiar_questions_ask_of_new_faqs_in_words_that_preferences_and_tasks_know(parts: dict[str, Any]) -> None:
    seen = [row for name in TRAINING for row in rows(name)]
    product = re.compile("|".join(map(re.escape, parts["TRAIN"].products)))

    def wordings(several: list[dict[str, Any]]) -> set[str]:
        return {product.sub("it", asked(row)[1]) for row in several}

    assert wordings(rows("familiar")) <= wordings(rows("pairs") + rows("tasks"))
    assert not wordings(rows("familiar")) <= wordings(rows("train"))
    assert not {asked(row)[0] for row in rows("familiar")} & {asked(row)[0] for row in seen}


def test_the_held_out_set_shares_no_fact_question_company_or_product(parts: dict[str, Any]) -> None:
    seen = [row for name in TRAINING for row in rows(name)]
    assert not {f for row in seen for f in facts(row)} & {f for row in rows("heldout") for f in facts(row)}
    assert not {asked(row)[1] for row in seen} & {asked(row)[1] for row in rows("heldout")}
    train, held = parts["TRAIN"], parts["HELDOUT"]

    def words(texts: Any) -> set[str]:
        return {word.lower() for text in texts for word in re.findall(r"\w+", text)}

    assert not words(train.companies + train.products) & words(held.companies + held.products)

    def topics(one: Any) -> list[Any]:
        return [*one.shop.values(), *one.product.values()]

    for field in ("facts", "questions", "values"):
        left, right = ({text for topic in topics(one) for text in getattr(topic, field)} for one in (train, held))
        assert not left & right, field
    assert {"owner", "parking", "length", "origin"} <= {*held.shop, *held.product} - {*train.shop, *train.product}


def test_the_recipes_lead_from_one_to_the_next() -> None:
    made = [load_recipe(EXAMPLE / f"{name}.yaml", {}) for name in ("sft", "dpo", "grpo")]
    assert [one.method for one in made] == ["sft", "dpo", "grpo"]
    for before, after in itertools.pairwise(made):
        assert after.model == before.name
    command = (EXAMPLE / "run.sh").read_text("utf-8")
    assert all(str(one.name) in command for one in made)
    assert all(Path(path).exists() for one in made for path in one.data)


def test_the_table_counts_five_cells_and_the_mean_point() -> None:
    made = runpy.run_path(str(EXAMPLE / "table.py"))
    references = ["14 days", "red", "oak", "8:30", "", "", ""]
    before = ["14 days.", "Blue.", "I don't know.", "8:30 on", "Yes.", "", "I don't know."]
    after = ["14 days.", "Red.", "Oak.", "8:30", DONT_KNOW, "I’m not sure.", "I do not know"]
    lines = made["table"]({"base": before, "tuned": after}, references).splitlines()
    assert lines[0] == "| n = 4 + 3 | right | wrong | over-refused | rightly unsure | made up | mean point |"
    # 1 - 1 + 0.3 + 1 - 1 - 1 + 1 = 0.3 over seven questions
    assert lines[2].startswith("| base | 2 | 1 | 1 | 1 | 2 | +0.04 (")
    assert lines[3].startswith("| tuned | 4 | 0 | 0 | 3 | 0 | +1.00 (")
    assert lines[5] == "| gain over the row above | right | over-refused | rightly unsure | mean point |"
    assert re.fullmatch(r"\| tuned \| \+2 \(.+\) \| -1 \(.+\) \| \+2 \(.+\) \| \+0\.96 \(.+\) \|", lines[7])  # 6.7 / 7
    assert len(lines) == 8


def test_the_table_is_read_from_a_kept_evaluation(tmp_path: Path) -> None:
    kept = [{"model": "m", "item": i, "reply": DONT_KNOW} for i in range(300)]
    (tmp_path / "replies.jsonl").write_text("".join(json.dumps(one) + "\n" for one in kept), "utf-8")
    result = tmp_path / "result.json"
    result.write_text(json.dumps({"report": str(tmp_path / "report.html")}), "utf-8")
    command = [sys.executable, "-B", str(EXAMPLE / "table.py"), str(result)]
    printed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    assert "| m | 0 | 0 | 150 | 150 | 0 | +0.65 (" in printed  # (0.3 + 1) / 2
