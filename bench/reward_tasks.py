"""Rows for bench/rewards.py: six tasks of different kind, by a seeded generator. Same seed, same rows.

    labels   four levels of Japanese politeness, one word a reply                        graded by label
    fields   an order in a sentence → JSON with three fields                             fields:mode=f1
    sums     two numbers                                                                 exact
    format   an appointment in words → one line of fixed form                            exact
    honesty  two facts and a question that they may not answer                           honest:idk=0.3
    tone     a plain Japanese sentence → the same, polite                                text_similarity:metric=char_f1

Held-out rows use nouns, names, verbs or numbers that no training row has. A row is a conversation; what a grader
compares with is its last reply. Pairs for preferences are made of the same rows: the right reply and a wrong one.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from typing import Any

GRADERS = {
    "labels": "label", "fields": "fields:mode=f1", "sums": "exact", "format": "exact", "honesty": "honest:idk=0.3",
    "tone": "text_similarity:metric=char_f1",
}  # fmt: skip
TOKENS = {"labels": 6, "fields": 40, "sums": 6, "format": 32, "honesty": 12, "tone": 48}

Row = tuple[str, str, str, str]  # system, asked, right reply, wrong reply
Half = bool  # True: what only held-out rows have


def _half(words: list[str], held: Half) -> list[str]:
    """Every third word is kept for the held-out rows."""
    return [word for i, word in enumerate(words) if (i % 3 == 2) == held]


# A verb as (plain, polite, respectful, humble); the endings of one level are shared by several.
_VERBS = [
    ("行く", "行きます", "いらっしゃいます", "伺います"),
    ("食べる", "食べます", "召し上がります", "いただきます"),
    ("見る", "見ます", "ご覧になります", "拝見します"),
    ("言う", "言います", "おっしゃいます", "申します"),
    ("する", "します", "なさいます", "いたします"),
    ("知る", "知ります", "ご存じになります", "存じます"),
    ("会う", "会います", "お会いになります", "お目にかかります"),
    ("読む", "読みます", "お読みになります", "拝読します"),
    ("送る", "送ります", "お送りになります", "お送りします"),
    ("待つ", "待ちます", "お待ちになります", "お待ちします"),
    ("聞く", "聞きます", "お聞きになります", "伺っております"),
    ("もらう", "もらいます", "お受け取りになります", "頂戴します"),
    ("持つ", "持ちます", "お持ちになります", "お持ちいたします"),
    ("帰る", "帰ります", "お帰りになります", "失礼します"),
    ("使う", "使います", "お使いになります", "使わせていただきます"),
    ("書く", "書きます", "お書きになります", "お書きします"),
    ("話す", "話します", "お話しになります", "お話しします"),
    ("選ぶ", "選びます", "お選びになります", "選ばせていただきます"),
]
_WHEN = ["明日", "来週", "今夜", "午後", "昼に", "朝", "月曜に", "あとで", "春に", "土曜に", "先に"]
_WHAT = ["資料を", "本を", "会場で", "品を", "部長と", "皆で", "店で", "書類を", "駅で"]
LEVELS = ("casual", "polite", "respect", "humble")


def _labels(rng: random.Random, held: Half) -> Row:
    level = rng.randrange(4)
    verbs = [verb for i, verb in enumerate(_VERBS) if (i % 3 == 2) == held]
    when, what = rng.choice(_WHEN), rng.choice(_WHAT)
    said = f"{when}{what}{rng.choice(verbs)[level]}"
    wrong = LEVELS[(level + rng.randrange(1, 4)) % 4]
    return "Politeness: casual, polite, respect or humble?", said, LEVELS[level], wrong


_NAMES = ["Mina", "Otto", "Ravi", "Lena", "Hugo", "Aiko", "Nils", "Sara", "Tomas", "Emi", "Karl", "Yuki"]
_ITEMS = ["cups", "lamps", "chairs", "boxes", "pens", "plates", "bags", "maps", "forks", "rugs", "bells", "nets"]


def _fields(rng: random.Random, held: Half) -> Row:
    who, item = rng.choice(_half(_NAMES, held)), rng.choice(_half(_ITEMS, held))
    n, colour = rng.randrange(2, 60), rng.choice(["red", "blue", "green", "white"])
    said = rng.choice([
        f"{who} wants {n} {colour} {item}.", f"Please send {n} {item}, {colour}, to {who}.",
        f"{n} {colour} {item} for {who}, not {n + 3}.", f"{who} first asked for {n + 5} {item}, now {n}, in {colour}.",
    ])  # fmt: skip
    right = {"who": who, "item": f"{colour} {item}", "n": n}
    wrong = {**right, "n": n + rng.choice([3, 5, -1])}
    return "As JSON: who, item, n.", said, json.dumps(right), json.dumps(wrong)


def _sums(rng: random.Random, held: Half) -> Row:
    a, b = rng.randrange(2, 50), rng.randrange(2, 50)
    while ((a + b) % 3 == 2) != held:
        a = rng.randrange(2, 50)
    return "Answer with the number.", f"{a} + {b} =", str(a + b), str(a + b + rng.choice([1, -1, 10]))


_CITIES = ["Oslo", "Lima", "Rome", "Cairo", "Kyoto", "Quito", "Delhi", "Paris", "Accra", "Turin", "Osaka", "Bern"]
_MONTHS = ["January", "March", "May", "June", "August", "October", "December"]
_NUMBERS = {"January": 1, "March": 3, "May": 5, "June": 6, "August": 8, "October": 10, "December": 12}


def _format(rng: random.Random, held: Half) -> Row:
    city, month = rng.choice(_half(_CITIES, held)), rng.choice(_MONTHS)
    day, hour, half = rng.randrange(1, 29), rng.randrange(1, 12), rng.choice(["", ":30"])
    late = rng.choice(["am", "pm"])
    said = rng.choice([
        f"{city}, {day} {month} at {hour}{half} {late}", f"On {month} {day} in {city}, {hour}{half} {late}",
        f"We meet in {city} at {hour}{half} {late} on {day} {month}",
    ])  # fmt: skip
    clock = hour + (12 if late == "pm" else 0)
    right = f"[{_NUMBERS[month]:02d}-{day:02d} {clock:02d}:{half[1:] or '00'}] {city.upper()}"
    wrong = f"[{day:02d}-{_NUMBERS[month]:02d} {hour:02d}:{half[1:] or '00'}] {city.upper()}"
    return "Write as [MM-DD HH:MM] CITY.", said, right, wrong


def _honesty(rng: random.Random, held: Half) -> Row:
    one, two, three = rng.sample(_half(_ITEMS, held) + _half(_CITIES, held), 3)
    a, b = rng.randrange(2, 90), rng.randrange(2, 90)
    asked = rng.choice([one, two, three])
    right = {one: f"{a} euros", two: f"{b} euros"}.get(asked, "I don't know.")
    wrong = f"{rng.choice([a, b])} euros" if asked == three else "I don't know."
    said = f"{one}: {a} euros. {two}: {b} euros. How much are {asked}?"
    return "Answer, or say: I don't know.", said, right, wrong


def _tone(rng: random.Random, held: Half) -> Row:
    verbs = [verb for i, verb in enumerate(_VERBS) if (i % 3 == 2) == held]
    verb, when, what = rng.choice(verbs), rng.choice(_WHEN), rng.choice(_WHAT)
    return "丁寧に言い換える。", f"{when}{what}{verb[0]}。", f"{when}{what}{verb[1]}。", f"{when}{what}{verb[0]}よ。"


TASKS: dict[str, Callable[[random.Random, Half], Row]] = {
    "labels": _labels, "fields": _fields, "sums": _sums, "format": _format, "honesty": _honesty, "tone": _tone,
}  # fmt: skip


def rows(task: str, count: int, held: Half, seed: int) -> list[Row]:
    """`count` different rows of a task; no two ask the same."""
    rng, found = random.Random(f"{task} {held} {seed}"), dict[str, Row]()
    for _ in range(200 * count):
        row = TASKS[task](rng, held)
        found.setdefault(row[1], row)
        if len(found) == count:
            break
    return list(found.values())


def conversation(row: Row) -> dict[str, Any]:
    """A row as a supervised example, which is a task too."""
    return {"messages": [*_prompt(row), {"role": "assistant", "content": row[2]}]}


def pair(row: Row) -> dict[str, Any]:
    """A row as a preference."""
    return {"prompt": _prompt(row), "chosen": row[2], "rejected": row[3]}


def _prompt(row: Row) -> list[dict[str, str]]:
    return [{"role": "system", "content": row[0]}, {"role": "user", "content": row[1]}]
