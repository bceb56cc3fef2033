"""The steps of a ladder: each is a command that a person could type, run in a process of its own, and run once.

What a step gave is a file named by what the step depends on: its words, the bytes of every file and the identity of
every model and index among them, and the release of sodate. So a ladder that was interrupted, or whose task was changed
in one place, measures only what is not there yet, and the command beside a number is the one that gave it.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from sodate.core import home
from sodate.core.errors import SodateError
from sodate.core.files import read_json, sha256_file, sha256_json, write_bytes, write_json
from sodate.core.runs import list_runs
from sodate.core.signals import held
from sodate.core.text import tr
from sodate.release.lookup import identity, is_known
from sodate.retrieve import catalogue

Listener = Callable[[str, Any], None]


class Stopped(SodateError):
    """Ctrl-C: what was measured is kept."""

    exit_code = 130
    code = "interrupted"


@dataclass(frozen=True, slots=True)
class Done:
    """What a command printed, the seconds it took and the most memory its process held; `kept` goes with it."""

    command: str
    result: Any
    seconds: float
    peak_bytes: int
    kept: Any = None


@dataclass(frozen=True, slots=True)
class Workshop:
    """Where a ladder's files lie, and the folder that its commands run in."""

    folder: Path
    cwd: Path
    on_event: Listener = lambda kind, data: None

    def file(self, content: bytes, kind: str = "jsonl") -> Path:
        """A file of this content, named by it."""
        path = self.folder / "files" / f"{sha256_json(content.decode())[:16]}.{kind}"
        if not path.exists():
            write_bytes(path, content)
        return path

    def done(self, words: Sequence[str], needs: Sequence[str] = (), keep: Callable[[Any], Any] | None = None) -> Done:
        """What `sodate WORDS` gives: as it was kept, or run now. `needs` are models and indexes that it stands on.

        `keep` takes from the result what has to outlive the files that the result names. Raises what the command
        raised.
        """
        path = self.folder / "steps" / f"{self._key(words, needs)}.json"
        command = shlex.join(["sodate", *words])
        if path.exists():
            found = read_json(path)
            if _stands(found["result"]):
                done = Done(found["command"], found["result"], found["seconds"], found["peak_bytes"], found["kept"])
                self.on_event("kept", done)
                return done
        self.on_event("step", command)
        result, seconds, peak = run_command(self._resuming(words), self.cwd)
        done = Done(command, result, seconds, peak, keep(result) if keep else None)
        facts = {"command": command, "result": result, "seconds": seconds, "peak_bytes": peak, "kept": done.kept}
        write_json(path, facts)
        return done

    def _key(self, words: Sequence[str], needs: Sequence[str]) -> str:
        made = {words[n + 1] for n, word in enumerate(words[:-1]) if word == "--out"}
        files = [[] if word in made else self._hashes(word) for word in words]
        about = {
            "words": [
                Path(word).name if found or word in made else word for word, found in zip(words, files, strict=True)
            ],
            "files": files,
            "needs": [_identity(name) for name in needs],
            "sodate": metadata.version("sodate"),
        }
        return sha256_json(about)[:32]

    def _hashes(self, word: str) -> list[str]:
        """Of the file or folder that a word names, also as KEY=FILE or KIND:FILE, and of what such a file names beside
        it, as a grader's rules name their lists of words."""
        for part in (word, *re.split("[:=,]", word)):
            path = self.cwd / part
            if not part or len(part) > 200 or not path.exists():
                continue
            if path.is_dir():
                return [sha256_file(one) for one in sorted(path.rglob("*")) if one.is_file()]
            if path.suffix not in (".yaml", ".yml", ".json"):
                return [sha256_file(path)]
            text = path.read_text("utf-8", "replace")
            near = [one for one in sorted(path.parent.iterdir()) if one.is_file() and one.name in text]
            return [sha256_file(one) for one in (path, *near)]
        return []

    def _resuming(self, words: Sequence[str]) -> list[str]:
        """The words, or those that go on with the interrupted run of the same recipe."""
        if words[0] != "train":
            return list(words)
        name = next(word.partition("=")[2] for word in words if word.startswith("name="))
        data = next(word.partition("=")[2] for word in words if word.startswith("data="))
        for run in reversed(list_runs()):
            recipe = run.manifest.get("recipe", {})
            if run.status() == "interrupted" and recipe.get("name") == name and recipe.get("data") == [data]:
                return ["runs", "resume", run.name]
        return list(words)


def _identity(name: str) -> str:
    return identity(name) if is_known(name) else sha256_json(dict(catalogue.find(name).manifest))


def _stands(result: Any) -> bool:
    """Whether the version or index that a step made is still there."""
    if not isinstance(result, Mapping):
        return True
    if "version" in result:
        return is_known(result["version"])
    if "set_aside" in result and "index" in result:
        try:
            catalogue.find(result["index"])
        except SodateError:
            return False
    return "out" not in result or Path(result["out"]).exists()


def run_command(words: Sequence[str], cwd: Path) -> tuple[Any, float, int]:
    """Runs `sodate WORDS --json` in a process of its own: what it printed, its seconds, and its peak memory in bytes.

    Ctrl-C ends it by SIGTERM, which programs in the background don't ignore, and is waited for: a training leaves its
    checkpoint. A second one does not wait. Raises SodateError as the command did.
    """
    began = time.monotonic()
    child: subprocess.Popen[bytes] | None = None
    try:
        with held():
            child = subprocess.Popen(
                [sys.executable, "-m", "sodate.cli", *words, "--json"], cwd=cwd, stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE, start_new_session=True,
            )  # fmt: skip
        assert child.stdout is not None
        said = child.stdout.read()
        _, status, usage = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
        child.stdout.close()
    except KeyboardInterrupt:
        if child is not None:
            _end(child)
        raise _stopped() from None
    seconds = time.monotonic() - began
    if child.returncode in (130, -signal.SIGINT, -signal.SIGTERM):
        raise _stopped()
    try:
        result = json.loads(said)
    except ValueError:
        result = {"error": {"message": said.decode("utf-8", "replace")[-500:] or str(child.returncode)}}
    if child.returncode:
        told = result.get("error", {}) if isinstance(result, dict) else {}
        message = str(told.get("message", child.returncode))
        command = shlex.join(["sodate", *words])
        raise SodateError(
            tr(f"{message}  (while running: {command})", f"{message}  (実行中のコマンド: {command})"),
            told.get("fix") or "", code="step_failed", param=told.get("param"), file=told.get("file"),
        )  # fmt: skip
    return result, seconds, usage.ru_maxrss * 1024


def _end(child: subprocess.Popen[bytes]) -> None:
    with child:  # waits, and closes what was read from it
        try:
            child.send_signal(signal.SIGTERM)
            child.communicate()
        except KeyboardInterrupt:
            child.kill()


def _stopped() -> Stopped:
    return Stopped(
        tr("Stopped. What was measured is kept.", "中断しました。測定済みの結果は保存されています。"),
        tr("Run the same command again to go on.", "同じコマンドでもう一度実行すると続きから始まります。"),
        code="interrupted",
    )


def workshop(name: str, cwd: Path, on_event: Listener) -> Workshop:
    """The workshop of the ladder of this name."""
    folder = home.ladders_dir() / name
    home.make_folder(folder)
    return Workshop(folder, cwd, on_event)
