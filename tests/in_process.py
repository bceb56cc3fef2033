"""`sodate` commands run in this process, where a ladder would start one for each: quick, and with the same results."""

from __future__ import annotations

import io
import json
import os
from collections.abc import Sequence
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

from sodate.cli import app, failures
from sodate.core.errors import SodateError


def run_command(words: Sequence[str], cwd: Path) -> tuple[Any, float, int]:
    """Stands for `ladder_steps.run_command`: every command takes 1.5 s and 1 GB."""
    said, before = io.StringIO(), Path.cwd()
    os.chdir(cwd)
    try:
        with redirect_stdout(said):
            status = failures.run(app, [*words, "--json"])
    finally:
        os.chdir(before)
    result = json.loads(said.getvalue())
    if status:
        raise SodateError(result["error"]["message"], code=result["error"]["code"])
    return result, 1.5, 10**9
