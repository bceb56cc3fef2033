"""The Japanese FAQ: what its README promises about documents and questions holds."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml

from sodate.api.ladder_task import advice, load_task
from sodate.core.recipe import load_recipe

EXAMPLE = Path(__file__).parents[2] / "examples" / "faq-ja"
LADDER = EXAMPLE.with_name("ladder")


def rows(name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (EXAMPLE / f"{name}.jsonl").read_text("utf-8").splitlines()]


def documents(names: Any) -> str:
    return "\n".join((EXAMPLE / "documents" / name).read_text("utf-8") for name in names)


def test_the_generator_writes_the_shipped_files_again_byte_for_byte(tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-B", str(EXAMPLE / "make.py"), "--out", str(tmp_path)], check=True)
    made = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(made) == 14 + 4
    for path in made:
        assert path.read_bytes() == (EXAMPLE / path.relative_to(tmp_path)).read_bytes(), path.name


def test_ninety_questions_have_their_answer_in_a_document_and_sixty_have_none() -> None:
    asked = rows("heldout")
    answers = [row["reference_answer"] for row in asked]
    assert (len(answers), answers.count("")) == (150, 60)
    assert len({row["fact"] for row in asked if row["reference_answer"]}) == 45
    assert len({row["messages"][1]["content"] for row in asked}) == 150
    for row in asked:
        if row["reference_answer"]:
            assert row["reference_answer"] in documents([row["fact"].partition(" ")[0]]), row


def test_no_held_out_question_is_about_a_document_that_training_is_about() -> None:
    learnt = {row["file"] for name in ("train", "valid") for row in rows(name) if "file" in row}
    asked = {row["fact"].partition(" ")[0] for row in rows("heldout") if row["reference_answer"]}
    assert learnt and asked and not learnt & asked
    assert {row["file"] for row in rows("search")} == learnt
    known = {row["messages"][1]["content"] for name in ("train", "valid") for row in rows(name)}
    assert not known & {row["messages"][1]["content"] for row in rows("heldout")}


def test_replies_cite_where_something_is_written_and_say_so_where_nothing_is() -> None:
    for row in [*rows("train"), *rows("valid")]:
        reply = row["messages"][2]["content"]
        assert reply.count("[*]") == ("file" in row)
        assert ("情報がございません" in reply) == ("file" not in row)
        if "file" in row:
            assert row["passage"] in documents([row["file"]])


def test_the_tasks_and_the_recipe_are_ones_that_run() -> None:
    faq, orders = load_task(EXAMPLE / "task.yaml"), load_task(LADDER / "task.yaml")
    assert (faq.task.documents, orders.task.structure) == (("documents",), "../orders/schema.json")
    assert advice(faq.task) == [] and advice(orders.task) == []
    assert load_recipe(EXAMPLE / "recipe.yaml", {}).name == "faq-ja"
    for folder in (EXAMPLE, LADDER):
        assert "sodate models pull" in (folder / "run.sh").read_text("utf-8")
    shown = [line for line in (EXAMPLE / "README.md").read_text("utf-8").splitlines() if line.startswith("sodate ")]
    run = (EXAMPLE / "run.sh").read_text("utf-8").replace("\\\n", " ")
    ran = [shlex.split(line.removeprefix("run ")) for line in run.splitlines() if line.startswith("run sodate")]
    assert [shlex.split(line) for line in shown if "ladder" not in line] == ran[1:]
    assert yaml.safe_load((EXAMPLE / "facts.yaml").read_text("utf-8")).keys() == {
        "learn", "unknown_learn", "ask", "unknown_ask",
    }  # fmt: skip
