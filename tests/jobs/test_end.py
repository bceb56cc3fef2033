"""A process that waits for its parent's end in a thread ends by itself without a fatal error."""

from __future__ import annotations

import subprocess
import sys

import pytest


@pytest.mark.parametrize("waits", ["sodate.cli.jobs:_end_with_starter", "sodate.jobs.process:_end_with_parent"])
def test_its_own_end_is_a_quiet_one(waits: str) -> None:
    module, _, name = waits.partition(":")
    program = (
        f"import threading, time\nfrom {module} import {name}\n"
        f"threading.Thread(target={name}, daemon=True).start()\ntime.sleep(0.2)\n"
    )
    with subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stderr is not None
        said = process.stderr.read()  # stdin stays open: the parent lives
        assert process.wait(60) == 0 and said == b"", said
