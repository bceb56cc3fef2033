"""Releases: a version is held against a gate, an alias is moved to it, and moved back."""

from __future__ import annotations

import datetime
import getpass
import os
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sodate.api.gates import located, spoken
from sodate.core import home
from sodate.core.errors import SodateError, UsageError
from sodate.core.files import read_json, sha256_file, write_json
from sodate.core.manifests import SCHEMA_VERSION, GateRecord, Move, ResultManifest, read_kept
from sodate.core.runs import now
from sodate.core.text import en, ja, tr
from sodate.library.store import find
from sodate.release import aliases
from sodate.release.canary import Limits
from sodate.release.gate import believed, hold, measuring, read_gate, reason, same_data
from sodate.release.lookup import identity, look_up
from sodate.release.registry import Version, find_version, held, verify


def check_gate(version: str, gate: str | Path) -> dict[str, Any]:
    """Holds a version against a gate by the reports that measured exactly its bytes, and keeps the record.

    `gate` is a file, or the name of one that is kept (`sodate/api/gates.py`). Of each metric the newest report counts.
    `looks` is how many reports there are on the same held-out rows. UsageError for a gate or version that is not there.
    """
    asked, found = read_gate(located(gate)), _version(version)
    own = identity(found.id)
    below = None if asked.baseline is None else identity(asked.baseline)
    reports = [(path, report) for path, report in _reports() if same_data(asked, report)]
    rows, used, unmeasured = [], [], []
    for tier, metric in asked.asked:
        path, report, names = _measured(reports, tier, metric, own, below)
        held_ = hold(asked, tier, metric, *names, report)
        judges = (report or {}).get("judges", {}).get(metric)
        rows.append(believed(held_, agreement_of(metric, judges)) if judges else held_)
        used += [str(path.parent)] if path else []
        unmeasured += [] if report else [metric]
    record: GateRecord = {
        "schema_version": SCHEMA_VERSION,
        "at": now(),
        "version": found.id,
        "bytes": own,
        "gate": {"path": str(asked.path), "sha256": sha256_file(asked.path)},
        "looks": _looks(used),
        "passes": all(row.passes for row in rows),
        "tiers": [row.to_json() for row in rows],
        "measure": measuring(asked, found.id, unmeasured),
    }
    stamp = datetime.datetime.now(datetime.UTC).strftime("%Y%m%d-%H%M%S-%f")
    path = home.gates_dir() / f"{stamp}-{secrets.token_hex(2)}.json"
    write_json(path, record)
    return {**record, "reports": list(dict.fromkeys(used)), "record": str(path)}


def agreement_of(grader: str, judges: Mapping[str, str]) -> Mapping[str, Any] | None:
    """The newest record of how far this grader, asking exactly these models, agrees with people."""
    root = home.judgements_dir()
    found = sorted(root.glob("*/graders/*.json"), key=lambda path: path.name, reverse=True) if root.exists() else []
    for record in map(read_json, found):
        if record["grader"] == grader and record["models"] == judges:
            return dict(record)
    return None


def promote(
    version: str, alias: str, *, gate: str | Path | None = None, override: str = "", by: str = "", reason: str = "",
    seen: int | None = None,
) -> dict[str, Any]:  # fmt: skip
    """Makes an alias mean a version, if it passed: `gate` now, or else at its last check, with exactly these bytes.

    `override` is a reason to move it without that; `by` then has to name who decided. Both stand in the log, as does
    `reason` of one that passed. A canary of the alias ends. `seen` is how long the alias's log was when somebody
    decided: if it has grown since, nothing is done (SodateError `moved_meanwhile`). Raises SodateError
    `gate_not_passed`, or where a file of the version is not what was registered.
    """
    aliases.folder(alias)  # a name that can't be one is refused before anything is looked at
    found = _version(version)
    if taken := _taken(alias):
        raise UsageError(
            tr(f"{alias} is the name of {en(taken)}; an alias needs another.",
               f"{alias} は {ja(taken)}の名前です。エイリアスには別の名前を付けてください。"),
            tr(f"For example {alias.partition('@')[0]}@production.", f"例: {alias.partition('@')[0]}@production"),
            code="bad_name", param="alias",
        )  # fmt: skip
    with held(found), aliases.moving(alias):
        _check_seen(alias, seen)
        about = _passed(found, gate, override, by)
        move = aliases.move(alias, "promote", found.id, **{**about, "reason": override or reason})
    return _shown(move)


def start_canary(
    version: str, alias: str, *, share: float = 0.1, max_errors: float = 0.02, max_slower: float = 2.0,
    patience: float = 600.0, gate: str | Path | None = None, override: str = "", by: str = "", reason: str = "",
    seen: int | None = None,
) -> dict[str, Any]:  # fmt: skip
    """Lets a version that passed, as for `promote`, answer a `share` of the alias's users, the same ones each time.
    Of a canary that runs it is the new share.

    A server ends it by itself where more than `max_errors` of its requests fail, where a token takes `max_slower` times
    as long, and where for `patience` seconds none of its requests ends well. `promote` and `abort_canary` end it too.
    SodateError where the alias means nothing yet.
    """
    limits = Limits(share, max_errors, max_slower, patience).checked()
    found = _version(version)
    meant = aliases.target(alias)
    if meant is None:
        raise _no_alias(alias)
    if meant == found.id:
        raise UsageError(
            tr(f"{alias} means {meant} already.", f"{alias} はすでに {meant} を指しています。"),
            code="bad_value", param="version",
        )  # fmt: skip
    with held(found), aliases.moving(alias):
        _check_seen(alias, seen)
        about = _passed(found, gate, override, by)
        move = aliases.move(alias, "canary", found.id, canary=limits.to_json(),
                            **{**about, "reason": override or reason})  # fmt: skip
    return _shown(move)


def abort_canary(alias: str, *, reason: str = "", by: str = "", seen: int | None = None) -> dict[str, Any]:
    """Ends an alias's canary in one move; `seen` as for `promote`. SodateError where it has none, UsageError where
    there is no such alias."""
    if aliases.target(alias) is None:
        raise _no_alias(alias)
    with aliases.moving(alias):
        _check_seen(alias, seen)
        move = aliases.abort(alias, by=by or getpass.getuser(), reason=reason)
    if move is None:
        raise SodateError(
            tr(f"{alias} has no canary.", f"{alias} にカナリアはありません。"),
            f"sodate release log {alias}",
            code="no_canary", param="alias",
        )  # fmt: skip
    return _shown(move)


def _passed(found: Version, gate: str | Path | None, override: str, by: str) -> dict[str, Any]:
    """What the log says of a version that may be released. Raises where it may not."""
    if override and not by.strip():
        raise UsageError(
            tr("An override needs a name: who decided?", "--override には、決めた人の名前 (--by) が必要です。"),
            "--by NAME",
            code="bad_value", param="by",
        )  # fmt: skip
    verify(found)
    look_up(found.id)  # the weights below it, too
    record = check_gate(found.id, gate) if gate is not None else last_record(found)
    passes = record is not None and record["passes"]
    if not passes and not override:
        raise _not_passed(found, record)
    return {"by": by or getpass.getuser(), "reason": override, "override": not passes,
            "bytes": identity(found.id), "gate": None if record is None else record["record"]}  # fmt: skip


def rollback(alias: str, *, reason: str = "", by: str = "", seen: int | None = None) -> dict[str, Any]:
    """Undoes the last move: an alias means what it meant before, or, where a canary runs, that ends.

    `seen` as for `promote`. SodateError where it is not an alias, or meant nothing.
    """
    if aliases.target(alias) is None:
        raise _no_alias(alias)
    about = {"by": by or getpass.getuser(), "reason": reason}
    with aliases.moving(alias):
        _check_seen(alias, seen)
        return _shown(aliases.abort(alias, **about) or aliases.undo(alias, **about))


def releases() -> list[dict[str, Any]]:
    """Every alias: what it means, what it meant before, how long its log is, its last move, and its canary."""
    found = []
    for name in aliases.list_aliases():
        moves, stack = aliases.moves(name), aliases.stack(name)
        running = aliases.canary(name)
        last = next(move for move in reversed(moves) if move["kind"] in aliases.MOVES)
        found.append({"alias": name, "version": stack[-1], "before": stack[-2] if len(stack) > 1 else None,
                      "moves": len(moves), "last": _shown(last), "canary": running and _shown(running)})  # fmt: skip
    return found


def release_log(alias: str) -> list[Move]:
    """Every line of an alias's log, oldest first. UsageError where there is no such alias."""
    found = aliases.moves(alias)
    if not found:
        raise _no_alias(alias)
    return found


def meaning(alias: str) -> dict[str, Any]:
    """The version that an alias means, and that of its canary."""
    running = aliases.canary(alias)
    return {"version": aliases.target(alias), "canary": running and running["version"]}


def _check_seen(alias: str, seen: int | None) -> None:
    moves = aliases.moves(alias)
    if seen is None or not moves or len(moves) == seen:
        return
    last = moves[-1]
    who = last.get("by", "?")
    said = {
        "canary": tr(f"Meanwhile {who} let {last['version']} answer a share of {alias}.",
                     f"その間に {who} が {alias} の一部を {last['version']} に任せました。"),
        "abort": tr(f"Meanwhile {who} ended the canary of {alias}.",
                    f"その間に {who} が {alias} のカナリアを中止しました。"),
    }.get(last["kind"], tr(f"Meanwhile {who} made {alias} mean {last['version']}.",
                           f"その間に {who} が {alias} を {last['version']} に移しました。"))  # fmt: skip
    raise SodateError(
        said + tr(" Nothing was changed.", "何も変更していません。"),
        tr("Look again, and decide anew.", "もう一度確認してから、改めて決めてください。"),
        code="moved_meanwhile", param="alias",
    )  # fmt: skip


def _shown(move: Move) -> dict[str, Any]:
    return {key: value for key, value in move.items() if key != "schema_version"}


def _version(name: str) -> Version:
    found = find_version(name)
    if found is None:
        raise UsageError(
            tr(f"There is no version {name!r}.", f"バージョン {name!r} はありません。"),
            "sodate versions list",
            code="version_not_found", param="version",
        )  # fmt: skip
    return found


def _taken(alias: str) -> str:
    """What has this name already, other than an alias."""
    if aliases.target(alias) is not None:
        return ""
    if "@" not in alias and find_version(alias) is not None:
        return tr("versions", "バージョン")
    return tr("a model", "モデル") if find(alias) is not None else ""


def _reports() -> list[tuple[Path, ResultManifest]]:
    """Every report with its result.json, newest first."""
    root = home.reports_dir()
    paths = sorted(root.glob("*/result.json"), reverse=True) if root.exists() else []
    return [(path, read_kept(path)) for path in paths]


def _measured(
    reports: list[tuple[Path, ResultManifest]], tier: str, metric: str, own: str, below: str | None
) -> tuple[Path | None, Mapping[str, Any] | None, tuple[str, str | None]]:
    """The newest report of a metric, and what version and baseline are called there."""
    for path, report in reports:
        names = {content: name for name, content in report.get("bytes", {}).items()}
        version, baseline = names.get(own), names.get(below or "")
        if tier == "blocking":
            there = any((one["model"], one["grader"]) == (version, metric) for one in report["results"])
        else:
            wanted = (version, baseline, metric)
            there = any((c["candidate"], c["baseline"], c["grader"]) == wanted for c in report["comparisons"])
        if version is not None and there:
            return path, report, (version, baseline)
    return None, None, ("", None)


def _looks(folders: list[str]) -> int:
    """How many reports there are on the held-out files of these."""
    reports = _reports()
    files = {report.get("data", {}).get("sha256") for path, report in reports if str(path.parent) in folders}
    return sum(report.get("data", {}).get("sha256") in files for _, report in reports)


def last_record(version: Version) -> dict[str, Any] | None:
    """The last check of exactly these bytes, under whatever gate."""
    own, root = identity(version.id), home.gates_dir()
    names = sorted(os.listdir(root), reverse=True) if root.exists() else []  # noqa: PTH208
    for path in (f"{root}/{name}" for name in names if name.endswith(".json")):
        record: GateRecord = read_kept(path)
        if record["bytes"] == own:
            return {**record, "record": path}
    return None


def _not_passed(version: Version, record: Mapping[str, Any] | None) -> SodateError:
    if record is None:
        return SodateError(
            tr(f"{version.id} was not held against a gate yet.", f"{version.id} はまだゲートで確認されていません。"),
            f"sodate gate check {version.id} --gate gate.yaml",
            code="gate_not_passed", param="version",
        )  # fmt: skip
    failed = tr(" ", " ").join(
        f"{row['tier']} {row['metric']}: " + reason(row) for row in record["tiers"] if not row["passes"]
    )
    gate, command = spoken(record["gate"]["path"]), record.get("measure")
    measure = tr(f"Measure it first: {command}\n  ", f"まず測定してください: {command}\n  ") if command else tr("", "")
    return SodateError(
        tr(f"{version.id} did not pass the gate {gate}: ", f"{version.id} はゲート {gate} に合格していません: ")
        + failed,
        measure
        + tr("To release it all the same: --override REASON --by NAME.",
             "それでも公開する場合は、--override 理由 --by 名前 を指定してください。"),
        code="gate_not_passed", param="version",
    )  # fmt: skip


def _no_alias(alias: str) -> UsageError:
    known = ", ".join(aliases.list_aliases())
    return UsageError(
        tr(f"There is no alias {alias!r}.", f"エイリアス {alias!r} はありません。"),
        tr("Aliases: ", "エイリアス: ") + (known or tr("none yet", "まだありません")),
        code="alias_not_found", param="alias",
    )  # fmt: skip
