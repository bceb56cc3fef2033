"""The rows of a file as held-out items."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sodate.core.errors import SodateError, UsageError
from sodate.core.text import tr
from sodate.core.types import Example
from sodate.data import tasks
from sodate.data.datasets import fill
from sodate.evaluate.items import EvalItem


def read_items(
    data: Path, limit: int | None, columns: Mapping[str, str] | None, encoding: str | None, cluster: str | None
) -> tuple[list[EvalItem], list[tuple[Any, ...]]]:
    """Held-out items of a file, with each row's tools. A row that can't be read stops the evaluation."""
    from sodate.data.examples import ParsedRow, read_examples

    items: list[EvalItem] = []
    tools: list[tuple[Any, ...]] = []
    for row in read_examples(data, columns, encoding)[1]:
        if limit is not None and len(items) >= limit:
            break
        if not isinstance(row, ParsedRow):
            if row.severity == "warning":
                continue
            raise SodateError(
                f"{row.file}:{row.line}: {row.message}",
                tr("Mend or remove this row.", "この行を直すか除いてください。"),
                code=row.code,
                param="data",
                file=row.file,
                line=row.line,
            )
        items.append(_item(row.example, None if cluster is None else _cluster(row.row, cluster)))
        tools.append(tuple(row.example.tools))
    if not items:
        raise UsageError(
            tr(f"{data} has no rows.", f"{data} に行がありません。"), fill(), code="no_rows", param="data", file=data
        )
    return items, tools


def _cluster(row: Any, column: str) -> str:
    if column not in row.data:
        raise UsageError(
            tr(f"{row.file}:{row.line} has no column {column}.", f"{row.file}:{row.line} に列 {column} がありません。"),
            tr("--cluster names the column that related rows share.",
               "--cluster には、関連する行に共通する列を指定してください。"),
            code="missing_column", param="cluster", file=row.file, line=row.line,
        )  # fmt: skip
    return str(row.data[column])


def _item(example: Example, cluster: str | None) -> EvalItem:
    task = tasks.as_task(example)
    if task is None:
        raise UsageError(
            tr(
                "Preference pairs and plain text have no prompt with one right reply to grade against.",
                "選好データやただの文章には、採点の基準になる返答つきのプロンプトがありません。",
            ),
            tr(
                "Give a file of conversations or of prompts with reference answers.",
                "会話、または参照解答つきのファイルを指定してください。",
            ),
            code="wrong_rows",
            param="data",
        )
    return EvalItem(task.prompt, tasks.reference(task), task.source, task.item, cluster)
