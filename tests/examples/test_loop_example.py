"""The example of the loop, a small month of it: real server, real cycle, tiny model; the canary is found nowhere."""

from __future__ import annotations

import os
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
