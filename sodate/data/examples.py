"""From a file to examples: the format is found in the first rows, then every row is parsed by it."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sodate.core.files import sha256_json
from sodate.core.types import Conversation, Example, Judgement, Message, Preference, Ranking, Source
from sodate.data import formats
from sodate.data.calls import Notes
from sodate.data.columns import checked_columns, renamed
from sodate.data.ledger import Problem, RowError, unforeseen
from sodate.data.read import RawRow, read_rows


@dataclass(frozen=True, slots=True)
class ParsedRow:
    """A row that parsed: the example, the row it came from and the warnings of its parser."""

    row: RawRow
    example: Example
    notes: Notes


def read_examples(
    path: Path, columns: Mapping[str, str] | None = None, encoding: str | None = None
) -> tuple[str, Iterator[Problem | ParsedRow]]:
    """The file's format name ("" if it has no readable row) and its rows in order, read as they are asked for.

    `columns` are those of tables: conversations that have none of them may come in a file beside.
    Raises what `read_rows` raises, and NoFormatError with the columns found when no format fits.
    """
    columns = checked_columns(columns or {})
    source = read_rows(path, encoding)
    head: list[RawRow | Problem] = []
    raws: list[Mapping[str, Any]] = []
    for item in source:
        head.append(item)
        if isinstance(item, RawRow):
            raws.append(item.data)
            if len(raws) == formats.SNIFF_ROWS:
                break
    if not raws:
        return "", iter([item for item in head if isinstance(item, Problem)])
    if all("messages" in row and row.keys().isdisjoint(columns.values()) for row in raws):
        columns = {}
    form = formats.detect(raws, columns, str(path))
    return form.name, _parsed(itertools.chain(head, source), form, columns)


def _parsed(
    rows: Iterable[RawRow | Problem], form: formats.Format, columns: Mapping[str, str]
) -> Iterator[Problem | ParsedRow]:
    for row in rows:
        if isinstance(row, Problem):
            yield row
            continue
        notes: Notes = []
        try:
            data = renamed(row.data, columns) if columns else row.data
            yield ParsedRow(row, formats.parse(data, form, Source(row.file, row.line), notes), notes)
        except RowError as error:
            yield error.problem(row.file, row.line)
        except Exception as error:
            yield unforeseen(error, row.file, row.line)


def example_json(example: Example) -> dict[str, Any]:
    """The example as plain JSON without its source: what a fingerprint is taken of."""

    def plain(messages: Iterable[Message]) -> list[dict[str, Any]]:
        return [
            {
                "role": m.role,
                "content": m.content,
                "weight": m.weight,
                "tool_calls": [[c.id, c.name, c.arguments] for c in m.tool_calls],
                "tool_call_id": m.tool_call_id,
                "name": m.name,
                **({"reasoning": m.reasoning} if m.reasoning else {}),
            }
            for m in messages
        ]

    tools = list(example.tools)
    if isinstance(example, Conversation):
        return {"messages": plain(example.messages), "tools": tools}
    prompt = plain(example.prompt)
    if isinstance(example, Judgement):
        return {"prompt": prompt, "reply": plain(example.reply), "desirable": example.desirable, "tools": tools}
    if isinstance(example, Ranking):
        replies = [plain(reply) for reply in example.replies]
        ranks = {"ranks": list(example.ranks), "all_bad": example.all_bad}
        return {"prompt": prompt, "replies": replies, **ranks, "tools": tools}
    if isinstance(example, Preference):
        sides = {"chosen": plain(example.chosen), "rejected": plain(example.rejected)}
        margin = {"margin": example.margin} if example.margin else {}
        wanted = {"wanted": True} if example.wanted else {}
        return {"prompt": prompt, **sides, "tools": tools, **margin, **wanted}
    return {"prompt": prompt, "item": example.item, "tools": tools}


class Fingerprint:
    """SHA-256 (hex) of examples in their order: the data hash of a run. Where they were read from is not in it.

    It is `sha256_json` of the list of the examples' own hashes, without the list.
    """

    def __init__(self) -> None:
        self._digest = hashlib.sha256()
        self._before = "["

    def add(self, example: Example) -> None:
        self._digest.update(f'{self._before}"{sha256_json(example_json(example))}"'.encode())
        self._before = ","

    def hexdigest(self) -> str:
        whole = self._digest.copy()
        whole.update(b"[]" if self._before == "[" else b"]")
        return whole.hexdigest()


def fingerprint(examples: Iterable[Example]) -> str:
    """The `Fingerprint` of all examples, read one at a time."""
    whole = Fingerprint()
    for example in examples:
        whole.add(example)
    return whole.hexdigest()
