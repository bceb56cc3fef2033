"""Whether `sodate why` is right, by training again, and how fast it answers.

    python bench/why.py [NAME=TRAIN,HELD[,FIELD] …] [--rows 240] [--questions 3] [--random 2] [--epochs 3] [--json]
    python bench/why.py --answer 10000

Of each data set (default: the sums of examples/, and of its order mails the whole reply and the customer alone; `dates`
are written dates, made here, to be put as 2026-05-03) the first rows are taken, without their system messages, and 5 %
of them broken: they get the reply of another row.
`average precision`: of the list of `--harmful --against HELD`, beside the share of broken rows, which is what a random
list has. `compared`: for each of a few held-out questions the version is trained again without the tenth of the rows
that `why` names first as those that made its reply likelier, and `--random` times without as many at random; how far
the log-probability of the reply changes then, in nats (`compared_falls`: with its sign). FIELD takes one field of
replies that are JSON. With --keep FOLDER the versions stay there, and what is there is not trained again. With --from
FILE the results of earlier runs (`--json`, a file each) are put together instead.

`--answer N` trains two steps on N rows, fills in what is kept of them with random numbers (their making takes about as
long as training on them all does, and what they are costs no time), and times whole commands, models loaded anew.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np

import sodate
from sodate.api.asked import read_rows
from sodate.api.deciding import log_probabilities
from sodate.api.loading import load
from sodate.cli.at_hand import at_hand
from sodate.core import home
from sodate.core.files import sha256_json
from sodate.core.intervals import clopper_pearson
from sodate.release.registry import find_version
from sodate.train.gain import chance

ROOT = Path(__file__).parents[1]
_ORDERS = f"{ROOT}/examples/orders/train.jsonl,{ROOT}/examples/orders/heldout.jsonl"
_SUMS = f"{ROOT}/examples/sums/train.jsonl,{ROOT}/examples/sums/heldout.jsonl"
SETS = [f"sums={_SUMS}", f"customers={_ORDERS},customer", f"orders={_ORDERS}"]
BROKEN, TENTH = 0.05, 0.1


MONTHS = ("January", "February", "March", "April", "May", "June", "July", "August", "September", "October", "November",
          "December")  # fmt: skip
SAID = ("Meet us on {}.", "Delivery: {}", "We close on {} at noon.", "Invoice of {}", "She was born on {}.")


def dates(folder: Path) -> tuple[Path, Path]:
    """Files of rows to train on and of held-out rows: sentences with a date, and the date as ISO 8601 has it."""
    rng = random.Random(3)

    def row() -> dict[str, Any]:
        y, m, d = rng.randint(2019, 2031), rng.randint(1, 12), rng.randint(1, 28)
        name = MONTHS[m - 1]
        ways = [f"{d} {name} {y}", f"{name} {d}, {y}", f"{d} {name[:3]}. {y}", f"the {d}th of {name} {y}"]
        written = rng.choice(ways)
        asked = {"role": "user", "content": rng.choice(SAID).format(written)}
        return {"messages": [asked, {"role": "assistant", "content": f"{y}-{m:02}-{d:02}"}]}

    train = write(folder / "dates-train.jsonl", [row() for _ in range(240)])
    return train, write(folder / "dates-held-out.jsonl", [row() for _ in range(60)])


def lines(path: Path, count: int, field: str = "") -> list[dict[str, Any]]:
    """Conversations that end with a reply; a reference answer is one."""
    rows = []
    for line in path.read_text("utf-8").splitlines()[:count]:
        row = json.loads(line)
        turns = [turn for turn in row["messages"] if turn["role"] != "system"]
        reply = row.get("reference_answer") or turns.pop()["content"]
        reply = str(json.loads(reply)[field]) if field else reply
        rows.append({"messages": [*turns, {"role": "assistant", "content": reply}]})
    return rows


def write(path: Path, rows: Sequence[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), "utf-8")
    return path


def home_of_its_own(folder: Path) -> None:
    """From here on SODATE_HOME is in this folder, with the models that there are."""
    models, own = home.models_dir(), folder / "home"
    own.mkdir(parents=True, exist_ok=True)
    if not (own / "models").exists():
        (own / "models").symlink_to(models.absolute())
    os.environ["SODATE_HOME"] = str(own)


def broken(rows: list[dict[str, Any]], rng: random.Random) -> set[int]:
    """Gives some rows the reply of a row that was answered otherwise; their numbers."""
    picked = rng.sample(range(len(rows)), max(2, round(BROKEN * len(rows))))
    replies = [row["messages"][-1]["content"] for row in rows]
    for number in picked:
        other = rng.choice([reply for reply in replies if reply != replies[number]])
        rows[number] = {"messages": [*rows[number]["messages"][:-1], {"role": "assistant", "content": other}]}
    return set(picked)


def average_precision(order: Sequence[int], wanted: set[int]) -> float:
    """The mean of the precision at each wanted row."""
    found, total = 0, 0.0
    for place, number in enumerate(order, 1):
        if number in wanted:
            found += 1
            total += found / place
    return total / len(wanted)


def trained(rows: Sequence[dict[str, Any]], folder: Path, model: str, name: str, epochs: float) -> str:
    """The version of this name, trained unless it is there. Batches of 16 take half the time of 8."""
    if find_version(f"{name}@1") is None:
        data = write(folder / f"{name}.jsonl", rows)
        sodate.train(model=model, data=[str(data)], name=name, epochs=epochs, batch_size=16, seed=0)
    return f"{name}@1"


def said(version: str, asked: Sequence[Any], replies: Sequence[str]) -> list[float]:
    """The log-probability of each reply."""
    model = load(version)
    found = [
        float(log_probabilities(model, [one], [reply])[0][0, 0]) for one, reply in zip(asked, replies, strict=True)
    ]
    model.engine.close()
    return found


def measured(
    name: str, train: Path, held: Path, field: str, given: argparse.Namespace, folder: Path
) -> dict[str, Any]:  # fmt: skip
    rng = random.Random(0)
    rows = lines(train, given.rows, field)
    wanted = broken(rows, rng)
    version = trained(rows, folder, given.model, name, given.epochs)
    kept = write(folder / f"{name}-held.jsonl", lines(held, given.held, field))
    began = time.perf_counter()
    order = [row["line"] - 1 for row in sodate.harmful(version, kept, top=len(rows))["rows"]]
    result = {"rows": len(rows), "broken": len(wanted), "share": len(wanted) / len(rows),
              "average_precision": average_precision(order, wanted),
              "seconds_to_keep": time.perf_counter() - began}  # fmt: skip
    result["times_the_share"] = result["average_precision"] / result["share"]
    if not given.questions:
        return result
    return result | by_training_again(name, rows, version, kept, given, folder)


def by_training_again(
    name: str, rows: list[dict[str, Any]], version: str, kept: Path, given: argparse.Namespace, folder: Path
) -> dict[str, Any]:
    """How far the version's replies to held-out questions move without the rows that `why` names, and without others.

    `change` and `change_at_random` have the absolute difference of the log-probability in nats, a question each (of the
    random drawings the mean); `fall` and `fall_at_random` have the sign, positive where the reply became less likely.
    """
    asked = read_rows(kept, limit=given.questions)
    count = round(TENTH * len(rows))
    replies, without = [], []
    for one in asked:
        done = sodate.why(version, one.prompt[-1].content, top=count)
        replies.append(done["reply"])
        without.append({row["line"] - 1 for row in done["up"]})
    without += [set(random.Random(n).sample(range(len(rows)), count)) for n in range(given.random)]
    before = said(version, asked, replies)
    fell = []  # by training and question
    for gone in without:
        left = [row for number, row in enumerate(rows) if number not in gone]
        without_these = f"{name}-without-{sha256_json(sorted(gone))[:8]}"
        after = said(trained(left, folder, given.model, without_these, given.epochs), asked, replies)
        fell.append([a - b for a, b in zip(before, after, strict=True)])
    of_top = [fell[n][n] for n in range(len(asked))]
    others = fell[len(asked) :]
    by_chance = [statistics.fmean(one[n] for one in others) for n in range(len(asked))]
    change = [abs(one) for one in of_top]
    random_change = [statistics.fmean(abs(one[n]) for one in others) for n in range(len(asked))]
    return {"replies": replies, "log_probability": before, "left_out": count, "random_drawings": len(others),
            "change": change, "change_at_random": random_change, "fall": of_top, "fall_at_random": by_chance,
            "compared": compared(change, random_change), "compared_falls": compared(of_top, by_chance)}  # fmt: skip


def compared(of_top: Sequence[float], by_chance: Sequence[float]) -> dict[str, Any]:
    """Paired over questions: in how many the first is larger, with the exact interval of that share; the one-sided
    exact sign test; and the mean difference in nats with a bootstrap interval, and its one-sided sign-flip test."""
    more, n = sum(a > b for a, b in zip(of_top, by_chance, strict=True)), len(of_top)
    moved = [a - b for a, b in zip(of_top, by_chance, strict=True)]
    rng = np.random.default_rng(0)
    means = np.array(moved)[rng.integers(0, n, (10_000, n))].mean(axis=1)
    return {"n": n, "more": more, "more_ci": clopper_pearson(more, n),
            "p_sign": sum(math.comb(n, k) for k in range(more, n + 1)) / 2**n,
            "mean": statistics.fmean(of_top), "mean_at_random": statistics.fmean(by_chance),
            "difference": statistics.fmean(moved), "difference_ci": np.quantile(means, (0.025, 0.975)).tolist(),
            "p_flip": chance(moved)}  # fmt: skip


def answer(rows: int, model: str, folder: Path) -> dict[str, Any]:
    """Seconds of `sodate why … --reply …` and `--harmful` over so many rows, as a person waits for them."""
    from sodate.api import why
    from sodate.train import influence

    base = lines(ROOT / "examples" / "orders" / "train.jsonl", 256)
    numbered = []
    for n in range(rows):
        *before, asked, reply = base[n % len(base)]["messages"]
        numbered.append({"messages": [*before, {**asked, "content": f"{n}. {asked['content']}"}, reply]})
    data = write(folder / "many.jsonl", numbered)
    version = sodate.train(model=model, data=[str(data)], name="many", max_steps=2, batch_size=2)["version"]
    rng = np.random.default_rng(0)

    def made_up(model: Any, rows: Any, numbers: Sequence[int], at: Any, wide: int) -> Any:
        return rng.normal(size=(len(numbers), wide)).astype(np.float32)

    influence.vectors = made_up
    why.why(version, "Send 3 boxes.", reply="3", top=1)
    kept = sum(file.stat().st_size for file in (Path(os.environ["SODATE_HOME"]) / "cache/influence").glob("*/rows"))
    found: dict[str, Any] = {"rows": rows, "kept_bytes": kept}
    words = {
        "why": ["--prompt", "Send 3 boxes.", "--reply", '{"quantity": 3}'],
        "why, asked": ["--prompt", "Send 3 boxes."],
    }
    for key, more in words.items():
        command = [sys.executable, "-m", "sodate.cli", "why", version, *more, "--json"]
        seconds = []
        for _ in range(3):
            began = time.perf_counter()
            subprocess.run(command, check=True, capture_output=True)
            seconds.append(time.perf_counter() - began)
        found[f"seconds, {key}"] = seconds
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sets", nargs="*", default=SETS)
    parser.add_argument("--model", default="smollm2-135m")
    parser.add_argument("--rows", type=int, default=240)
    parser.add_argument("--held", type=int, default=60)
    parser.add_argument("--epochs", type=float, default=3)
    parser.add_argument("--questions", type=int, default=3)
    parser.add_argument("--random", type=int, default=2)
    parser.add_argument("--answer", type=int, default=0)
    parser.add_argument("--keep")
    parser.add_argument("--from", nargs="+", default=[], dest="files")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    model = at_hand(given.model)
    given.model = model
    results: dict[str, Any] = {}
    for file in given.files:
        results |= json.loads(Path(file).read_text())
    if given.files:
        results["all"] = together(list(results.values()))
        printed(results, given)
        return
    with tempfile.TemporaryDirectory() if given.keep is None else nullcontext(given.keep) as name:
        folder = Path(name).absolute()
        home_of_its_own(folder)
        if given.answer:
            results["answer"] = answer(given.answer, model, folder)
        else:
            for one in given.sets:
                title, _, files = one.partition("=")
                made = dates(folder) if title == "dates" and not files else None
                train, held, field = (*map(str, made), "") if made else (files + ",").split(",")[:3]
                results[title] = measured(title, Path(train), Path(held), field, given, folder)
                print(title, json.dumps(results[title]), file=sys.stderr, flush=True)
    printed(results, given)


def together(sets: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The questions of all sets compared as one."""
    keys = ("change", "change_at_random", "fall", "fall_at_random")
    change, random_change, fall, random_fall = ([x for one in sets for x in one.get(key, [])] for key in keys)
    return {"compared": compared(change, random_change), "compared_falls": compared(fall, random_fall)}


def printed(results: dict[str, Any], given: argparse.Namespace) -> None:
    if given.json:
        print(json.dumps(results))
        return
    for title, result in results.items():
        print(title)
        for key, value in result.items():
            print(f"  {key:<20}{round(value, 4) if isinstance(value, float) else value}")


if __name__ == "__main__":
    main()
