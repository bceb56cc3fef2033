"""The example of the loop, a small month of it: real server, real cycle, tiny model; the canary is found nowhere."""

from __future__ import annotations

import os
import runpy
import subprocess
import sys
from pathlib import Path

from sodate.core.manifests import read_manifest
from tests.tiny import llama_folder

PLAY = Path(__file__).parents[2] / "examples" / "loop" / "play.py"


def test_a_month_is_played_and_the_canary_is_found_nowhere(tmp_path: Path) -> None:
    model = llama_folder(tmp_path / "tiny", max_position_embeddings=4096)
    words = ["--model", model, "--months", "1", "--mails", "4", "--first", "2", "--held-out", "3", "--longest", "8"]
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "SODATE_HOME": str(tmp_path / "nothing"), "SODATE_LANG": "en"}
    command = [sys.executable, PLAY, "--out", tmp_path / "out", *words]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, env=environment, cwd=tmp_path)
    assert "the canary is in 0 files" in done.stdout, done.stdout + done.stderr
    assert done.returncode == 1  # a tiny model is no better after it
    (month,) = (tmp_path / "out" / "home" / "cycles" / "orders").glob("*/cycle.json")
    about = read_manifest(month)
    assert about["stock"]["exchanges"] == 4 and about["new"]["training"] + about["new"]["held_out"] > 0
    assert b"PHONE_1" in b"".join(path.read_bytes() for path in (tmp_path / "out" / "home").glob("sodate.db*"))


def test_questions_of_a_year_drift_and_none_is_held_out() -> None:
    made = runpy.run_path(str(PLAY.parent / "questions.py"))
    asked = [[row["messages"][1]["content"] for row in made["month"](number, 10)] for number in range(-1, 12)]
    held_out = {row["messages"][1]["content"] for row in made["held_out"](25)}
    assert len(held_out) == 25 and not held_out & {text for month in asked for text in month}
    assert asked == [[row["messages"][1]["content"] for row in made["month"](number, 10)] for number in range(-1, 12)]
    assert not set(asked[1]) & set(asked[11])
    assert {row["messages"][2]["content"] for row in made["month"](3, 10)} == set(made["DESKS"])
