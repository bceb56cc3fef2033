"""Verbs over documents: an index is built, searched, tuned and compared, and passages are put before questions."""

from __future__ import annotations

import json
import random
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from sodate.core import home, progress
from sodate.core.errors import SodateError, UsageError
from sodate.core.files import atomic_file
from sodate.core.text import tr
from sodate.core.types import Conversation, Message, TaskItem
from sodate.data.datasets import located
from sodate.data.examples import ParsedRow, read_examples
from sodate.data.read import RawRow, read_rows
from sodate.retrieve import catalogue
from sodate.retrieve.build import build, keep_reweighted, reweighted
from sodate.retrieve.context import cited, heading, question, with_passages
from sodate.retrieve.index import Found, Index, Weights
from sodate.retrieve.passages import Passage
from sodate.retrieve.tuning import GRID, Question, Recall, measure

PASSAGES = 4  # that stand before a question, where nobody says


class Retriever:
    """An index and how many of its passages stand before a question."""

    def __init__(self, index: Index, k: int = PASSAGES) -> None:
        self.index, self.k = index, k

    def found(self, messages: Sequence[Message]) -> list[Found]:
        """The passages for the messages' question, best first."""
        return self.index.search(question(messages), self.k)

    def ask(self, messages: Sequence[Message], found: Sequence[Found] | None = None) -> list[Message]:
        """The messages with passages before their question: those that were found for it, or `found`."""
        shown = self.found(messages) if found is None else found
        return with_passages(messages, [one.passage for one in shown])

    @staticmethod
    def named(found: Sequence[Found]) -> list[str]:
        """A line for each passage: its number, where it stands."""
        return [f"[{n}] {heading(one.passage)} ({one.passage.place})" for n, one in enumerate(found, 1)]


def retriever(index: str, k: int = PASSAGES) -> Retriever:
    """Of `NAME` or `NAME@N`; SodateError where there is no such index, or a file of it was changed."""
    found = catalogue.find(index)
    catalogue.verify(found)
    return Retriever(found, k)


def build_index(paths: Sequence[str | Path], name: str) -> dict[str, Any]:
    """Makes `name@N` from documents and folders of them; what was set aside says why."""
    built = build([Path(path) for path in paths], name)
    about = built.index.manifest
    return {
        "index": built.index.id, "files": len(about["sources"]), "chunks": about["passages"],
        "duplicates": built.duplicates, "reused": built.reused, "personal": dict(built.personal),
        "set_aside": built.set_aside,
    }  # fmt: skip


def indexes() -> list[dict[str, Any]]:
    """Every index, oldest first."""
    found = []
    for one in catalogue.list_indexes():
        about = one.manifest
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


def search_index(index: str, query: str, k: int = 5) -> list[dict[str, Any]]:
    """The best passages for a query, each with its rank, score, file, place and text."""
    return [
        {"rank": rank, "score": round(found.score, 4), "file": found.passage.file, "place": found.passage.place,
         "titles": list(found.passage.titles), "text": found.passage.text}
        for rank, found in enumerate(catalogue.find(index).search(query, k), 1)
    ]  # fmt: skip


def tune_index(index: str, questions: str | Path) -> dict[str, Any]:
    """Measures the index on questions with known answers, under several weights, and keeps those that find most on half
    of them as a new version. The figures are of all questions; `held_out` is of the half that chose nothing.
    """
    now = catalogue.find(index)
    asked = _questions(Path(questions))
    order = random.Random(0).sample(asked, len(asked))
    half, other = order[: len(order) // 2] or order, order[len(order) // 2 :]
    best, chosen = measure(now, half), Weights(**now.manifest["weights"])
    home.make_folder(home.cache_dir())
    for done, weights in enumerate(GRID):
        progress.report("weights", done, len(GRID), now.id)
        with tempfile.TemporaryDirectory(dir=home.cache_dir()) as folder:
            recall = measure(reweighted(now, weights, Path(folder), now.number), half)
        if (recall.five, recall.mrr) > (best.five, best.mrr):
            best, chosen = recall, weights
    progress.report("weights", len(GRID), len(GRID), now.id)
    kept = now if asdict(chosen) == now.manifest["weights"] else keep_reweighted(now, chosen)
    return {
        "index": kept.id, "weights": asdict(chosen), "questions": len(asked), **_figures(measure(kept, asked)),
        "before": _figures(measure(now, asked)), "held_out": _figures(measure(kept, other)),
    }  # fmt: skip


def _figures(recall: Recall) -> dict[str, float]:
    return {"recall@1": round(recall.first, 4), "recall@5": round(recall.five, 4), "mrr": round(recall.mrr, 4)}


def _questions(path: Path) -> list[Question]:
    asked = []
    for row in read_rows(path):
        if not isinstance(row, RawRow):
            raise SodateError(f"{path}:{row.line}: {row.message}", code=row.code, file=path, line=row.line)
        text, file, passage = (row.data.get(key) for key in ("question", "file", "passage"))
        if not isinstance(text, str) or not text.strip() or not (file or passage):
            raise SodateError(
                tr(f"{path}:{row.line} needs `question`, and `file` or `passage`.",
                   f"{path}:{row.line} には question と、file または passage が必要です。"),
                code="wrong_rows", file=path, line=row.line,
            )  # fmt: skip
        asked.append(Question(text, file and str(file), passage and str(passage), row.line))
    if not asked:
        raise UsageError(tr(f"{path} has no rows.", f"{path} に行がありません。"), code="no_rows", file=path)
    return asked


def with_context(
    data: str | Path, index: str, out: str | Path, *, k: int = PASSAGES, columns: Mapping[str, str] | None = None,
    encoding: str | None = None, answerable: float = 1.0, abstention: str | None = None, seed: int = 0,
) -> dict[str, Any]:  # fmt: skip
    """Writes the conversations of a file with passages before each question, as they will be asked.

    A passage that the row names (`passage` or `file`) is among them if the search found another, at a place drawn from
    `seed`, and [*] in a reply becomes its number. A share of 1 - `answerable` of the rows gets passages without the one
    that answers, and `abstention` as its reply.
    """
    asking, random_ = retriever(index, k), random.Random(seed)
    if answerable < 1 and not abstention:
        raise UsageError(
            tr("Rows without an answer in their passages need a reply that says so.",
               "資料に答えのない行には、その旨を述べる返答が必要です。"),
            tr("Give --abstention TEXT.", "--abstention 文 を指定してください。"), code="bad_value", param="abstention",
        )  # fmt: skip
    counts = {"rows": 0, "answerable": 0, "given": 0}
    with atomic_file(Path(out)) as stream:
        for row in read_examples(located(data), columns, encoding)[1]:
            if not isinstance(row, ParsedRow):
                if row.severity == "warning":
                    continue
                raise SodateError(f"{row.file}:{row.line}: {row.message}", code=row.code, file=row.file, line=row.line)
            example = row.example
            if not isinstance(example, Conversation):
                raise UsageError(
                    tr(f"{row.row.file}:{row.row.line} is not a conversation.",
                       f"{row.row.file}:{row.row.line} は会話ではありません。"),
                    code="wrong_rows", param="data", file=row.row.file, line=row.row.line,
                )  # fmt: skip
            counts["rows"] += 1
            known = _known(row.row.data)
            found = [one.passage for one in asking.index.search(question(example.prompt), k + 1)]
            right = [one for one in found if known is not None and known.answered_by(one)]
            messages = list(example.messages)
            if random_.random() < answerable:
                shown = found[:k]
                if known is not None and not any(one in right for one in shown):
                    named = _named(asking.index, known)
                    if named is not None:
                        shown = shown[: k - 1]
                        shown.insert(random_.randrange(len(shown) + 1), named)
                        counts["given"] += 1
                counts["answerable"] += 1
            else:
                shown = [one for one in found if one not in right][:k]
                messages = [*example.prompt, Message("assistant", abstention or "")]
            answers = next((n for n, one in enumerate(shown, 1) if known is not None and known.answered_by(one)), None)
            messages = [replace(m, content=cited(m.content, answers)) if m.role == "assistant" else m for m in messages]
            stream.write(openai_line(with_passages(messages, shown), example))
    return {"out": str(out), **counts}


def _known(row: Mapping[str, Any]) -> Question | None:
    """What the row says of where its answer stands."""
    file, passage = row.get("file"), row.get("passage")
    return Question("", file and str(file), passage and str(passage), 0) if file or passage else None


def _named(index: Index, known: Question) -> Passage | None:
    return next((one for one in index.passages if known.answered_by(one)), None)


def openai_line(messages: Sequence[Message], example: Conversation | TaskItem) -> bytes:
    """A row of JSON lines with these messages, and with the example's tools and other columns."""
    row: dict[str, Any] = {"messages": [_openai(message) for message in messages]}
    if example.tools:
        row["tools"] = list(example.tools)
    return json.dumps(row | dict(example.item), ensure_ascii=False).encode() + b"\n"


def _openai(message: Message) -> dict[str, Any]:
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
