"""Rows added to a dataset: the next version, or none where nothing is new. Nothing is changed in place."""

from __future__ import annotations

import getpass
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast

from sodate.core import home
from sodate.core.errors import SodateError, UsageError
from sodate.core.files import atomic_folder, lock, sha256_file, sha256_json, sweep_temporaries, write_json
from sodate.core.manifests import SCHEMA_VERSION, DatasetManifest
from sodate.core.runs import now
from sodate.core.text import json_text, tr
from sodate.core.types import Conversation, Message
from sodate.data import datasets, pii
from sodate.data.apart import OtherSide
from sodate.data.columns import renamed
from sodate.data.compare import all_messages
from sodate.data.datasets import Dataset
from sodate.data.examples import ParsedRow, example_json, read_examples
from sodate.data.ledger import Ledger, Problem

Role = Literal["training", "held-out"]
PATIENCE = 30.0  # seconds to wait for another add to end
CONVERSATIONS = "conversations"  # the one format in which those of every other are kept


@dataclass(frozen=True, slots=True)
class Origin:
    """What is said of all rows of one add: whose, under which licence, with whose consent, and why."""

    by: str = ""
    licence: str | None = None
    consent: str | None = None
    note: str | None = None
    reviewer: str | None = None  # of what a machine wrote


@dataclass(frozen=True, slots=True)
class Added:
    """The version that has the rows now, whether it is new, what came and went, and the ledger of what was given."""

    dataset: Dataset
    new: bool
    added: int
    changed: int
    removed: int
    ledger: Ledger

    def to_json(self) -> dict[str, Any]:
        """What `data add --json` prints."""
        about = self.dataset.manifest
        return {
            "dataset": self.dataset.id, "new": self.new, "role": about["role"], "rows": about["rows"],
            "added": self.added, "changed": self.changed, "removed": self.removed, "rows_in": self.ledger.rows_in,
            "set_aside": [problem.to_json() for problem in self.ledger.set_aside],
            "warnings": [problem.to_json() for problem in self.ledger.warnings],
        }  # fmt: skip


def add(
    files: Sequence[Path], name: str, *, role: Role | None = None, origin: Origin | None = None,
    unreviewed: bool = False, columns: Mapping[str, str] | None = None, encoding: str | None = None,
) -> Added:  # fmt: skip
    """Adds the rows of files to `name`: its first version, or the next one.

    Set aside are rows that the dataset has, those that are a row of the other side or almost (`apart`), those with a My
    Number, and those of exchanges or of another model that no person reviewed (unless `unreviewed`). A row that comes
    with the `row` id of one that is there, or from the same exchange, takes its place. `role` is that of the first
    version and stays.

    Raises UsageError for another role than the dataset's or another kind of rows, SodateError where no row is left.
    """
    root = datasets.folder(name)
    home.make_folder(root)
    with _alone(), ExitStack() as stack:
        sweep_temporaries(root)
        there = datasets.versions(name)
        before = there[-1] if there else None
        role = _role(before, role)
        ledger, desk = Ledger(), _Desk(before, _other_side(role, stack), role, unreviewed)
        for path in files:
            form, items = read_examples(path, columns, encoding)
            for item in items:
                if isinstance(item, Problem):
                    ledger.add(item)
                    continue
                if (problem := desk.take(item, form, columns or {}, origin or Origin())) is not None:
                    ledger.add(problem)
                else:
                    ledger.use()
        if before is None and not desk.rows:
            raise _nothing(files, ledger)
        if before is not None and not desk.changes:
            return Added(before, False, 0, 0, 0, ledger)
        made = _write(root, name, role, before, desk, ledger, origin or Origin())
        return Added(made, True, desk.added, desk.changed, 0, ledger)


def remove(
    name: str, rows: Iterable[str] = (), exchanges: Iterable[str] = (), *, by: str = "", note: str = ""
) -> Added:
    """The next version without rows of these ids or from these exchanges; the newest one where it has none of them."""
    root, ids, sources = datasets.folder(name), set(rows), set(exchanges)
    before = datasets.find(name)
    with _alone():
        before = datasets.find(name)
        desk = _Desk(before, None, cast(Role, before.manifest["role"]), False)
        gone = [row for row, data in desk.rows.items() if row in ids or data["origin"].get("exchange") in sources]
        for row in gone:
            del desk.rows[row]
        if not gone:
            return Added(before, False, 0, 0, 0, Ledger())
        made = _write(root, name, desk.role, before, desk, Ledger(), Origin(by=by, note=note or None))
        return Added(made, True, 0, 0, len(gone), Ledger())


def _alone() -> AbstractContextManager[None]:
    """One writer for all datasets: two at once, on both sides, would not see each other's rows."""
    what = tr("Adding to datasets", "データセットへの追加")
    return lock(home.datasets_dir() / ".lock", what, seconds=PATIENCE)


def _role(before: Dataset | None, role: Role | None) -> Role:
    if before is None:
        return role or "training"
    own = before.manifest["role"]
    if role is not None and role != own:
        raise UsageError(
            tr(f"{before.name} is a {own} dataset, and stays one.",
               f"{before.name} は{'評価用' if own == 'held-out' else '学習用'}のデータセットで、変更できません。"),
            tr("Add these rows under another name.", "別の名前で加えてください。"),
            code="held_out_data", param="held_out",
        )  # fmt: skip
    return cast(Role, own)


def _other_side(role: Role, stack: ExitStack) -> OtherSide:
    """The rows of every dataset of the other role, in its newest version."""
    found = OtherSide(stack)
    for other in datasets.newest():
        if other.manifest["role"] != role:
            for item in read_examples(datasets.located(other.id))[1]:
                if isinstance(item, ParsedRow):
                    found.add(other.id, item.row.data["origin"]["row"], item.example)
    return found


class _Desk:
    """The rows that the next version will have, by their ids in order."""

    def __init__(self, before: Dataset | None, other: OtherSide | None, role: Role, unreviewed: bool) -> None:
        self.rows: dict[str, dict[str, Any]] = {}
        self.role, self.added, self.changed = role, 0, 0
        self.form = None if before is None else before.manifest["format"]
        self._other, self._unreviewed = other, unreviewed
        self._contents: dict[str, str] = {}  # hash of an example → row
        self._exchanges: dict[str, str] = {}
        for data in () if before is None else before.each():
            self._put(data["origin"]["row"], data)

    @property
    def changes(self) -> int:
        return self.added + self.changed

    def _put(self, row: str, data: dict[str, Any]) -> None:
        self.rows[row] = data
        self._contents[data["origin"]["content"]] = row
        if exchange := data["origin"].get("exchange"):
            self._exchanges[exchange] = row

    def take(self, item: ParsedRow, form: str, columns: Mapping[str, str], said: Origin) -> Problem | None:
        """Takes a row, or says why not."""
        place = (item.row.file, item.row.line)
        form = CONVERSATIONS if isinstance(item.example, Conversation) else form
        if self.form not in (None, form):
            what = tr(f"the dataset's rows, which are {self.form},", f"このデータセットの形式 {self.form} ")
            return Problem(*place, "unknown-format", (what, tr(f"these are {form}.", f"この行は {form} です。")))
        given = item.row.data.get("origin")
        origin = dict(given) if isinstance(given, dict) else {}
        if said.reviewer is not None and "teacher" in origin:
            origin["reviewer"] = said.reviewer
        machine = "exchange" in origin or "teacher" in origin
        if machine and not (origin.get("reviewer") or origin.get("reviewers")) and not self._unreviewed:
            return Problem(*place, "unreviewed-row")
        text = "\n".join(message.content for message in all_messages(item.example))
        if any(found.kind == "my-number" for found in pii.find(text, wary=True)):
            return Problem(*place, "my-number-row")
        content = sha256_json(example_json(item.example))
        if (known := self._contents.get(content)) is not None:
            return Problem(*place, "known-row", (known,))
        if self._other is not None and (alike := self._other.like(item.example)) is not None:
            code = "held-out-row" if self.role == "training" else "trained-row"
            return Problem(*place, code, (alike.dataset, alike.row, alike.how))
        row = origin.get("row") if origin.get("row") in self.rows else self._exchanges.get(origin.get("exchange", ""))
        data = _kept(item, columns)
        about = {
            "by": said.by or getpass.getuser(), "at": now(), "licence": said.licence, "consent": said.consent,
            **origin, "file": Path(place[0]).name, "line": place[1], "content": content,
            "row": row or f"row_{content[:16]}",
        }  # fmt: skip
        data["origin"] = {key: value for key, value in about.items() if value is not None}
        if row is not None:
            del self._contents[self.rows[row]["origin"]["content"]]
        self._put(data["origin"]["row"], data)
        self.form = form
        self.changed += row is not None
        self.added += row is None
        return None


def _kept(item: ParsedRow, columns: Mapping[str, str]) -> dict[str, Any]:
    """A row as it is kept: a conversation as messages with what else its row says, any other as it came."""
    if not isinstance(item.example, Conversation):
        return dict(renamed(item.row.data, columns) if columns else item.row.data)
    known = ("messages", "tools", "origin", *_TOLD)
    rest = {key: value for key, value in item.example.item.items() if key not in known}
    tools = {"tools": list(item.example.tools)} if item.example.tools else {}
    return {"messages": [_plain(message) for message in item.example.messages], **tools, **rest}


# Columns whose text is in the messages now.
_TOLD = ("completion", "instruction", "input", "output", "conversations", "user", "assistant", "text", "question",
         "answer", "response", "query")  # fmt: skip


def _plain(message: Message) -> dict[str, Any]:
    calls = [{"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}
             for call in message.tool_calls]  # fmt: skip
    told: dict[str, Any] = {
        "role": message.role, "content": message.content, "reasoning_content": message.reasoning or None,
        "tool_calls": calls or None, "tool_call_id": message.tool_call_id, "name": message.name,
        "weight": message.weight if message.weight != 1 else None,
    }  # fmt: skip
    return {key: value for key, value in told.items() if value is not None}


def _nothing(files: Sequence[Path], ledger: Ledger) -> SodateError:
    first = next(iter(ledger.set_aside), None)
    return SodateError(
        tr(f"No row of {', '.join(map(str, files))} can be added.",
           f"{', '.join(map(str, files))} に、加えられる行がありません。"),
        f"{first.file}:{first.line}: " + first.message if first else "",
        code="no_rows", param="data", file=first.file if first else None, line=first.line if first else None,
    )  # fmt: skip


def _write(
    root: Path, name: str, role: Role, before: Dataset | None, desk: _Desk, ledger: Ledger, origin: Origin
) -> Dataset:
    number = max((number for number, _ in datasets.numbers(root)), default=0) + 1
    path = root / str(number)
    had = before.manifest["rows"] if before else 0
    with atomic_folder(path) as stage:
        with (stage / "rows.jsonl").open("w", encoding="utf-8") as rows:
            rows.writelines(json_text(data) + "\n" for data in desk.rows.values())
        with (stage / "ledger.jsonl").open("w", encoding="utf-8") as lines:
            lines.writelines(json_text(problem.to_json()) + "\n" for problem in (*ledger.set_aside, *ledger.warnings))
        origins = [data["origin"] for data in desk.rows.values()]
        manifest: DatasetManifest = {
            "schema_version": SCHEMA_VERSION, "dataset": f"{name}@{number}", "role": role, "created_at": now(),
            "by": origin.by or getpass.getuser(), "note": origin.note, "format": desk.form or CONVERSATIONS,
            "parent": before.id if before else None, "rows": len(desk.rows), "added": desk.added,
            "changed": desk.changed, "removed": had + desk.added - len(desk.rows),
            "rows_in": ledger.rows_in, "set_aside": dict(Counter(one.code for one in ledger.set_aside)),
            "sha256": sha256_file(stage / "rows.jsonl"),
            "content": sha256_json(sorted([one["row"], one["content"]] for one in origins)),
            "licences": dict(Counter(str(one.get("licence", "?")) for one in origins)),
            "consents": dict(Counter(str(one.get("consent", "?")) for one in origins)),
            "sources": dict(Counter(_source(one) for one in origins)),
        }  # fmt: skip
        write_json(stage / "dataset.json", manifest)
    return Dataset(name, number, path)


def _source(origin: Mapping[str, Any]) -> str:
    return (
        "exchanges"
        if "exchange" in origin
        else f"teacher {origin['teacher']}"
        if "teacher" in origin
        else origin["file"]
    )


def differences(old: Dataset, new: Dataset) -> dict[str, Any]:
    """Which rows came, went and changed between two versions, by their ids."""
    first, second = ({data["origin"]["row"]: data["origin"]["content"] for data in one.each()} for one in (old, new))
    return {
        "from": old.id, "to": new.id,
        "added": [row for row in second if row not in first], "removed": [row for row in first if row not in second],
        "changed": [row for row, content in second.items() if first.get(row, content) != content],
        "same": sum(first.get(row) == content for row, content in second.items()),
    }  # fmt: skip


def made_from(exchanges: set[str]) -> list[str]:
    """The versions of all datasets that have a row of one of these exchanges."""
    return [
        one.id for newest in datasets.newest() for one in datasets.versions(newest.name)
        if any(data["origin"].get("exchange") in exchanges for data in one.each())
    ]  # fmt: skip
