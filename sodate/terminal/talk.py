"""Talking with a model in the terminal, and replies as text or JSON lines."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from sodate.core.text import json_text, tr, visible
from sodate.core.types import Message
from sodate.terminal import err, shown

if TYPE_CHECKING:
    from sodate.api.loading import Model
    from sodate.api.retrieval import Retriever


def chat(model: Model, system: str | None, asking: Retriever | None = None, **sampling: Any) -> None:
    """A conversation: an empty line or Ctrl-D ends it, Ctrl-C stops a reply. With `asking`, each question is answered
    from the passages that it finds, which are named first."""
    name = shown(model.files.name)
    err.print(tr(f"[dim]{name} · an empty line ends[/]", f"[dim]{name} · 空行で終了[/]"))
    turns = [Message("system", system)] if system else []
    while True:
        try:
            said = input("> ").strip()
        except EOFError:
            said = ""
        if not said:
            return
        turns.append(Message("user", said))
        pieces: list[str] = []
        asked = turns
        if asking is not None:
            found = asking.found(turns)
            asked = asking.ask(turns, found)
            for line in asking.named(found):
                err.print(shown(line), style="dim", soft_wrap=True)

        def on_thought(piece: str) -> None:
            err.print(shown(piece), style="dim", end="", soft_wrap=True)

        def on_text(piece: str, pieces: list[str] = pieces) -> None:
            pieces.append(piece)
            print(visible(piece), end="", flush=True)

        try:
            turns.append(model.reply(asked, on_text=on_text, on_thought=on_thought, **sampling))
        except KeyboardInterrupt:
            turns.append(Message("assistant", "".join(pieces)))
        print()


def print_replies(rows: Sequence[Mapping[str, Any]], *, alone: bool) -> None:
    """JSON lines; a reply that is `alone` as its text."""
    if alone:
        (text,) = rows[0]["replies"]
        for thought in rows[0].get("reasoning", ()):
            err.print(shown(thought), style="dim", soft_wrap=True)
        print(visible(text) if sys.stdout.isatty() else text)
        return
    for row in rows:
        print(json_text(row))
