"""Review in the terminal: one exchange after another, one key for each decision."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from sodate.core.text import tr
from sodate.terminal import err, out, shown

Queue = Callable[[], Sequence[Mapping[str, Any]]]
KEYS: Mapping[str, str] = {"a": "accept", "c": "correct", "r": "reject", "b": "both_bad", "s": "skip"}


def one_after_another(
    queue: Queue, decide: Callable[..., Any], propose: Callable[[Sequence[Any]], Sequence[Any]]
) -> int:
    """Shows what `queue` gives and hands each decision to `decide(id, decision=…)` until q, Ctrl-D or nothing is left.

    `propose` adds `proposal` and `proposed_by` to items, of which p makes the correction. Returns how many decisions.
    """
    done = 0
    seen: set[str] = set()
    while items := [item for item in queue() if item["id"] not in seen]:
        for item in propose(items):
            seen.add(item["id"])
            _show(item)
            decided = _decided(item)
            if decided is None:
                return _ended(done)
            decide(item["id"], drawn=item["drawn"], **decided)
            done += 1
    out.print(tr("Nothing is left to review.", "確認するものはもうありません。"))
    return _ended(done)


def _ended(done: int) -> int:
    out.print(tr(f"{done} decided.", f"{done} 件を判定しました。"))
    return done


def _show(item: Mapping[str, Any]) -> None:
    out.rule(style="dim")
    reasons = ", ".join(one["reason"] for one in item["reasons"])
    out.print(f"[dim]{shown(item['id'])}  {shown(item['version'])}  {shown(item['drawn'])}[/]  [red]{reasons}[/]")
    for turn in item["messages"]:
        out.print(f"[dim]{turn['role']}[/] {shown(turn['content'] or '')}", soft_wrap=True)
    for number, reply in enumerate(item["replies"], 1):
        name = tr("reply", "返答") if len(item["replies"]) == 1 else tr(f"reply {number}", f"返答 {number}")
        out.print(f"[bold]{name}[/] {shown(reply or '')}", soft_wrap=True)
    for text in item["corrections"]:
        out.print(f"[yellow]{tr('somebody wrote', '書き直し')}[/] {shown(text)}", soft_wrap=True)
    if item.get("proposal"):
        out.print(f"[cyan]{tr('proposal', '提案')}[/] {shown(item['proposal'])}", soft_wrap=True)


def _decided(item: Mapping[str, Any]) -> dict[str, Any] | None:
    """What the next key says, with a correction where it needs one; None to end."""
    own = tr(
        "[a]ccept [c]orrect [r]eject [b]oth bad [s]kip [q]uit", "[a]採用 [c]修正 [r]却下 [b]どれも不可 [s]保留 [q]終了"
    )
    also = tr(" [p]roposal", " [p]提案を採用") if item.get("proposal") else ""
    while True:
        err.print(shown(f"{own}{also} "), end="")
        key = _key()
        err.print(shown(key))
        if key in ("", "q"):
            return None
        if key == "p" and item.get("proposal"):
            return {"decision": "correct", "correction": item["proposal"], "proposed_by": item["proposed_by"]}
        if key == "c":
            text = _text(item["corrections"])
            if text:
                return {"decision": "correct", "correction": text}
        elif key in KEYS:
            return {"decision": KEYS[key]}


def _text(corrections: Sequence[str]) -> str:
    """Lines up to an empty one; "." alone takes what somebody wrote already."""
    err.print(
        tr("the reply as it should be, an empty line ends", "正しい返答。空行で終わり")
        + (tr("; . takes what was written", "。. なら書き直しを採用") if corrections else "")
    )
    lines: list[str] = []
    while line := sys.stdin.readline().rstrip("\n"):
        if line == "." and corrections and not lines:
            return corrections[0]
        lines.append(line)
    return "\n".join(lines)


def _key() -> str:
    """One key from a terminal, the first letter of a line from anything else; "" at the end."""
    if not sys.stdin.isatty():
        return sys.stdin.readline().strip()[:1].lower()
    with _raw():
        key = sys.stdin.read(1).lower()
    return "" if key in ("\x04", "\x03") else key


@contextlib.contextmanager
def _raw() -> Iterator[None]:
    """The terminal gives each key at once."""
    import termios
    import tty

    before = termios.tcgetattr(sys.stdin)
    try:
        tty.setcbreak(sys.stdin)
        yield
    finally:
        termios.tcsetattr(sys.stdin, termios.TCSADRAIN, before)
