"""Whether what a ladder recommends holds on questions that it has not seen.

    python bench/fresh.py [tools] [labels] [--model smollm2-135m] [--rows 200] [--held 60] [--fresh 120] [--keep FOLDER]

    tools    the notes of an invented library that lends tools: prices, deposits, shelves; some answers stand nowhere
    labels   four levels of Japanese politeness (bench/reward_tasks.py)

Each is a stranger's job: no default was chosen on it, and held-out and fresh questions are about tools or verbs that no
training row names. `sodate ladder --every` measures every rung on the held-out ones. Then the same task is given with
the fresh ones: what was built stays, only the measuring is done again. Said are each rung's mean on both; whether the
recommended rung is the best on the fresh ones, or can't be told from it (paired, as the ladder compares); whether each
number comes again from the command beside it; of `tools` how many of the recommended rung's citations lead to a passage
with the answer; and of `labels` whether its version keeps the promise that `decide` makes after 200 other rows. With
--keep the folder stays, and what is done is not done again.
"""

from __future__ import annotations

import argparse
import json
import random
import re
import shlex
import subprocess
import sys
import tempfile
import time
from contextlib import nullcontext
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

import reward_tasks
from why import home_of_its_own, write

from sodate.api.retrieval import PASSAGES, search_index
from sodate.cli.at_hand import at_hand
from sodate.core.intervals import wilson

MAKERS = ["Brask", "Tolvo", "Emmer", "Quint", "Halde", "Norvik", "Sabel", "Orlow", "Pitt", "Zeman", "Lutra", "Varga"]
KINDS = ["drill", "saw", "sander", "ladder", "mixer", "pump", "heater", "mower", "grinder", "winch"]
SYSTEM = "Answer for the tool library from its notes. Say that you don't know what they do not tell."
UNKNOWN = "I don't know."
CALIBRATION, DECIDED, PROMISE = 200, 400, 0.8
ASKED = {
    "price": ["What does the {} cost a day?", "How much is the {} per day?"],
    "deposit": ["How much deposit is asked for the {}?", "What deposit do I leave for the {}?"],
    "shelf": ["Where is the {} kept?", "On which shelf do I find the {}?"],
    "weeks": ["For how long may I keep the {}?", "How many weeks can I borrow the {}?"],
    "weight": ["How heavy is the {}?", "What does the {} weigh?"],
}


def tools(folder: Path, rows: int, held: int, fresh: int) -> dict[str, Any]:
    """Documents, and rows about half of the tools to train on, a fifth held out and the rest fresh."""
    rng = random.Random(11)
    facts = {}
    for kind in KINDS:
        notes = [f"# {kind.capitalize()}s", ""]
        for maker in MAKERS:
            fact = {
                "price": f"{rng.randrange(3, 40)} euros",
                "deposit": f"{rng.randrange(5, 60) * 5} euros",
                "shelf": f"shelf {rng.choice('ABCDEF')}{rng.randrange(1, 30)}",
                "weeks": f"{rng.randrange(2, 13)} weeks",
            }
            told = (
                f"The {maker} {kind} costs {fact['price']} a day. Its deposit is {fact['deposit']}. It is kept on "
                f"{fact['shelf']}, and may be kept for {fact['weeks']}."
            )
            if rng.random() < 0.4:  # of the others nobody wrote the weight down
                fact["weight"] = f"{rng.randrange(2, 60)} kilos"
                told += f" It weighs {fact['weight']}."
            notes += [f"## {maker} {kind}", "", told, ""]
            facts[f"{maker} {kind}"] = (f"{kind}.md", told, fact)
        (folder / "notes").mkdir(exist_ok=True)
        (folder / "notes" / f"{kind}.md").write_text("\n".join(notes), "utf-8")
    names = sorted(facts)
    rng.shuffle(names)
    parts = {"train": (names[:60], rows), "held": (names[60:84], held), "fresh": (names[84:], fresh)}
    for part, (some, count) in parts.items():
        every = [(name, about, asked) for name in some for about, ways in ASKED.items() for asked in ways]
        rng.shuffle(every)
        made = []
        for name, about, asked in every[:count]:
            file, told, fact = facts[name]
            answer = fact.get(about)
            row: dict[str, Any] = {"messages": [
                {"role": "system", "content": SYSTEM}, {"role": "user", "content": asked.format(name)},
            ]}  # fmt: skip
            if part == "train":
                said = UNKNOWN if answer is None else f"{answer[0].upper()}{answer[1:]} [*]."
                row["messages"].append({"role": "assistant", "content": said})
                row |= {} if answer is None else {"file": file, "passage": told}
            else:
                row |= {"reference_answer": answer or "", "answerable": "no" if answer is None else "yes", "tool": name}
            made.append(row)
        write(folder / f"{part}.jsonl", made)
    return {
        "goal": "Answer questions about the tools from the library's notes.", "wrong": ["accuracy"],
        "knowledge": "monthly", "grader": ["honest", "citations"], "documents": ["notes"], "cluster": "tool",
    }  # fmt: skip


def labels(folder: Path, rows: int, held: int, fresh: int) -> dict[str, Any]:
    others = reward_tasks.rows("labels", held + fresh + CALIBRATION + DECIDED, True, 5)
    taught, rest = reward_tasks.rows("labels", rows, False, 5), others[held + fresh :]
    parts = {
        "train": taught,
        "held": others[:held],
        "fresh": others[held : held + fresh],
        "calibration": rest[:CALIBRATION],
        "decided": rest[CALIBRATION:],
    }
    for part, some in parts.items():
        write(folder / f"{part}.jsonl", [reward_tasks.conversation(row) for row in some])
    return {"goal": "Say how polite the sentence is.", "wrong": ["accuracy"], "knowledge": "never", "grader": ["label"]}


def climbed(folder: Path, name: str, heldout: str, task: dict[str, Any]) -> Any:
    """What `sodate ladder --every` says of the task with these held-out rows."""
    file = folder / f"{heldout}.yaml"
    given = {"name": name, "train": "train.jsonl", "heldout": f"{heldout}.jsonl", **task}
    file.write_text(json.dumps(given), "utf-8")  # JSON is YAML
    return sodate(folder, "ladder", file.name, "--every")


def sodate(folder: Path, *words: str) -> Any:
    """The JSON of a command; its progress goes to the terminal."""
    done = subprocess.run([sys.executable, "-m", "sodate.cli", *words, "--json"], cwd=folder, stdout=subprocess.PIPE)
    if done.returncode:
        sys.exit(f"sodate {shlex.join(words)} ended with {done.returncode}")
    return json.loads(done.stdout)


def again(folder: Path, rung: dict[str, Any]) -> float:
    """The rung's number by the command beside it."""
    found = sodate(folder, *shlex.split(rung["command"])[1:])
    return float(found["results"][0]["mean"])


def citations(folder: Path, rung: dict[str, Any], heldout: str) -> tuple[int, int]:
    """Of the answerable questions that got a right reply, how many cite a passage with the answer; and their number."""
    asked = [json.loads(line) for line in (folder / heldout).read_text("utf-8").splitlines()]
    kept = Path(rung["report"]).with_name("replies.jsonl").read_text("utf-8").splitlines()
    replies = sorted((json.loads(line) for line in kept), key=lambda one: int(one["item"]))
    index = shlex.split(rung["command"])[shlex.split(rung["command"]).index("--index") + 1]
    led = right = 0
    for row, reply in zip(asked, replies, strict=True):
        answer = row["reference_answer"]
        if not answer or answer.lower() not in reply["reply"].lower():
            continue
        right += 1
        found = search_index(index, row["messages"][-1]["content"], PASSAGES)
        cited = [int(number) for number in re.findall(r"\[(\d+)\]", reply["reply"])]
        led += any(answer in one["text"] and row["tool"] in one["text"] for one in found if one["rank"] in cited)
    return led, right


def promised(folder: Path, rung: dict[str, Any]) -> None:
    """Whether the rung's version keeps a promise on rows that it has not seen."""
    version = shlex.split(rung["command"])[2]
    found = sodate(folder, "decide", version, "--data", "decided.jsonl", "--options", ",".join(reward_tasks.LEVELS),
                   "--calibrate", "calibration.jsonl", "--promise", str(PROMISE))  # fmt: skip
    print(
        f"promised {PROMISE:.0%} after {CALIBRATION} rows: of {found['n']} fresh ones {found['coverage']:.1%} answered"
    )
    if found["answered_right"] is not None:
        low, high = found["answered_right_ci"]
        print(f"right of these: {found['answered_right']:.1%} ({low:.1%}–{high:.1%}); of all: {found['accuracy']:.1%}")
    low, high = found["ece_ci"]
    print(f"ECE {found['ece']:.3f} [{low:.3f}, {high:.3f}], {found['ece_by_chance']:.3f} by chance alone")


def played(name: str, folder: Path, given: argparse.Namespace) -> None:
    make = {"tools": tools, "labels": labels}[name]
    task = make(folder, given.rows, given.held, given.fresh) | {"model": given.model}
    began = time.perf_counter()
    first = climbed(folder, f"bench-{name}", "held", task)
    seconds = time.perf_counter() - began
    fresh = climbed(folder, f"bench-{name}", "fresh", task)
    print(f"{name}: {len(first['rungs'])} rungs, {first['n']} held-out questions, {seconds / 60:.1f} min; "
          f"{fresh['n']} fresh ones")  # fmt: skip
    print("| rung | held-out | fresh | USD a month | its command again |\n|---|--:|--:|--:|--:|")
    for one, other in zip(first["rungs"], fresh["rungs"], strict=True):
        shown = [f"{100 * q['mean']:.1f} ({100 * q['ci'][0]:.0f}–{100 * q['ci'][1]:.0f})"
                 for q in (one["quality"], other["quality"])]  # fmt: skip
        same = again(folder, one) == one["quality"]["mean"]
        print(f"| {one['name']} | {' | '.join(shown)} | {one['cost_per_month']:.2f} | {'same' if same else 'other'} |")
    chosen = next(one for one in fresh["rungs"] if one["name"] == first["recommended"])
    print(f"\nrecommended: {chosen['name']}; best on fresh questions: {fresh['best']}")
    if beside := chosen["against_best"]:
        low, high = (100 * end for end in beside["ci"])
        print(f"recommended - best on fresh questions: {100 * beside['diff']:+.1f} [{low:+.1f}, {high:+.1f}], "
              f"{beside['verdict']}")  # fmt: skip
    if name == "labels":
        promised(folder, chosen)
    if "documents" in task and "--index" in chosen["command"]:
        led, right = citations(folder, chosen, "fresh.jsonl")
        low, high = wilson(led, right)
        print(
            f"right replies that cite a passage with the answer: {led} of {right} ({100 * low:.0f}–{100 * high:.0f} %)"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tasks", nargs="*", default=["tools", "labels"])
    parser.add_argument("--model", default="smollm2-135m")
    parser.add_argument("--rows", type=int, default=200)
    parser.add_argument("--held", type=int, default=60)
    parser.add_argument("--fresh", type=int, default=120)
    parser.add_argument("--keep")
    given = parser.parse_args()
    given.model = at_hand(given.model)
    with tempfile.TemporaryDirectory() if given.keep is None else nullcontext(given.keep) as name:
        for task in given.tasks:
            folder = Path(name).absolute() / task
            home_of_its_own(folder)
            played(task, folder, given)


if __name__ == "__main__":
    main()
