"""One training run killed again and again with SIGKILL at random moments, beside one left in peace. Prints a table.

    python bench/kill_resume.py [KILLS] [SEED]

Exit code 1 unless the adapters are equal bit for bit and every step has the same loss.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from tests import farm  # noqa: E402

STEPS, SAVE_EVERY = 400, 3


def command(field: farm.Farm, home: Path) -> list[str]:
    """Starts the run of `home`, or goes on with it."""
    sodate = [sys.executable, "-m", "sodate.cli"]
    if [*home.glob("runs/*/run.json")]:
        return [*sodate, "runs", "resume", farm.the_run(home), "--json"]
    settings = ["batch_size=4", f"max_steps={STEPS}", f"save_every={SAVE_EVERY}", "eval_every=50", "early_stop=null"]
    return [
        *sodate,
        "train",
        "--model",
        field.model,
        "--data",
        str(field.train),
        "--eval",
        str(field.held),
        "--json",
        *settings,
    ]


def begin(field: farm.Farm, home: Path) -> subprocess.Popen[bytes]:
    environment = {**os.environ, "SODATE_HOME": str(home)}
    return subprocess.Popen(command(field, home), env=environment, stdout=subprocess.DEVNULL)


def step(home: Path) -> int:
    """Last step in the metrics."""
    lines = [line for file in home.glob("runs/*/metrics.jsonl") for line in file.read_text().splitlines()]
    return int(json.loads(lines[-1])["step"]) if lines else 0


def checkpoint(home: Path) -> int:
    return max((int(p.name.removeprefix("step-")) for p in home.glob("runs/*/checkpoints/step-*")), default=0)


def beginnings(home: Path) -> int:
    """How often training has begun or gone on, by the events."""
    text = "".join(file.read_text() for file in home.glob("runs/*/events.jsonl"))
    return text.count('"kind": "started"') + text.count('"kind": "resumed"')


def main() -> None:
    kills = int(sys.argv[1]) if len(sys.argv) > 1 else 20
    draw = random.Random(int(sys.argv[2]) if len(sys.argv) > 2 else 0)
    with tempfile.TemporaryDirectory() as folder:
        field = farm.plant(Path(folder))
        peace, war = (field.new_home(Path(folder) / name) for name in ("peace", "war"))
        started = time.monotonic()
        if begin(field, peace).wait():
            sys.exit("the undisturbed run failed")
        print(f"undisturbed: {time.monotonic() - started:.1f} s, {STEPS} steps, a checkpoint every {SAVE_EVERY}")
        print("kill  after s  at step  newest checkpoint  half-written")
        for number in range(1, kills + 1):
            process = begin(field, war)
            while beginnings(war) < number and process.poll() is None:
                time.sleep(0.005)
            delay = draw.uniform(0, 0.5)
            time.sleep(delay)
            process.kill()
            if process.wait() == 0:
                print(f"{number:4d}  the run ended before it could be killed")
                break
            half = len([*war.glob("runs/**/*.tmp")])
            print(f"{number:4d}  {delay:7.3f}  {step(war):7d}  {checkpoint(war):17d}  {half:12d}", flush=True)
        code = begin(field, war).wait()
        same = code == 0 and farm.adapter_bytes(war) == farm.adapter_bytes(peace)
        curves = code == 0 and farm.curve(war) == farm.curve(peace)
        print(f"adapter bit for bit: {'same' if same else 'DIFFERENT'}; losses: {'same' if curves else 'DIFFERENT'}")
        sys.exit(not (same and curves))


if __name__ == "__main__":
    main()
