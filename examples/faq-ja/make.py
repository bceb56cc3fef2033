"""Writes the documents and the questions of this example: python make.py [--out FOLDER]. The same bytes every time."""

from __future__ import annotations

import argparse
import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

HERE = Path(__file__).parent
SYSTEM = "あなたは「こもれび楽器レンタル」の窓口です。資料をもとに、丁寧な言葉で短く答えてください。"
UNKNOWN = "恐れ入りますが、その点は資料に情報がございません。担当者におつなぎいたします。"
VALID = 20  # training rows that are only watched


def documents(files: dict[str, Any], folder: Path) -> None:
    """A Markdown file for each subject, a heading and a passage for each fact."""
    for name, about in files.items():
        parts = [f"# {about['title']}\n", *(f"## {one['heading']}\n\n{one['passage']}\n" for one in about["facts"])]
        (folder / name).write_text("\n".join(parts), "utf-8")


def asked(files: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Both questions of every fact, with the file that it stands in."""
    for file, about in files.items():
        for fact in about["facts"]:
            for question in fact["questions"]:
                yield question, file, fact


def prompt(question: str) -> list[dict[str, str]]:
    return [{"role": "system", "content": SYSTEM}, {"role": "user", "content": question}]


def learnt(facts: dict[str, Any]) -> list[dict[str, Any]]:
    """Conversations. [*] becomes the number of the passage that answers, when passages are put before the question."""
    rows = []
    for question, file, fact in asked(facts["learn"]):
        reply = f"お問い合わせありがとうございます。{fact['reply']}[*]。"
        messages = [*prompt(question), {"role": "assistant", "content": reply}]
        rows.append({"messages": messages, "file": file, "passage": fact["passage"]})
    for question in facts["unknown_learn"]:
        rows.append({"messages": [*prompt(question), {"role": "assistant", "content": UNKNOWN}]})
    random.Random(0).shuffle(rows)
    return rows


def held_out(facts: dict[str, Any]) -> list[dict[str, Any]]:
    """Questions with the words that a right reply holds; none where nothing is written. `fact` is what it is about."""
    rows = []
    for question, file, fact in asked(facts["ask"]):
        known = {"reference_answer": fact["answer"], "answerable": "yes", "fact": f"{file} {fact['heading']}"}
        rows.append({"messages": prompt(question), **known})
    for question in facts["unknown_ask"]:
        rows.append({"messages": prompt(question), "reference_answer": "", "answerable": "no", "fact": question})
    random.Random(1).shuffle(rows)
    return rows


def write(path: Path, rows: list[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), "utf-8")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--out", type=Path, default=HERE)
    out: Path = parser.parse_args().out
    facts = yaml.safe_load((HERE / "facts.yaml").read_text("utf-8"))
    (out / "documents").mkdir(parents=True, exist_ok=True)
    documents({**facts["learn"], **facts["ask"]}, out / "documents")
    rows = learnt(facts)
    write(out / "train.jsonl", rows[VALID:])
    write(out / "valid.jsonl", rows[:VALID])
    write(out / "heldout.jsonl", held_out(facts))
    search = [{"question": question, "file": file, "passage": fact["passage"]}
              for question, file, fact in asked(facts["learn"])]  # fmt: skip
    write(out / "search.jsonl", search)


if __name__ == "__main__":
    main()
