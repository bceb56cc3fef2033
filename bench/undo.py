"""A bad release, and one command that undoes it, while people ask: on a task that nothing here was chosen on.

    python bench/undo.py [--task labels] [--model smollm2-135m] [--rows 200] [--held 100] [--seconds 20] [--clients 2]
                         [--json]

Two versions of a task of bench/reward_tasks.py are trained with every default: one on its rows, and one on the same
rows with their answers exchanged. A gate is asked about the second, which is then released all the same, by
--override. A real server follows the alias while clients ask it the held-out questions, each reply read against the
right one. Said are what the gate said, the share of right replies before the bad release, while it stood, and after
`sodate release rollback`; how long that command took; how long after its end the last request began that the bad
version answered; and how many requests failed.
"""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import sys
import tempfile
import threading
import time
from itertools import cycle
from pathlib import Path
from typing import Any

import httpx

sys.path.insert(0, str(Path(__file__).parent))

import reward_tasks
from fresh import sodate
from moves import serving
from why import home_of_its_own, write

from sodate.cli.at_hand import at_hand
from sodate.core.intervals import wilson

GOOD, BAD, ALIAS = "desk@1", "desk@2", "desk@production"
OVERRIDE = ("--override", "to see it undone", "--by", "bench")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--task", default="labels", choices=reward_tasks.GRADERS)
    parser.add_argument("--model", default="smollm2-135m")
    parser.add_argument("--rows", type=int, default=200)
    parser.add_argument("--held", type=int, default=100)
    parser.add_argument("--seconds", type=float, default=20, help="for which each release stands")
    parser.add_argument("--clients", type=int, default=2)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    model = at_hand(given.model)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        home_of_its_own(folder)
        rows = [reward_tasks.conversation(row) for row in reward_tasks.rows(given.task, given.rows, False, 9)]
        held = [reward_tasks.conversation(row) for row in reward_tasks.rows(given.task, given.held, True, 9)]
        write(folder / "good.jsonl", rows)
        write(folder / "bad.jsonl", exchanged(rows))
        write(folder / "held.jsonl", held)
        for data in ("good.jsonl", "bad.jsonl"):
            sodate(folder, "train", "--model", model, "--data", data, "--name", "desk")
        result = gated(folder, reward_tasks.GRADERS[given.task])
        sodate(folder, "release", "promote", GOOD, ALIAS, *OVERRIDE)
        with serving([ALIAS]) as port:
            result |= released(folder, port, held, given)
    print(
        json.dumps(result, indent=1) if given.json else "\n".join(f"{key:<48}{value}" for key, value in result.items())
    )


def exchanged(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rows, each with the answer of one that was answered otherwise."""
    rng, answers = random.Random(0), [row["messages"][-1] for row in rows]
    return [
        {"messages": [*row["messages"][:-1], rng.choice([one for one in answers if one != row["messages"][-1]])]}
        for row in rows
    ]


def gated(folder: Path, grader: str) -> dict[str, Any]:
    """What a gate says of the bad version beside the good one."""
    gate = {"baseline": GOOD, "data": "held.jsonl", "guard": {grader: 0.05}}
    (folder / "gate.yaml").write_text(json.dumps(gate), "utf-8")  # JSON is YAML
    measured = sodate(folder, "eval", BAD, "--baseline", GOOD, "--data", "held.jsonl", "--grader", grader)
    means = {one["model"]: f"{one['mean']:.1%}" for one in measured["results"]}
    checked = subprocess.run(
        [sys.executable, "-m", "sodate.cli", "gate", "check", BAD, "--gate", "gate.yaml", "--json"],
        cwd=folder, stdout=subprocess.PIPE,
    )  # fmt: skip
    refused = subprocess.run(
        [sys.executable, "-m", "sodate.cli", "release", "promote", BAD, ALIAS, "--json"],
        cwd=folder, capture_output=True,
    )  # fmt: skip
    return {"means on the held-out rows": means, "the gate lets the bad pass": json.loads(checked.stdout)["passes"],
            "promoting it without an override": "done" if not refused.returncode else "refused"}  # fmt: skip


def released(folder: Path, port: int, held: list[dict[str, Any]], given: argparse.Namespace) -> dict[str, Any]:
    """The good version, the bad one, and the good one again, under load."""
    going, seen = threading.Event(), []
    going.set()

    def client(number: int) -> None:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60) as http:
            for row in cycle(held[number :: given.clients]):
                if not going.is_set():
                    return
                *asked, right = row["messages"]
                began = time.perf_counter()
                answer = http.post("/v1/chat/completions", json={
                    "model": ALIAS, "messages": asked, "temperature": 0,
                    "max_tokens": reward_tasks.TOKENS[given.task],
                })  # fmt: skip
                text = answer.json()["choices"][0]["message"]["content"] if answer.status_code == 200 else ""
                version = answer.headers.get("x-sodate-version", "")
                seen.append((began, answer.status_code, version, text.strip() == right["content"]))

    clients = [threading.Thread(target=client, args=(number,)) for number in range(given.clients)]
    for one in clients:
        one.start()
    time.sleep(given.seconds)
    moved = time.perf_counter()
    sodate(folder, "release", "promote", BAD, ALIAS, *OVERRIDE)
    time.sleep(given.seconds)
    start = time.perf_counter()
    sodate(folder, "release", "rollback", ALIAS)
    undone = time.perf_counter()
    time.sleep(given.seconds)
    going.clear()
    for one in clients:
        one.join()
    late = [began - undone for began, _, version, _ in seen if version == BAD and began > undone]
    spans = {"before": (0.0, moved), "while it stood": (moved, start), "after": (undone, float("inf"))}
    return {
        "requests": len(seen), "failed": sum(status != 200 for _, status, *_ in seen),
        **{f"right {said}": share([right for began, *_, right in seen if first <= began < last])
           for said, (first, last) in spans.items()},
        "rollback, seconds of the command": round(undone - start, 2),
        "the bad version's last reply began after it": round(max(late, default=0.0), 2),
    }  # fmt: skip


def share(right: list[bool]) -> str:
    low, high = wilson(sum(right), len(right))
    return f"{sum(right) / len(right):.1%} [{low:.1%}, {high:.1%}] of {len(right)}"


if __name__ == "__main__":
    main()
