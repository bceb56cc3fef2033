"""The politeness example: what its README promises about the pairs holds."""

from __future__ import annotations

import json
import runpy
import subprocess
import sys
from pathlib import Path

from sodate.core.recipe import load_recipe

EXAMPLE = Path(__file__).parents[2] / "examples" / "tone-ja"


def test_the_pairs_are_what_make_writes_and_length_says_nothing(tmp_path: Path) -> None:
    subprocess.run([sys.executable, str(EXAMPLE / "make.py"), "--out", str(tmp_path)], check=True)
    prompts = []
    for name, count in (("train", 144), ("heldout", 48)):
        text = (EXAMPLE / f"{name}.jsonl").read_text("utf-8")
        assert (tmp_path / f"{name}.jsonl").read_text("utf-8") == text
        rows = [json.loads(line) for line in text.splitlines()]
        longer = sum(len(row["chosen"]) > len(row["rejected"]) for row in rows) / count
        assert len(rows) == count and 0.45 <= longer <= 0.55
        prompts.append({row["prompt"][-1]["content"] for row in rows})
    assert not prompts[0] & prompts[1]


def rows(name: str) -> list[dict[str, list[dict[str, str]]]]:
    return [json.loads(line) for line in (EXAMPLE / f"{name}.jsonl").read_text("utf-8").splitlines()]


def test_what_is_made_of_the_pairs_is_polite_half_of_the_time_and_asks_each_question_once(tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-B", str(EXAMPLE / "make.py"), "--out", str(tmp_path)], check=True)
    for name in ("mixed", "questions", "asked"):
        assert (tmp_path / f"{name}.jsonl").read_bytes() == (EXAMPLE / f"{name}.jsonl").read_bytes(), name
    pairs, held_out = rows("train"), rows("heldout")
    replies = [row["messages"][-1]["content"] for row in rows("mixed")]
    polite = [reply == pair["chosen"] for reply, pair in zip(replies, pairs, strict=True)]
    blunt = [reply == pair["rejected"] for reply, pair in zip(replies, pairs, strict=True)]
    assert sum(polite) == sum(blunt) == len(pairs) / 2
    for name, made_of in (("questions", pairs), ("asked", held_out)):
        questions = [row["messages"][-1]["content"] for row in rows(name)]
        assert len(questions) == len(set(questions))
        assert set(questions) == {pair["prompt"][-1]["content"] for pair in made_of}


def test_the_grader_tells_polite_from_blunt_in_every_pair() -> None:
    grade = runpy.run_path(str(EXAMPLE / "polite.py"))["grade"]
    for row in rows("train") + rows("heldout"):
        assert grade({"output_text": row["chosen"]}, {}) == 1, row["chosen"]
        assert grade({"output_text": row["rejected"]}, {}) == 0, row["rejected"]
    assert grade({"output_text": ""}, {}) == 0


def test_the_recipes_lead_from_one_to_the_next() -> None:
    start, dpo, judge, ppo = (load_recipe(EXAMPLE / f"{name}.yaml", {}) for name in ("start", "dpo", "judge", "ppo"))
    assert dpo.model == ppo.model == start.name
    assert getattr(ppo, "rewards", ()) == (f"reward_model:{judge.name}",)
    for recipe in (start, dpo, judge, ppo):
        assert all(Path(path).exists() for path in (*recipe.data, *([recipe.eval] if recipe.eval else [])))
