"""JSON documents that hold rows in a shape of their own: refused with what is found in them, never read as one row."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from sodate.core.errors import SodateError
from sodate.core.text import Sentence, en, ja, tr
from sodate.data.formats import ROW_KEYS


def no_row(document: Mapping[str, Any], name: str) -> SodateError | None:
    """Why a document that is one object can't be one row, or None."""
    values = list(document.values())
    lists = [value for value in values if isinstance(value, list)]
    table = len(lists) == len(values) > 0 and len({len(value) for value in lists}) == 1 < len(lists[0])
    if table and not any(isinstance(item, dict | list) for value in lists for item in value):
        return _refused(name, tr(f"{len(lists[0])} rows as columns", f"列ごとに並べた {len(lists[0])} 行"))
    beside = [value for value in lists if len(value) > 1 and all(isinstance(item, list) for item in value)]
    if len(beside) == 1 and len(lists) > 1 and not document.keys() & ROW_KEYS:  # pandas' "split": columns, index, data
        return _refused(name, tr(f"{len(beside[0])} rows as lists", f"リストとして並べた {len(beside[0])} 行"))
    inner = [value for value in values if isinstance(value, dict)]
    if len(inner) == len(values) > 0 and not document.keys() & ROW_KEYS:
        return _refused(name, tr(f"{len(values)} rows under names of their own", f"名前付きで並べた {len(values)} 行"))
    if len(inner) == len(values) > 1 and len({tuple(sorted(value)) for value in inner}) == 1:
        return _refused(name, tr(f"{len(inner[0])} rows as columns", f"列ごとに並べた {len(inner[0])} 行"))
    if document.keys() & ROW_KEYS:
        return None
    arrays = list(_arrays(document))
    if not arrays:
        return None
    found = ", ".join(f"{path} ({count})" for path, count in arrays[:10])
    return _refused(name, tr(f"rows in {found}", f"{found} にある行"))


def _arrays(value: Any, path: str = "") -> Iterator[tuple[str, int]]:
    """Path and length of each list of objects."""
    if isinstance(value, dict):
        for key, item in value.items():
            yield from _arrays(item, f"{path}.{key}" if path else key)
    elif isinstance(value, list) and value and all(isinstance(item, dict) for item in value):
        yield path, len(value)


def _refused(name: str, what: Sentence) -> SodateError:
    return SodateError(
        tr(
            f"{name} holds {en(what)}, not one list of rows.",
            f"{name} の中身は{ja(what)}で、行の配列 1 つではありません。",
        ),
        tr(
            "Write the rows to use as a file of their own: a list of objects, or one object a line.",
            "使う行だけを、オブジェクトの配列か 1 行 1 オブジェクトのファイルに書き出してください。",
        ),
        code="unknown_format",
        param="data",
        file=name,
    )
