"""Verbs over documents: an index is built, searched, tuned and compared, and passages are put before questions."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from itertools import chain
from pathlib import Path
from typing import Any

from sodate.api.encoders import Encoder, encoder
from sodate.api.reranking import MANY, reranked
from sodate.core.errors import SodateError, UsageError
from sodate.core.text import tr
from sodate.core.types import Conversation, Message, TaskItem
from sodate.release.registry import Version, find_version
from sodate.retrieve import catalogue
from sodate.retrieve.build import build
from sodate.retrieve.context import heading, question, with_passages, without_passages
from sodate.retrieve.index import Found, Index
from sodate.retrieve.passages import Passage
from sodate.retrieve.tuning import Question

PASSAGES = 4  # that stand before a question, where nobody says


class Retriever:
    """An index and how many of its passages stand before a question."""

    def __init__(self, index: Index, k: int = PASSAGES) -> None:
        self.index, self.k = index, k

    def found(self, messages: Sequence[Message]) -> list[Found]:
        """The passages for the messages' question, best first; none where the best is under the index's threshold."""
        found = self.index.search(question(messages), self.k)
        best = max((one.share for one in found), default=0.0)
        return found if best >= self.index.manifest.get("sure", 0.0) else []

    def ask(self, messages: Sequence[Message], found: Sequence[Found] | None = None) -> list[Message]:
        """The messages with passages before their question: those that were found for it, or `found`."""
        return self.shown(messages, [one.passage for one in (self.found(messages) if found is None else found)])

    def shown(self, messages: Sequence[Message], passages: Sequence[Passage]) -> list[Message]:
        """The messages with these passages before their question. Where there are none, an index with a threshold has
        that said instead."""
        if not passages and "sure" in self.index.manifest:
            return without_passages(messages)
        return with_passages(messages, passages)

    @staticmethod
    def named(found: Sequence[Found]) -> list[str]:
        """A line for each passage: its number, where it stands."""
        return [f"[{n}] {heading(one.passage)} ({one.passage.place})" for n, one in enumerate(found, 1)]


def retriever(index: str, k: int = PASSAGES) -> Retriever:
    """Of `NAME` or `NAME@N`; SodateError where there is no such index, or a file of it was changed."""
    return Retriever(opened(index), k)


def of_version(name: str, index: str | None = None) -> Retriever | None:
    """Of an index that is named, or else of the one that is part of a version; None where there is neither."""
    version = find_version(name)
    own = index or (index_of(version) if version else None)
    return retriever(own) if own else None


def index_of(version: Version) -> str | None:
    """The index that is part of a version, None where none is; SodateError where there was one and it is gone."""
    if (own := version.manifest.get("index")) is None:
        return None
    try:
        return catalogue.find(own).id
    except SodateError as error:
        if error.code != "index_missing":
            raise
        name = own.partition("@")[0]
        raise SodateError(
            tr(f"{version.id} answers from index {own}, which is gone.",
               f"{version.id} が使う索引 {own} がありません。"),
            tr(f"Build it again (sodate index build DOCS --name {name}) and join them (sodate index bind {version.id} "
               f"{name}), or name another index with --index.",
               f"作り直して（sodate index build 文書 --name {name}）結び付けるか（sodate index bind {version.id} "
               f"{name}）、--index で別の索引を指定してください。"),
            code="index_missing",
        ) from None  # fmt: skip


def of_versions(names: Sequence[str], index: str | None = None) -> Retriever | None:
    """`of_version` of models that are asked the same: UsageError where they answer from different indexes."""
    found = {one.index.id: one for name in names if (one := of_version(name, index)) is not None}
    if len(found) > 1:
        raise UsageError(
            tr(f"They answer from different indexes: {', '.join(found)}.",
               f"別々の索引を使うバージョンです: {', '.join(found)}"),
            tr("Choose one for all: --index NAME@N.", "共通の索引を選んでください: --index 名前@番号"),
            code="bad_value", param="index",
        )  # fmt: skip
    return next(iter(found.values()), None)


def opened(index: str) -> Index:
    """An index that can be searched, with what encodes questions where it ranks by vectors too; SodateError where a
    file of it was changed."""
    found = catalogue.find(index)
    catalogue.verify(found)
    return replace(found, encode=_encoder(found).questions) if "encoder" in found.manifest else found


def _encoder(index: Index) -> Encoder:
    return encoder(index.manifest["encoder"]["name"])


def build_index(paths: Sequence[str | Path], name: str) -> dict[str, Any]:
    """Makes `name@N` from documents and folders of them; what was set aside says why."""
    before = catalogue.readable(name)
    encode = _encoder(before).passages if before and "encoder" in before.manifest else None
    built = build([Path(path) for path in paths], name, encode)
    about = built.index.manifest
    return {
        "index": built.index.id, "unchanged": built.unchanged, "files": len(about["sources"]),
        "chunks": about["passages"], "duplicates": built.duplicates, "reused": built.reused,
        "personal": dict(built.personal), "set_aside": built.set_aside,
    }  # fmt: skip


def indexes() -> list[dict[str, Any]]:
    """Every index, oldest first."""
    found: list[dict[str, Any]] = []
    for one in catalogue.list_indexes():
        try:
            about = one.manifest
        except SodateError:  # said by whatever asks for it: the others are there all the same
            found.append({"index": one.id, "created_at": None, "files": None, "chunks": None})
            continue
        found.append({"index": one.id, "created_at": about.get("created_at"), "files": len(about["sources"]),
                      "chunks": about["passages"]})  # fmt: skip
    return found


def show_index(name: str) -> dict[str, Any]:
    """The manifest of an index, whose files are checked first."""
    index = catalogue.find(name)
    catalogue.verify(index)
    return dict(index.manifest)


def diff_indexes(old: str, new: str) -> dict[str, list[str]]:
    """Files added, removed and changed from one index to another."""
    return catalogue.difference(catalogue.find(old), catalogue.find(new))


def search_index(index: str, query: str, k: int = 5, rerank: str | None = None) -> list[dict[str, Any]]:
    """The best passages for a query, each with its rank, score, file, place and text. The model `rerank` puts the best
    in its own order: their score is the log-probability it gives to the query."""
    found = opened(index).search(query, k if rerank is None else max(k, MANY))
    if rerank is not None:
        from sodate.api.loading import load

        found = reranked(load(rerank), query, found)[:k]
    return [
        {"rank": rank, "score": round(one.score, 4), "share": round(one.share, 4), "file": one.passage.file,
         "place": one.passage.place, "titles": list(one.passage.titles), "text": one.passage.text}
        for rank, one in enumerate(found, 1)
    ]  # fmt: skip


def answering(index: Index, known: Question) -> Passage | None:
    """The first passage that answers. Looked for by its id or file, then by its text, and only then one by one."""
    ids, files = _places(index)
    at = ids.get(known.passage) if known.passage else files.get(Path(known.file or "").name)
    near = [index.passages[at]] if at is not None else []
    if known.passage and at is None:
        near = [one.passage for one in index.search(known.passage[:1000], 20)]
    return next((one for one in chain(near, index.passages) if known.answered_by(one)), None)


@lru_cache(maxsize=1)
def _places(index: Index) -> tuple[dict[str, int], dict[str, int]]:
    """The number of the passage of each id, and of the first of each file name."""
    ids: dict[str, int] = {}
    files: dict[str, int] = {}
    for number, passage in enumerate(index.passages):
        files.setdefault(Path(passage.file).name, number)
        if passage.id:
            ids.setdefault(passage.id, number)
    return ids, files


def openai_line(messages: Sequence[Message], example: Conversation | TaskItem) -> bytes:
    """A row of JSON lines with these messages, and with the example's tools and other columns."""
    row: dict[str, Any] = {"messages": [openai(message) for message in messages]}
    if example.tools:
        row["tools"] = list(example.tools)
    return json.dumps(row | dict(example.item), ensure_ascii=False).encode() + b"\n"


def openai(message: Message) -> dict[str, Any]:
    """A message as OpenAI's wire and files have it."""
    calls = [
        {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}
        for call in message.tool_calls
    ]
    told = {
        "reasoning_content": message.reasoning, "tool_calls": calls, "tool_call_id": message.tool_call_id,
        "name": message.name, "weight": None if message.weight == 1 else message.weight,
    }  # fmt: skip
    return {
        "role": message.role,
        "content": message.content,
        **{key: value for key, value in told.items() if value is not None and value not in ("", [])},
    }
