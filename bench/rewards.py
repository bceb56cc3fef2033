"""What GRPO, PPO and DPO do to a supervised version on held-out rows: many short runs, kept one by one.

    python bench/rewards.py run --arm default [--method grpo] [--tasks labels sums …] [--seeds 0 1 2] [KEY=VALUE …]
    python bench/rewards.py table [--out FILE]
    python bench/rewards.py power

Each task (bench/reward_tasks.py) has a supervised version, trained once on `--rows` rows for `--epochs`. An arm is a
name for the keys that follow it, given to every run; `default` is `samples=8 batch_size=8 max_steps=24` and all else
auto. A run is measured on `--held` rows that no training row shares its words with, against its start, pair by pair.
The weights are kept whatever the run says of them (register_no_gain=true), so that the table shows both: `raw`, what
they are worth, and `shipped`, what a person gets who goes on with the start where the run says no-gain.
`--fresh` gives the run other rows than the supervised ones; otherwise it has the same.
Every result is a line of `--out`; what is there already is not run again. Nothing is averaged over before `table`.
`power` says how often a true gain is shown by the test that decides about `no-gain`, and how often chance passes.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

import reward_tasks as tasks

ROOT = Path(__file__).parents[1]
GRPO = ["samples=8", "batch_size=8", "max_steps=24"]
SHOWN = ("verdict", "said", "best_step", "steps", "train_seconds", "look_seconds", "held_out")


def sodate(*words: str) -> Any:
    """The JSON that a command prints. A failure ends this program with what it said."""
    done = subprocess.run([sys.executable, "-m", "sodate.cli", *words, "--json"], capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"sodate {' '.join(words)}\n{done.stdout}\n{done.stderr}")
    return json.loads(done.stdout)


def write(path: Path, rows: list[dict[str, Any]]) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), "utf-8")
    return str(path)


def files(folder: Path, task: str, count: int, held: int) -> dict[str, str]:
    """The files of a task: `train`, `fresh` and `held`, and each of them as pairs."""
    drawn = tasks.rows(task, 2 * count, False, 0)
    parts = {"train": drawn[:count], "fresh": drawn[count:], "held": tasks.rows(task, held, True, 0)}
    made = {}
    for part, rows in parts.items():
        made[part] = write(folder / f"{task}-{part}.jsonl", [tasks.conversation(row) for row in rows])
        made[f"{part}-pairs"] = write(folder / f"{task}-{part}-pairs.jsonl", [tasks.pair(row) for row in rows])
    return made


def supervised(model: str, task: str, made: dict[str, str], epochs: float) -> str:
    """The version that runs begin with, trained unless it is there."""
    name = f"rewards-{task}-{model.partition('-')[0]}-{epochs:g}".replace(".", "_")
    known = [one["version"] for one in sodate("versions", "list")]
    if f"{name}@1" not in known:
        sodate("train", f"model={model}", f"data={made['train']}", f"epochs={epochs:g}", f"name={name}")
    return f"{name}@1"


def compare(start: str, version: str, task: str, held: str) -> dict[str, Any]:
    """The held-out score before and after, and the paired difference."""
    words = ["eval", start, version, "--data", held, "--grader", tasks.GRADERS[task], "--examples", "0"]
    found = sodate(*words, "--max-tokens", str(tasks.TOKENS[task]))
    (one,) = found["comparisons"]
    means = [[each["model"], each["mean"]] for each in found["results"]]
    return {"n": found["n"], "comparison": one, "results": means}


def run(given: argparse.Namespace) -> None:
    out = Path(given.out)
    done = [json.loads(line) for line in out.read_text("utf-8").splitlines()] if out.exists() else []
    known = {(one["arm"], one["method"], one["model"], one["task"], one["seed"]) for one in done}
    keys = [*(GRPO if given.method in ("grpo", "ppo") else []), *given.keys]
    for task in given.tasks:
        for seed in given.seeds:
            if (given.arm, given.method, given.model, task, seed) in known:
                continue
            made = files(out.parent / "rows", task, given.rows, given.held)
            start = supervised(given.model, task, made, given.epochs)
            part = "fresh" if given.fresh else "train"
            rolled = given.method in ("grpo", "ppo")
            own = [f"rewards={tasks.GRADERS[task]}", f"max_new_tokens={tasks.TOKENS[task]}"] if rolled else []
            began = time.time()
            data = made[part if rolled else f"{part}-pairs"]
            result = sodate(
                "train", "--method", given.method, f"model={start}", f"data={data}",
                f"seed={seed}", "register_no_gain=true", "name=rewards-out", *own, *keys,
            )  # fmt: skip
            line = {
                "arm": given.arm, "method": given.method, "model": given.model, "task": task, "seed": seed,
                "keys": keys, "fresh": given.fresh, "rows": given.rows, "epochs": given.epochs,
                "at": time.strftime("%Y-%m-%dT%H:%M:%S"), "wall_seconds": round(time.time() - began, 1),
                **{key: result.get(key) for key in SHOWN}, **compare(start, result["version"], task, made["held"]),
                "curve": _curve(Path(result["run_dir"])),
            }  # fmt: skip
            if not rolled:
                line["pairs"] = _pairs_right(Path(result["run_dir"]))
            with out.open("a", encoding="utf-8") as file:
                file.write(json.dumps(line, ensure_ascii=False) + "\n")
            print(_row(line), flush=True)
            sodate("versions", "delete", result["version"])


def _curve(folder: Path) -> list[dict[str, Any]]:
    wanted = ("step", "reward_mean", "entropy", "kl", "zero_variance_groups", "eval_reward", "eval_gain_p", "lr",
              "base_eval_reward", "base_in_between", "eval_accuracy", "eval_loss", "eval_rewards/chosen")  # fmt: skip
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [{key: line[key] for key in wanted if key in line} for line in lines]


def _pairs_right(folder: Path) -> list[float]:
    """The share of the run's own held-out pairs in the right order, before and at the last look."""
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    looks = [line["eval_accuracy"] for line in lines if "eval_accuracy" in line]
    return [lines[0].get("base_eval_accuracy", math.nan), looks[-1] if looks else math.nan]


def _row(line: dict[str, Any]) -> str:
    one = line["comparison"]
    low, high = one["ci"]
    shipped = 0.0 if line["verdict"] == "no-gain" else one["diff"]
    return (
        f"| {line['arm']} | {line['method']} | {line['model'].partition('-')[0]} | {line['task']} | {line['seed']} "
        f"| {line['n']} | {100 * one['diff']:+.1f} [{100 * low:+.1f}, {100 * high:+.1f}] {one['verdict']} "
        f"| {line['verdict']} | {100 * shipped:+.1f} | {line['wall_seconds']:.0f} |"
    )


def table(given: argparse.Namespace) -> None:
    lines = [json.loads(line) for line in Path(given.out).read_text("utf-8").splitlines()]
    print("| arm | method | model | task | seed | n | raw, points [95 %] | the run said | shipped | s |")
    print("|---|---|---|---|---|---|---|---|---|---|")
    for line in sorted(lines, key=lambda one: (one["arm"], one["method"], one["model"], one["task"], one["seed"])):
        print(_row(line))
    for arm in sorted({(line["arm"], line["method"]) for line in lines}):
        mine = [line for line in lines if (line["arm"], line["method"]) == arm]
        raw = [100 * line["comparison"]["diff"] for line in mine]
        shipped = [0.0 if one["verdict"] == "no-gain" else d for one, d in zip(mine, raw, strict=True)]
        worse = sum(line["comparison"]["verdict"] == "worse" for line in mine)
        kept = sum(one["comparison"]["verdict"] == "worse" and one["verdict"] != "no-gain" for one in mine)
        print(
            f"\n{arm[0]} ({arm[1]}): {len(mine)} runs, raw mean {statistics.mean(raw):+.1f}, worse {worse}; "
            f"shipped mean {statistics.mean(shipped):+.1f}, worse {kept}"
        )


def power() -> None:
    """Tasks that are right or wrong: a share is put right by training, another is broken."""
    import numpy as np

    from sodate.train.gain import ALPHA, chance

    rng, draws = np.random.default_rng(0), 2000
    print("| held-out tasks | looks | put right | broken | gain, points | shown in |")
    print("|---|---|---|---|---|---|")
    for items in (16, 38, 120, 200):
        for looks in (1, 2):
            for fixed, broken in ((0.1, 0.1), (0.18, 0.08), (0.25, 0.05)):
                seen = 0
                for _ in range(draws):
                    u = rng.random(items)
                    moved = np.where(u < fixed, 1.0, np.where(u < fixed + broken, -1.0, 0.0))
                    seen += moved.sum() > 0 and chance(moved.tolist()) < ALPHA / looks
                points = 100 * (fixed - broken)
                print(f"| {items} | {looks} | {fixed:.0%} | {broken:.0%} | {points:+.0f} | {seen / draws:.1%} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["run", "table", "power"])
    parser.add_argument("--arm", default="default")
    parser.add_argument("--method", default="grpo")
    parser.add_argument("--model", default="smollm2-135m")
    parser.add_argument("--tasks", nargs="+", default=list(tasks.TASKS), choices=list(tasks.TASKS))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--rows", type=int, default=600)
    parser.add_argument("--held", type=int, default=200)
    parser.add_argument("--epochs", type=float, default=1.0)
    parser.add_argument("--fresh", action="store_true")
    parser.add_argument("--out", default=str(ROOT / "build" / "rewards" / "results.jsonl"))
    given, keys = parser.parse_known_args()
    given.keys = keys
    if wrong := [key for key in keys if "=" not in key]:
        parser.error(f"not KEY=VALUE: {wrong}")
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    {"run": lambda: run(given), "table": lambda: table(given), "power": power}[given.what]()


if __name__ == "__main__":
    main()
