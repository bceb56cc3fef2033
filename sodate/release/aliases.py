"""Aliases: movable names on versions, `support` or `support@production`. What an alias means is its log's last line.

    aliases/support@production/
      log.jsonl     a line a move, only ever added to: version, before, by whom, why, what measured it;
                    and a line where a canary (canary.py) begins, and where it is aborted
      lock          one mover at a time

A move is one line in one write, so that a reader sees the alias as it was or as it is, and never in between.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

from sodate.core import home
from sodate.core.errors import SodateError, UsageError
from sodate.core.files import full_disk, full_disk_said, lock
from sodate.core.manifests import SCHEMA_VERSION, Move
from sodate.core.runs import now
from sodate.core.text import json_text, tr

MOVES = ("promote", "rollback")  # what changes which version an alias means, and ends its canary

# `name`, or `name@word`; a number after the @ is a version.
ALIAS = re.compile(home.NAME.pattern + r"(@[A-Za-z][A-Za-z0-9._-]{0,63})?")


def folder(alias: str) -> Path:
    """Where an alias lies. UsageError for what can't be one."""
    if not ALIAS.fullmatch(alias):
        raise UsageError(
            tr(f"{alias!r} can't be an alias.", f"{alias!r} はエイリアスとして使えません。"),
            tr("Write a name, or NAME@WORD such as support@production.",
               "名前、または support@production のような 名前@語 の形にしてください。"),
            code="bad_name", param="alias",
        )  # fmt: skip
    return home.aliases_dir() / alias


def moves(alias: str) -> list[Move]:
    """Every move of an alias, oldest first; none for what is no alias. A line that a full disk cut off is no move."""
    if not ALIAS.fullmatch(alias):
        return []
    try:
        text = (home.aliases_dir() / alias / "log.jsonl").read_text("utf-8")
    except (FileNotFoundError, NotADirectoryError):
        return []
    found: list[Move] = []
    for line in text.splitlines(keepends=True):
        with contextlib.suppress(ValueError):
            if line.endswith("\n"):
                found.append(json.loads(line))
    return found


def target(alias: str) -> str | None:
    """The version that an alias means now, None for what is no alias."""
    made = [move for move in moves(alias) if move["kind"] in MOVES]
    return made[-1]["version"] if made else None


def canary(alias: str) -> Move | None:
    """The line with which the alias's canary began, None where there is none now."""
    made = moves(alias)
    return made[-1] if made and made[-1]["kind"] == "canary" else None


def canary_since(alias: str) -> str:
    """When the alias's canary began: that of the first of its lines, for a share that was changed since is no other
    canary, and whoever it answers stays its."""
    since, version = "", None
    for move in reversed(moves(alias)):
        if move["kind"] != "canary" or version not in (None, move["version"]):
            break
        since, version = move["at"], move["version"]
    return since


def stack(alias: str) -> list[str]:
    """The versions that an alias meant, without those that were rolled back: the last one is what it means now.

    A version that was promoted twice in a row stands once, so that a rollback leads away from it.
    """
    found: list[str] = []
    for move in moves(alias):
        if move["kind"] == "rollback":
            found.pop()
        if move["kind"] in MOVES and found[-1:] != [move["version"]]:
            found.append(move["version"])
    return found


def stamp(alias: str) -> tuple[int, int]:
    """Changes when the alias moves: time and size of its log."""
    try:
        found = (folder(alias) / "log.jsonl").stat()
    except FileNotFoundError:
        return 0, 0
    return found.st_mtime_ns, found.st_size


def list_aliases() -> list[str]:
    """Every alias that means something."""
    root = home.aliases_dir()
    return sorted(path.name for path in root.iterdir() if moves(path.name)) if root.exists() else []


def leading_to(version: str) -> list[str]:
    """The aliases that mean `version`, would after a rollback, or have it as their canary."""

    def led_to(alias: str) -> list[str]:
        running = canary(alias)
        return [*stack(alias)[-2:], *([running["version"]] if running else [])]

    return [alias for alias in list_aliases() if version in led_to(alias)]


@contextlib.contextmanager
def moving(alias: str) -> Iterator[None]:
    """While this lasts nobody else moves the alias; a second mover waits."""
    with lock(folder(alias) / "lock", tr(f"Alias {alias}", f"エイリアス {alias}"), wait=True):
        yield


def move(alias: str, kind: str, version: str, **about: Any) -> Move:
    """Adds a line to the log; call it while `moving`. All of it is on disk, or nothing."""
    path = folder(alias) / "log.jsonl"
    own = {"schema_version": SCHEMA_VERSION, "at": now(), "alias": alias, "kind": kind, "version": version}
    line = cast(Move, {**own, "before": target(alias), **about})
    with full_disk_said(path):
        log = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            size = os.fstat(log).st_size
            cut = size > 0 and os.pread(log, 1, size - 1) != b"\n"  # a full disk was met here
            data = ("\n" * cut + json_text(line) + "\n").encode()
            if os.write(log, data) != len(data):
                raise full_disk(path)
            os.fsync(log)
        finally:
            os.close(log)
    return line


def undo(alias: str, **about: Any) -> Move:
    """The move back to the version before; call it while `moving`. SodateError where there is none."""
    before = stack(alias)[:-1]
    if not before:
        raise SodateError(
            tr(f"{alias} meant no other version before.", f"{alias} には、戻る先のバージョンがありません。"),
            f"sodate release log {alias}",
            code="nothing_to_roll_back", param="alias",
        )  # fmt: skip
    return move(alias, "rollback", before[-1], **about)


def abort(alias: str, **about: Any) -> Move | None:
    """Ends the alias's canary; call it while `moving`. None where there is none any more."""
    running, meant = canary(alias), target(alias)
    if running is None or meant is None:
        return None
    return move(alias, "abort", meant, canary_version=running["version"], **about)
