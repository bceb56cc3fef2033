"""On-policy distillation (GKD) beside plain fine-tuning on the same teacher's replies: SmolLM2-135M, one teacher.

    python bench/distill.py [--rows 40] [--held-out 100] [--epochs 4] [--seeds 1]

The task is that of examples/loop/questions.py: which desk answers. The teacher is the same model tuned on right answers
of the first months. Students start from the base and see questions of later months with the teacher's replies, never a
right answer: as rows of `sft`, of `distill` without replies of its own (`on_policy=0`), and half with them (0.5). What
is printed is the share of right desks on held-out questions, paired with `sft`, and seconds of the processor.
"""

from __future__ import annotations

import argparse
import json
import os
import runpy
import tempfile
import time
from pathlib import Path
from typing import Any

ASK = runpy.run_path(str(Path(__file__).parents[1] / "examples" / "loop" / "questions.py"))
MODEL = "smollm2-135m"
WAYS: dict[str, dict[str, Any]] = {
    "sft": {"method": "sft"},
    "distill, on_policy=0": {"method": "distill", "on_policy": 0.0},
    "distill, on_policy=0.5": {"method": "distill", "on_policy": 0.5},
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=40, help="questions that the students see")
    parser.add_argument("--held-out", type=int, default=100)
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--seeds", type=int, default=1)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        models = Path(os.environ.get("SODATE_HOME") or Path.home() / ".sodate") / "models"
        (home / "models").symlink_to(models.absolute())
        os.environ["SODATE_HOME"] = str(home)
        measure(home, given)


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
    teacher = train(model=MODEL, data=[write(folder / "known.jsonl", known)], method="sft", name="teacher", **common)
    prompts = [Prompt(tuple(Message(one["role"], one["content"]) for one in row["messages"][:-1])) for row in asked]
    said = [one["replies"][0] for one in replies(teacher["version"], prompts, max_new_tokens=6)]
    right = sum(text == row["messages"][-1]["content"] for text, row in zip(said, asked, strict=True))
    print(f"the teacher learnt from {len(known)} rows; {right} of its {len(said)} replies to new questions are right")
    taught = [{"messages": [*row["messages"][:-1], {"role": "assistant", "content": text}]}
              for row, text in zip(asked, said, strict=True) if text]  # fmt: skip
    data = write(folder / "taught.jsonl", taught)
    made: dict[str, list[str]] = {}
    for way, keys in WAYS.items():
        for seed in range(given.seeds):
            more = {"teacher": teacher["version"], "max_new_tokens": 6} if keys["method"] == "distill" else {}
            start = time.process_time()
            name = f"student-{len(made)}-{seed}"
            done = train(model=MODEL, data=[data], name=name, seed=seed, **common, **keys, **more)
            print(f"  {way}, seed {seed}: {time.process_time() - start:.0f} s of the processor", flush=True)
            made.setdefault(way, []).append(done["version"])
    first = made["sft"][0]
    students = [version for versions in made.values() for version in versions]
    others = [one for one in students if one != first]
    found = evaluate([*others, teacher["version"], MODEL], held_out, ["exact"], baseline=first, max_new_tokens=6)
    result = json.loads((found.report.parent / "result.json").read_text("utf-8"))
    scores = {row["model"]: row for row in result["results"]}
    against = {row["candidate"]: row for row in result["comparisons"] if row["baseline"] == first}
    named = {version: way for way, versions in made.items() for version in versions}
    for version in (MODEL, teacher["version"], *students):
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
