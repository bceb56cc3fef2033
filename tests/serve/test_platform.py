"""A program written for OpenAI's platform runs against `sodate serve`, with SQLite and PostgreSQL, to the same end."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from sodate.library.sources import pull
from tests import tiny
from tests.db.test_connection import database, postgres  # noqa: F401 (fixtures)

PROGRAM = Path(__file__).parents[2] / "bench" / "clients" / "platform_client.py"
ENDED: list[dict[str, Any]] = []  # what earlier databases came to


def test_upload_two_jobs_an_eval_a_schema_and_the_weights(
    database: str,  # noqa: F811
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    pull(str(tiny.llama_folder(tmp_path / "tiny")))
    command = [sys.executable, "-m", "sodate.cli", "serve", "tiny", "--no-auth", "--port", "0"]
    with (tmp_path / "log").open("w") as log:
        server = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True)
    try:
        assert server.stdout is not None
        url = server.stdout.readline().split()[-1]
        about = {"OPENAI_BASE_URL": url, "OPENAI_API_KEY": "none", "MODEL": "tiny", "EPOCHS": "2"}
        done = subprocess.run(
            [sys.executable, str(PROGRAM)], env={**os.environ, **about}, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr + (tmp_path / "log").read_text()
    finally:
        server.terminate()
        server.communicate()
    ENDED.append(json.loads(done.stdout))
    assert ENDED[-1]["checkpoints"] == 2
    assert ENDED[-1] == ENDED[0]
