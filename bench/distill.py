"""On-policy distillation (GKD) beside plain fine-tuning on the same teacher's replies: SmolLM2-135M, one teacher.

    python bench/distill.py [--rows 40] [--held-out 100] [--epochs 4] [--seeds 1] [--folder FOLDER]

The task is that of examples/loop/questions.py: which desk answers. The teacher is the same model tuned on right answers
of the first months. Students start from the base and see questions of later months with the teacher's replies, never a
right answer: as rows of `sft`, of `distill` without replies of its own (`on_policy=0`), and half with them (0.5); and
without, by the KL from the teacher (`beta=0`), whose gradient does not vanish where the two agree on nothing. What is
printed is the share of right desks on held-out questions, paired with `sft`, and seconds of the processor.

With `--folder` what was made stays there. Killed, or out of `--until-seconds`, and called again the same, it goes on
with the next student. Exit code 75 says that there is more to do.
"""

from __future__ import annotations

import argparse
import json
import os
import runpy
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

ASK = runpy.run_path(str(Path(__file__).parents[1] / "examples" / "loop" / "questions.py"))
MODEL = "smollm2-135m"
WAYS: dict[str, dict[str, Any]] = {
    "sft": {"method": "sft"},
    "distill, on_policy=0": {"method": "distill", "on_policy": 0.0},
    "distill, on_policy=0.5": {"method": "distill", "on_policy": 0.5},
    "distill, on_policy=0, beta=0": {"method": "distill", "on_policy": 0.0, "beta": 0.0},
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=40, help="questions that the students see")
    parser.add_argument("--held-out", type=int, default=100)
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--folder", type=Path, help="keep what was made there, and go on with it")
    parser.add_argument("--until-seconds", type=float, default=float("inf"), help="begin nothing after so long")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        home = given.folder or Path(folder)
        home.mkdir(parents=True, exist_ok=True)
        models = Path(os.environ.get("SODATE_HOME") or Path.home() / ".sodate") / "models"
        if not (home / "models").exists():
            (home / "models").symlink_to(models.absolute())
        os.environ["SODATE_HOME"] = str(home)
        measure(home, given)


class Steps:
    """What was made, by its name, in a file: what is there is not made again."""

    def __init__(self, path: Path, seconds: float) -> None:
        self.path, self.until = path, time.monotonic() + seconds
        self.done: dict[str, Any] = json.loads(path.read_text("utf-8")) if path.exists() else {}

    def made(self, name: str, make: Callable[[], Any]) -> Any:
        if name not in self.done:
            if time.monotonic() > self.until:
                print(f"out of time before {name}: call it again", flush=True)
                sys.exit(75)
            start = time.process_time()
            told = make()
            self.done[name] = {"told": told, "seconds": time.process_time() - start}
            self.path.write_text(json.dumps(self.done), "utf-8")
        return self.done[name]["told"]


def measure(folder: Path, given: argparse.Namespace) -> None:
    from sodate.api.evaluation import evaluate
    from sodate.api.replies import Prompt, replies
    from sodate.api.training import train
    from sodate.core.types import Message

    known = [row for month in range(-1, 4) for row in ASK["month"](month, 12)]
    asked = [row for month in range(4, 9) for row in ASK["month"](month, given.rows)][: given.rows]
    unknown = [row for month in range(9, 12) for row in ASK["month"](month, given.held_out)]
    unknown = [*ASK["held_out"](25), *unknown][: given.held_out]
    held_out = write(folder / "held-out.jsonl", unknown)
    common = {"epochs": given.epochs, "batch_size": 8, "lora_rank": 8}
    steps = Steps(folder / "steps.json", given.until_seconds)

    def trained(name: str, data: str, **keys: Any) -> str:
        version: str = train(model=MODEL, data=[data], name=name, **common, **keys)["version"]
        return version

    known_file = write(folder / "known.jsonl", known)
    teacher = steps.made("teacher", lambda: trained("teacher", known_file, method="sft"))
    prompts = [Prompt(tuple(Message(one["role"], one["content"]) for one in row["messages"][:-1])) for row in asked]
    said = steps.made("replies", lambda: [one["replies"][0] for one in replies(teacher, prompts, max_new_tokens=6)])
    right = sum(text == row["messages"][-1]["content"] for text, row in zip(said, asked, strict=True))
    print(f"the teacher learnt from {len(known)} rows; {right} of its {len(said)} replies to new questions are right")
    taught = [{"messages": [*row["messages"][:-1], {"role": "assistant", "content": text}]}
              for row, text in zip(asked, said, strict=True) if text]  # fmt: skip
    data = write(folder / "taught.jsonl", taught)
    made: dict[str, list[str]] = {}
    for way, keys in WAYS.items():
        for seed in range(given.seeds):
            more = {"teacher": teacher, "max_new_tokens": 6} if keys["method"] == "distill" else {}
            student = partial(trained, f"student-{list(WAYS).index(way)}-{seed}", data, seed=seed, **keys, **more)
            made.setdefault(way, []).append(steps.made(f"{way}, seed {seed}", student))
            seconds = steps.done[f"{way}, seed {seed}"]["seconds"]
            print(f"  {way}, seed {seed}: {seconds:.0f} s of the processor", flush=True)
    first = made["sft"][0]
    students = [version for versions in made.values() for version in versions]
    others = [one for one in students if one != first]

    def measured() -> Any:
        found = evaluate([*others, teacher, MODEL], held_out, ["exact"], baseline=first, max_new_tokens=6)
        return json.loads((found.report.parent / "result.json").read_text("utf-8"))

    result = steps.made(f"measured {', '.join(students)}", measured)
    scores = {row["model"]: row for row in result["results"]}
    against = {row["candidate"]: row for row in result["comparisons"] if row["baseline"] == first}
    named = {version: way for way, versions in made.items() for version in versions}
    for version in (MODEL, teacher, *students):
        row, pair = scores[version], against.get(version)
        low, high = (100 * end for end in row["ci"])
        beside = "" if pair is None else f"; {100 * pair['diff']:+.1f} points beside sft ({_ends(pair['ci'])})"
        print(f"{named.get(version, version)}: {100 * row['mean']:.1f} % right ({low:.0f} to {high:.0f}, "
              f"n = {result['n']}){beside}")  # fmt: skip


def _ends(ci: list[float]) -> str:
    return f"{100 * ci[0]:+.1f} to {100 * ci[1]:+.1f}"


def write(path: Path, rows: list[dict[str, Any]]) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    return str(path)


if __name__ == "__main__":
    main()
