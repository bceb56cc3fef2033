"""A run asked how it stands, by readers beside the one writer."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from sodate.core import runs
from sodate.core.errors import SodateError
from sodate.core.manifests import SCHEMA_VERSION
from sodate.core.runs import RunFolder

HOLD = (
    "import sys\nfrom pathlib import Path\nfrom sodate.core.files import lock\n"
    "with lock(Path(sys.argv[1]), 'it'):\n    print('held', flush=True)\n    sys.stdin.read()"
)


@pytest.fixture
def run(home: Path) -> RunFolder:
    return RunFolder.create({"recipe": {"method": "sft"}})


def test_a_run_is_running_while_its_writer_lives_and_interrupted_afterwards(run: RunFolder) -> None:
    assert run.status() == "interrupted"  # nobody has begun
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(run.path / "lock")], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert process.stdout is not None and process.stdout.readline() == b"held\n"
    assert run.status() == "running"
    with pytest.raises(SodateError, match=rf"\(pid {process.pid} on \S+\)"), run.locked():
        pass
    process.kill()
    # A killed process nobody has waited for yet is gone all the same
    for _ in range(200):
        if run.status() == "interrupted":
            break
        threading.Event().wait(0.02)
    assert run.status() == "interrupted"
    process.communicate()
    with run.locked():
        assert run.status() == "running"
    assert run.status() == "interrupted"


def test_asking_never_refuses_a_writer_who_comes_just_then(run: RunFolder) -> None:
    done = threading.Event()

    def ask() -> None:
        while not done.is_set():
            assert run.status() in ("running", "interrupted")

    readers = [threading.Thread(target=ask) for _ in range(3)]
    for reader in readers:
        reader.start()
    try:
        for _ in range(300):
            with run.locked():
                pass
    finally:
        done.set()
        for reader in readers:
            reader.join()


def test_a_number_that_came_again_is_another_process(run: RunFolder) -> None:
    with run.locked():
        written = (run.path / "lock").read_text()
    assert re.fullmatch(rf"pid {os.getpid()} on \S+ since \S+\+\d+", written)
    (run.path / "lock").write_text(written + "1")  # began at another moment
    assert run.status() == "interrupted"
    (run.path / "lock").write_text("pid 1 on another-host since x+1")
    assert run.status() == "running"


def test_manifests_and_events_carry_their_form_and_older_ones_are_read(run: RunFolder, home: Path) -> None:
    assert run.manifest["schema_version"] == SCHEMA_VERSION
    run.event("started")
    (event,) = [json.loads(line) for line in (run.path / "events.jsonl").read_text().splitlines()]
    assert event["schema_version"] == SCHEMA_VERSION and event["kind"] == "started"
    old = {key: value for key, value in run.manifest.items() if key != "schema_version"}
    (run.path / "run.json").write_text(json.dumps(old | {"status": "done"}))
    assert run.status() == "done" and [r.name for r in runs.list_runs()] == [run.name]
    (run.path / "run.json").write_text(json.dumps(old | {"schema_version": SCHEMA_VERSION + 1}))
    with pytest.raises(SodateError) as refused:
        run.status()
    assert refused.value.code == "too_new" and refused.value.file == str(run.path / "run.json")
