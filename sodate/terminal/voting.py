"""One rater at the terminal: a row is shown, a letter for each viewpoint is typed."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from rich.console import Console

from sodate.api import vote_words
from sodate.core.text import counted, tr
from sodate.terminal import shown

if TYPE_CHECKING:
    from sodate.api.votes import Booth

QUIT = ("q", "quit", "終わり")


def vote(booth: Booth, *, quiet: bool = False) -> None:
    """Asks about every row that is left, until there is none, input ends, or the rater quits. What was said stays."""
    out = Console(stderr=quiet)
    while booth.rows:
        one = booth.rows[0]
        asked, replies = booth.shown(one)
        out.rule(f"{booth.total - len(booth.rows) + 1} / {booth.total}", align="left")
        out.print(shown(asked), style="dim", soft_wrap=True)
        for letter, reply in zip(vote_words.LETTERS, replies, strict=False):
            out.print(f"\n[bold]{letter}[/]", highlight=False)
            out.print(shown(reply), soft_wrap=True)
        out.print("\n" + _how(len(replies)), style="dim")
        said: dict[str, str] = {}
        for viewpoint in booth.viewpoints:
            answer = _ask(out, viewpoint, len(replies))
            if answer is None:
                out.print(tr(f"{counted(len(booth.rows), 'row')} left.", f"残りは {len(booth.rows)} 行です。"))
                return
            said[viewpoint] = answer
        booth.vote(one, said)
    out.print(tr("Every row is judged. Thank you.", "すべての行を評価しました。ありがとうございました。"))


def _how(count: int) -> str:
    if count == 2:
        return tr("a, b, = (the same), x (both bad), Enter (no vote), q (stop)",
                  "a、b、= (同じ)、x (どちらも悪い)、Enter (無投票)、q (中断)")  # fmt: skip
    return tr("best first, such as bac or b>a=c; = (the same), x (all bad), Enter (no vote), q (stop)",
              "良い順に bac や b>a=c。= (同じ)、x (どれも悪い)、Enter (無投票)、q (中断)")  # fmt: skip


def _ask(out: Console, viewpoint: str, count: int) -> str | None:
    """The vote; None where the rater stops."""
    while True:
        out.print(f"{shown(viewpoint)}: ", end="")
        line = sys.stdin.readline()
        if not line or line.strip().lower() in QUIT:
            return None
        try:
            return vote_words.read(line, count)
        except vote_words.BadVoteError as error:
            out.print(shown(str(error.args[0])), style="yellow")
