"""Passages that were found, each with where it stands."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sodate.core.text import tr, visible
from sodate.terminal import err


def print_found(found: Sequence[Mapping[str, Any]]) -> None:
    if not found:
        err.print(tr("Nothing was found.", "見つかりませんでした。"))
    for one in found:
        where = " / ".join((one["file"], *one["titles"]))
        print(f"[{one['rank']}] {visible(where)} ({visible(one['place'])}, {one['score']:.2f})")
        print(visible(one["text"]), end="\n\n")
