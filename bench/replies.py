"""How long `sodate eval --replies` takes: python bench/replies.py [--rows 10000]. The whole command, in a fresh home.

On a machine that does other things, its CPU time says more than the clock.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, default=10_000)
    parser.add_argument("--grader", action="append", help="default: exact and string_check:op=like")
    given = parser.parse_args()
    graders = given.grader or ["exact", "string_check:op=like"]
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        rows = [{"prompt": f"Where is order {n}?", "reference_answer": f"shipped {n}"} for n in range(given.rows)]
        replies = {
            "old": [f"shipped {n}" if n % 3 else "unknown" for n in range(given.rows)],
            "new": [f"shipped {n}" if n % 4 else "I don't know" for n in range(given.rows)],
        }
        (place / "held.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        for name, texts in replies.items():
            (place / f"{name}.jsonl").write_text("".join(json.dumps({"reply": text}) + "\n" for text in texts))
        words = [sys.executable, "-m", "sodate.cli", "eval", "--data", "held.jsonl", "--json"]
        words += [word for name in replies for word in ("--replies", f"{name}.jsonl")]
        words += [word for grader in graders for word in ("--grader", grader)]
        began = time.monotonic()
        subprocess.run(words, cwd=place, env={**os.environ, "SODATE_HOME": str(place / "home")}, check=True,
                       stdout=subprocess.DEVNULL)  # fmt: skip
        seconds = time.monotonic() - began
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = used.ru_utime + used.ru_stime
    print(
        f"{given.rows} rows, {len(replies)} files of replies, {', '.join(graders)}: {seconds:.1f} s, {cpu:.1f} s of CPU"
    )


if __name__ == "__main__":
    main()
