"""Every key of metrics.jsonl that any test writes is in docs/glossary.md."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from sodate.core.runs import RunFolder
from sodate.grade.spec import KINDS

# What stand-ins of a method in tests say of themselves.
OF_TESTS = {"eval_rows", "coefficient", "update_0", "update_1", "update_2"}
PAGE = Path(__file__).parents[1] / "docs" / "glossary.md"


def keys(*headings: str) -> set[str]:
    """The keys in the tables under these headings; all tables of keys without any."""
    parts = re.split(r"^## ", PAGE.read_text("utf-8"), flags=re.MULTILINE)[1:]
    rows = [row for part in parts if not headings or part.startswith(headings) for row in part.splitlines()]
    return {key for row in rows if row.startswith("| `") for key in re.findall(r"`([^`]+)`", row.split("|")[1])}


def known(key: str, page: set[str]) -> bool:
    """`eval_` and `base_` may stand before any key; `eval_GRADER` is any grader's."""
    plain = re.sub(r"^(base_)?(eval_)?", "", key)
    grader = re.split(r"[:,*]", plain)[0] in {*KINDS, "reward_model"}
    return grader or bool({key, plain, key.removeprefix("base_")} & page)


def install() -> None:
    page = keys("A line of metrics.jsonl") | OF_TESTS
    metric = RunFolder.metric

    def checked(self: RunFolder, line: dict[str, Any]) -> None:
        unknown = [key for key in line if not known(key, page)]
        assert not unknown, f"keys of metrics.jsonl that docs/glossary.md does not explain: {unknown}"
        metric(self, line)

    RunFolder.metric = checked  # type: ignore[method-assign]
