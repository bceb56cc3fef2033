"""お客様対応の例を書き出します。Write the customer-support example: train, valid, heldout and fewshot.jsonl.

    python make.py [--out FOLDER]

Same seed, same bytes. Every reply goes: apology, what to do first where there is danger, what to
check, numbered steps, reassurance. What
cases.py and parts.py hold is combined so that no two rows are nearly the same; the three sets share no product, symptom
or phrase.
"""

from __future__ import annotations

import argparse
import json
import random
from pathlib import Path
from typing import Any

from cases import Case
from parts import HELDOUT, TRAIN, VALID, Parts

SEED = 20260401
ROWS = {"train": 160, "valid": 24, "heldout": 48}
# Messages of one set more alike than this are not written; 1.0 would be the same text.
MOST_ALIKE = 0.7

SYSTEM = (
    "家電通販のサポート担当として、お詫び、ご確認、番号付きの手順、安心の一言の順に、です・ます調で返信してください。"
)


def shingles(text: str) -> set[str]:
    """Character 5-grams: Japanese has no spaces to split at."""
    return {text[i : i + 5] for i in range(max(1, len(text) - 4))}


def jaccard(a: set[str], b: set[str]) -> float:
    """Shared share of two shingle sets, in [0, 1]."""
    return len(a & b) / len(a | b)


def write_message(rng: random.Random, parts: Parts, case: Case) -> str:
    """What the customer sends."""
    before = parts.before + (parts.before_goods if case.goods else [])
    after = parts.after + (parts.after_goods if case.goods else [])
    say = rng.choice(case.says)
    if case.goods and case.product not in say:
        # A reply may name the product only where the message does: else the model learns to guess.
        before = [text for text in before if "{product}" in text]
    return (rng.choice(before) + say + rng.choice(after)).format(product=case.product)


def write_reply(rng: random.Random, parts: Parts, case: Case) -> str:
    """What support answers: three paragraphs, the steps one a line."""
    apology = parts.apology + (parts.apology_goods if case.goods else [])
    close = parts.close + (parts.close_goods if case.goods else [])
    first = rng.choice(apology) + case.safety + rng.choice(parts.check) + rng.choice(parts.lead)
    steps = [f"{number}. {step}" for number, step in enumerate(case.steps, start=1)]
    lines = [first, *steps, rng.choice(close)]
    return "\n".join(lines).format(
        product=case.product, issue=case.issue, said=case.said or f"{case.issue}とのこと", check=case.check
    )


def make_set(rng: random.Random, parts: Parts, rows: int) -> list[dict[str, Any]]:
    """`rows` conversations that go round the cases in shuffled order, none too like another."""
    seen: list[tuple[set[str], set[str]]] = []
    made: list[dict[str, Any]] = []
    deck: list[Case] = []
    while len(made) < rows:
        if not deck:
            deck = rng.sample(parts.cases, len(parts.cases))
        case = deck.pop()
        for _attempt in range(500):
            message, reply = write_message(rng, parts, case), write_reply(rng, parts, case)
            mine = (shingles(message), shingles(message + reply))
            if all(jaccard(mine[0], other[0]) < 1.0 and jaccard(mine[1], other[1]) < MOST_ALIKE for other in seen):
                break
        else:
            raise SystemExit(f"no fresh message left for this case, write more ways to say it: {case.issue}")
        seen.append(mine)
        messages = [("system", SYSTEM), ("user", message), ("assistant", reply)]
        made.append({"messages": [{"role": role, "content": content} for role, content in messages]})
    return made


def pick_fewshot(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Training rows for the few-shot baseline: the shortest about an appliance and the shortest about anything else."""
    products = {case.product for case in TRAIN.cases if case.goods}
    kinds: dict[bool, list[dict[str, Any]]] = {True: [], False: []}
    for row in rows:
        kinds[any(product in row["messages"][1]["content"] for product in products)].append(row)
    return [min(kind, key=lambda row: (len(str(row)), str(row))) for kind in kinds.values()]


def write_jsonl(path: Path, rows: list[dict[str, Any]]) -> None:
    """One JSON object a line, UTF-8, Unix line ends."""
    text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    path.write_text(text, encoding="utf-8", newline="\n")


def main() -> None:
    """Writes every file into --out (default: beside this script)."""
    parser = argparse.ArgumentParser(description="Write the customer-support example.")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent)
    out: Path = parser.parse_args().out
    out.mkdir(parents=True, exist_ok=True)
    for name, parts in (("train", TRAIN), ("valid", VALID), ("heldout", HELDOUT)):
        rows = make_set(random.Random(f"{SEED}-{name}"), parts, ROWS[name])
        write_jsonl(out / f"{name}.jsonl", rows)
        if name == "train":
            write_jsonl(out / "fewshot.jsonl", pick_fewshot(rows))


if __name__ == "__main__":
    main()
