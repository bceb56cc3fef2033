"""Write the order-mail example: train.jsonl, valid.jsonl, heldout.jsonl, fewshot.jsonl and schema.json.

    python make.py [--out FOLDER]

Same seed, same bytes. The three sets never meet: each has its own companies, people, products, phrases, list layouts
and mail templates (see `TRAIN`, `VALID`, `HELDOUT` in parts.py), so a good score on heldout.jsonl is not memory.

A template is a mail with slots in braces:
    items       the order in running text ("2 oak shelves and four brass hinges")
    list        the order as lines, in one of the set's layouts
    when rush   the delivery date and the urgency as sentences; empty or small talk where there is none
    date        the bare date, for forms that have a field for it ("-" where there is none)
    customer    the buyer: a company, or a private person where the template is marked `private`
    contact     the first name of whoever writes for a company; sent: an unrelated date; ref: an unrelated number
    not         a product the mail takes back, which must not appear in the answer
"""

from __future__ import annotations

import argparse
import json
import random
import re
from pathlib import Path
from typing import Any

from parts import HELDOUT, MONTHS, NUMBER_WORDS, TRAIN, VALID, Parts

SEED = 20260305
ROWS = {"train": 256, "valid": 40, "heldout": 100}
FEWSHOT_ROWS = 3
# Two mails of one set must differ by more than their slots: above this they would teach (or test) the same thing twice.
MOST_ALIKE = 0.65

SYSTEM = (
    "Turn the order mail into JSON: "
    '{"customer":text,"items":[{"product":text,"quantity":number}],"delivery":"YYYY-MM-DD" or null,'
    '"urgent":true or false}'
)

# Lists and texts have an end: a small model that is held to a schema may fill a list for as long as it is let.
SCHEMA: dict[str, Any] = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "title": "Order",
    "type": "object",
    "additionalProperties": False,
    "required": ["customer", "items", "delivery", "urgent"],
    "properties": {
        "customer": {
            "type": "string",
            "minLength": 1,
            "maxLength": 60,
            "description": "the company that buys, or else the person",
        },
        "items": {
            "type": "array",
            "minItems": 1,
            "maxItems": 6,
            "items": {
                "type": "object",
                "additionalProperties": False,
                "required": ["product", "quantity"],
                "properties": {
                    "product": {
                        "type": "string",
                        "minLength": 1,
                        "maxLength": 60,
                        "description": "as written in the mail",
                    },
                    "quantity": {"type": "integer", "minimum": 1, "maximum": 9999},
                },
            },
        },
        "delivery": {"anyOf": [{"type": "string", "pattern": r"^\d{4}-\d{2}-\d{2}$"}, {"type": "null"}]},
        "urgent": {"type": "boolean"},
    },
}


def shingles(text: str) -> set[str]:
    """Character 5-grams of `text`, spaces run together."""
    flat = " ".join(text.split())
    return {flat[i : i + 5] for i in range(max(1, len(flat) - 4))}


def jaccard(a: set[str], b: set[str]) -> float:
    """Shared share of two shingle sets, in [0, 1]."""
    return len(a & b) / len(a | b)


def write_date(rng: random.Random, iso: str) -> str:
    """The date as a mail may write it: ISO most of the time, else day and month by name."""
    year, month, day = (int(part) for part in iso.split("-"))
    name = MONTHS[month - 1]
    return rng.choice([iso, iso, iso, f"{day} {name} {year}", f"{name} {day}, {year}"])


def write_items(rng: random.Random, items: list[dict[str, Any]]) -> str:
    """The items in running text; quantities as digits or, where English has a short word, as words."""
    parts = []
    for item in items:
        word = NUMBER_WORDS.get(item["quantity"])
        amount = word if word and rng.random() < 0.5 else str(item["quantity"])
        parts.append(f"{amount} {item['product']}")
    return parts[0] if len(parts) == 1 else ", ".join(parts[:-1]) + " and " + parts[-1]


def tidy(text: str) -> str:
    """Drops what empty slots leave behind: double spaces, spaces at line ends, more than one blank line."""
    text = re.sub(r" {2,}", " ", text)
    text = re.sub(r" *\n *", "\n", text)
    return re.sub(r"\n{3,}", "\n\n", text).strip()


def order(rng: random.Random, parts: Parts, template: str, private: bool) -> tuple[str, dict[str, Any]]:
    """One mail and the JSON that answers it."""
    count = rng.choice([1, 2, 2, 2, 3, 3])
    *products, unwanted = rng.sample(parts.products, count + 1)
    items = [
        {"product": name, "quantity": rng.choice([2, 3, 4, 5, 6, 8, 10, 12, 15, 20, 24, 25, 30, 40, 50])}
        for name in products
    ]
    person = rng.choice(parts.people)
    customer = person if private else rng.choice(parts.companies)
    delivery = None
    if rng.random() < 0.65:
        delivery = f"2026-{rng.randint(1, 12):02d}-{rng.randint(1, 28):02d}"
    urgent = rng.random() < 0.35
    date = write_date(rng, delivery) if delivery else ""
    layout = rng.choice(parts.layouts)
    lines = [layout.format(q=item["quantity"], p=item["product"], n=i + 1) for i, item in enumerate(items)]
    calm = rng.choice(parts.calm) if rng.random() < 0.4 else ""
    slots = {
        "items": write_items(rng, items),
        "list": "\n".join(lines),
        "when": rng.choice(parts.when).format(date=date) if delivery else "",
        "date": date or "-",
        "rush": rng.choice(parts.urgent) if urgent else calm,
        "flag": parts.flags[0 if urgent else 1],
        "customer": customer,
        "contact": person.split()[0],
        "not": unwanted,
        "sent": f"2025-{rng.randint(10, 12)}-{rng.randint(1, 28):02d}",
        "ref": str(rng.randint(1000, 9999)),
    }
    answer = {"customer": customer, "items": items, "delivery": delivery, "urgent": urgent}
    return tidy(template.format(**slots)), answer


def make_set(rng: random.Random, parts: Parts, rows: int) -> list[dict[str, Any]]:
    """`rows` conversations that go round the templates in shuffled order, none too like another of the set."""
    templates = [(text, False) for text in parts.mails] + [(text, True) for text in parts.private_mails]
    seen: list[set[str]] = []
    made: list[dict[str, Any]] = []
    deck: list[tuple[str, bool]] = []
    while len(made) < rows:
        if not deck:
            deck = rng.sample(templates, len(templates))
        template, private = deck.pop()
        for _attempt in range(200):
            mail, answer = order(rng, parts, template, private)
            mine = shingles(mail)
            if all(jaccard(mine, other) < MOST_ALIKE for other in seen):
                break
        else:
            raise SystemExit(f"this template has no fresh mail left, write more like it: {template!r}")
        seen.append(mine)
        reply = json.dumps(answer, ensure_ascii=False, separators=(",", ":"))  # fewer tokens than with spaces
        made.append(
            {
                "messages": [
                    {"role": "system", "content": SYSTEM},
                    {"role": "user", "content": mail},
                    {"role": "assistant", "content": reply},
                ]
            }
        )
    return made


def pick_fewshot(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Training rows for the few-shot baseline: short ones that show a date, no date, an urgent one and a list."""
    wanted = [(2, True, False), (3, False, True), (1, True, True)]
    picked = []
    for count, dated, urgent in wanted:
        fitting = []
        for row in rows:
            answer = json.loads(row["messages"][-1]["content"])
            shape = (len(answer["items"]), answer["delivery"] is not None, answer["urgent"])
            if shape == (count, dated, urgent):
                fitting.append(row)
        picked.append(min(fitting, key=lambda row: (len(row["messages"][1]["content"]), str(row))))
    return picked[:FEWSHOT_ROWS]


def write_jsonl(path: Path, rows: list[dict[str, Any]]) -> None:
    """One JSON object a line, UTF-8, Unix line ends."""
    text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    path.write_text(text, encoding="utf-8", newline="\n")


def main() -> None:
    """Writes every file into --out (default: beside this script)."""
    parser = argparse.ArgumentParser(description="Write the order-mail example.")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent)
    out: Path = parser.parse_args().out
    out.mkdir(parents=True, exist_ok=True)
    sets = {}
    for name, parts in (("train", TRAIN), ("valid", VALID), ("heldout", HELDOUT)):
        sets[name] = make_set(random.Random(f"{SEED}-{name}"), parts, ROWS[name])
        write_jsonl(out / f"{name}.jsonl", sets[name])
    write_jsonl(out / "fewshot.jsonl", pick_fewshot(sets["train"]))
    schema = json.dumps(SCHEMA, indent=2, ensure_ascii=False) + "\n"
    (out / "schema.json").write_text(schema, encoding="utf-8", newline="\n")


if __name__ == "__main__":
    main()
