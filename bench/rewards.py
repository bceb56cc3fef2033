"""What GRPO, PPO and DPO do to a supervised version on held-out rows: many short runs, kept one by one.

    python bench/rewards.py run --arm default [--method grpo] [--tasks labels sums …] [--seeds 0 1 2] [KEY=VALUE …]
    python bench/rewards.py table [--out FILE]
    python bench/rewards.py power

Each task (bench/reward_tasks.py) has a supervised version, trained once on `--taught` rows for `--epochs`. An arm is a
name for the keys that follow it, given to every run; `default` is `samples=8 batch_size=8 max_steps=24` and all else
auto. A run is measured on `--held` rows that no training row shares its words with, against its start, row by row.
The weights are kept whatever the run says of them (register_no_gain=true), so that the table shows both: `raw`, what
they are worth, and `shipped`, what a person gets who goes on with the start where the run says no-gain. `--as-typed`
leaves that out: then a run without a gain has no weights to measure, and one that can't gain ends at its first step.
The run has `--rows` other rows than the supervised version; with `--known` it has the same.
Every result is a line of `--out`; what is there already is not run again. Nothing is averaged over before `table`.
`power` says how often a true gain is shown by the test that decides about `no-gain`, and how often chance passes.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

import reward_tasks as tasks

ROOT = Path(__file__).parents[1]
GRPO = ["samples=8", "batch_size=8", "max_steps=24"]
SHOWN = ("verdict", "said", "best_step", "steps", "train_seconds", "look_seconds", "look_share", "held_out")


def write(path: Path, rows: list[dict[str, Any]]) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), "utf-8")
    return str(path)


def files(folder: Path, task: str, taught: int, rows: int, held: int) -> dict[str, str]:
    """The files of a task: `taught`, `fresh` and `held`, and each of them as pairs."""
    drawn = tasks.rows(task, taught + rows, False, 0)
    parts = {"taught": drawn[:taught], "fresh": drawn[taught:], "held": tasks.rows(task, held, True, 0)}
    made = {}
    for part, some in parts.items():
        made[part] = write(folder / f"{task}-{part}-{len(some)}.jsonl", [tasks.conversation(row) for row in some])
        made[f"{part}-pairs"] = write(
            folder / f"{task}-{part}-{len(some)}-pairs.jsonl", [tasks.pair(row) for row in some]
        )
    return made


def supervised(model: str, task: str, made: dict[str, str], taught: int, epochs: float) -> str:
    """The version that runs begin with, trained unless it is there."""
    import sodate
    from sodate.release import registry

    name = f"rewards-{task}-{model.partition('-')[0]}-{taught}x{epochs:g}".replace(".", "_")
    if not registry.list_versions(name):
        sodate.train(model=model, data=made["taught"], epochs=epochs, name=name)
    return f"{name}@1"


def replies(folder: Path, start: str, task: str, held: str) -> Path:
    """The held-out replies of the version that runs begin with, made once."""
    import sodate

    path = folder / f"{start}-{Path(held).stem}.jsonl"
    if not path.exists():
        found = sodate.evaluate([start], held, tasks.GRADERS[task], max_new_tokens=tasks.TOKENS[task]).result
        write(path, [{"reply": reply} for reply in found.replies[start]])
        print(f"{start}: {found.results[0].mean:.1%} of {found.n} held-out rows", flush=True)
    return path


def compare(before: Path, version: str, task: str, held: str) -> dict[str, Any]:
    """The held-out score before and after, and the paired difference."""
    import sodate

    found = sodate.evaluate(
        [version], held, tasks.GRADERS[task], replies=[f"{before}:start"], baseline="start",
        max_new_tokens=tasks.TOKENS[task],
    ).result  # fmt: skip
    (one,) = found.comparisons
    return {"n": found.n, "comparison": one.to_json(), "results": [[each.model, each.mean] for each in found.results]}


def run(given: argparse.Namespace) -> None:
    import sodate
    from sodate.api.versions import delete_version
    from sodate.core.recipe import given as values

    out = Path(given.out)
    done = [json.loads(line) for line in out.read_text("utf-8").splitlines()] if out.exists() else []
    known = {(one["arm"], one["method"], one["model"], one["task"], one["seed"]) for one in done}
    rolled = given.method in ("grpo", "ppo")
    keys = values([*(GRPO if rolled else []), *given.keys])
    for seed in given.seeds:
        for task in given.tasks:
            if (given.arm, given.method, given.model, task, seed) in known:
                continue
            folder = out.parent / "rows"
            made = files(folder, task, given.taught, given.rows, given.held)
            start = supervised(given.model, task, made, given.taught, given.epochs)
            before = replies(folder, start, task, made["held"])
            part = "taught" if given.known else "fresh"
            own: dict[str, Any] = {"register_no_gain": not given.as_typed}
            if rolled:
                own |= {"rewards": tasks.GRADERS[task], "max_new_tokens": tasks.TOKENS[task]}
            began, clock = time.perf_counter(), time.process_time()
            result = sodate.train(
                method=given.method, model=start, data=made[part if rolled else f"{part}-pairs"], seed=seed,
                name="rewards-out", **own | keys,
            )  # fmt: skip
            line = {
                "arm": given.arm, "method": given.method, "model": given.model, "task": task, "seed": seed,
                "keys": keys, "known": given.known, "rows": given.taught if given.known else given.rows,
                "taught": given.taught, "epochs": given.epochs, "at": time.strftime("%Y-%m-%dT%H:%M:%S"),
                "wall_seconds": round(time.perf_counter() - began, 1),
                "cpu_seconds": round(time.process_time() - clock, 1),
                **{key: result.get(key) for key in SHOWN}, "curve": _curve(Path(result["run_dir"])),
            }  # fmt: skip
            if result["version"]:
                line |= compare(before, result["version"], task, made["held"])
                delete_version(result["version"])
            with out.open("a", encoding="utf-8") as file:
                file.write(json.dumps(line, ensure_ascii=False) + "\n")
            print(_row(line), flush=True)


def _curve(folder: Path) -> list[dict[str, Any]]:
    wanted = ("step", "seconds", "reward_mean", "entropy", "kl", "zero_variance_groups", "groups", "lr", "eval_score",
              "eval_gain_p", "base_eval_score", "base_in_between", "base_eval_accuracy", "eval_accuracy", "eval_loss",
              "base_eval_loss", "rewards/chosen", "eval_rewards/chosen")  # fmt: skip
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [{key: line[key] for key in wanted if key in line} for line in lines]


def _shipped(line: dict[str, Any]) -> float:
    """Points that a person has gained who does as the run said."""
    return 0.0 if line["verdict"] == "no-gain" else 100 * line["comparison"]["diff"]


def _points(one: dict[str, Any] | None) -> str:
    if one is None:
        return "not kept"
    low, high = one["ci"]
    return f"{100 * one['diff']:+.1f} [{100 * low:+.1f}, {100 * high:+.1f}] {one['verdict']}"


def _own(line: dict[str, Any]) -> str:
    """What the run itself saw on the rows it held out: before → at the step that was kept, and how many rows."""
    held = line["held_out"] or {}
    first, pairs = line["curve"][0], "accuracy" in held
    before = first.get("base_eval_accuracy" if pairs else "base_eval_score")
    after = held.get("accuracy" if pairs else "score")
    return "" if before is None or after is None else f"{before:.1%} → {after:.1%} of {held['items']}"


def _row(line: dict[str, Any]) -> str:
    before = [mean for model, mean in line.get("results", []) if model == "start"]
    return (
        f"| {line['arm']} | {line['method']} | {line['model'].partition('-')[0]} | {line['task']} | {line['seed']} "
        f"| {f'{before[0]:.1%}' if before else ''} | {_points(line.get('comparison'))} | {_own(line)} "
        f"| {line['verdict']} | {_shipped(line):+.1f} | {line['steps']} | {line['cpu_seconds']:.0f} "
        f"| {line['look_share']:.0%} |"
    )


def table(given: argparse.Namespace) -> None:
    lines = [json.loads(line) for line in Path(given.out).read_text("utf-8").splitlines()]
    print("| arm | method | model | task | seed | start | raw, points [95 %] | on its own held-out rows | the run said "
          "| shipped | steps | s | looks |")  # fmt: skip
    print("|---|---|---|---|---|---|---|---|---|---|---|---|---|")
    for line in sorted(lines, key=lambda one: (one["arm"], one["method"], one["model"], one["task"], one["seed"])):
        print(_row(line))
    for arm in sorted({(line["arm"], line["method"], line["model"]) for line in lines}):
        mine = [line for line in lines if (line["arm"], line["method"], line["model"]) == arm]
        raw = [line for line in mine if "comparison" in line]
        shipped = [line for line in raw if line["verdict"] != "no-gain"]
        means = [100 * line["comparison"]["diff"] for line in raw]
        print(
            f"\n{' '.join(arm)}: {len(mine)} runs; raw of {len(raw)}: mean {statistics.mean(means or [0]):+.1f}, "
            f"{_verdicts(raw)}; shipped: mean {statistics.mean(_shipped(line) for line in mine):+.1f}, "
            f"{_verdicts(shipped)}"
        )


def _verdicts(lines: list[dict[str, Any]]) -> str:
    found = [line["comparison"]["verdict"] for line in lines]
    return ", ".join(f"{found.count(one)} {one}" for one in ("better", "worse"))


def power() -> None:
    """Tasks that are right or wrong: a share is put right by training, another is broken."""
    import numpy as np

    from sodate.train.gain import ALPHA, chance

    rng, draws = np.random.default_rng(0), 2000
    print("| held-out tasks | looks | put right | broken | gain, points | shown in |")
    print("|---|---|---|---|---|---|")
    for items in (16, 76, 120, 200):
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
    parser.add_argument("--taught", type=int, default=200)
    parser.add_argument("--rows", type=int, default=600)
    parser.add_argument("--held", type=int, default=200)
    parser.add_argument("--epochs", type=float, default=1.0)
    parser.add_argument("--known", action="store_true")
    parser.add_argument("--as-typed", action="store_true")
    parser.add_argument("--out", default=str(ROOT / "build" / "rewards" / "results.jsonl"))
    given, keys = parser.parse_known_args()
    given.keys = keys
    if wrong := [key for key in keys if "=" not in key]:
        parser.error(f"not KEY=VALUE: {wrong}")
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    {"run": lambda: run(given), "table": lambda: table(given), "power": power}[given.what]()


if __name__ == "__main__":
    main()
