"""Talking with a model: a conversation in the terminal, and replies to files as JSON lines."""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sodate.core.errors import UsageError
from sodate.core.text import tr, visible
from sodate.core.types import Message
from sodate.terminal import err, shown


def chat(name: str, system: str | None, temperature: float, max_tokens: int) -> None:
    """A conversation in the terminal: empty line or Ctrl-D ends it, Ctrl-C stops a reply."""
    from sodate.api.loading import load
    from sodate.core.engine import Sampling

    model = load(name)
    err.print(
        tr(
            f"[dim]{shown(model.files.name)} · an empty line ends[/]",
            f"[dim]{shown(model.files.name)} · 空行で終了[/]",
        )
    )
    turns = [Message("system", system)] if system else []
    while True:
        try:
            said = input("> ").strip()
        except EOFError:
            said = ""
        if not said:
            return
        turns.append(Message("user", said))
        ids: list[int] = []
        printed = ""

        def on_token(_number: int, token: int, ids: list[int] = ids) -> None:
            nonlocal printed
            ids.append(token)
            text = model.renderer.text(ids)
            # An unfinished character decodes to the replacement mark; it is printed once it is whole.
            if text.startswith(printed) and not text.endswith("\ufffd"):
                print(visible(text[len(printed) :]), end="", flush=True)
                printed = text

        with contextlib.suppress(KeyboardInterrupt):
            model.replies([turns], Sampling(max_new_tokens=max_tokens, temperature=temperature), on_token=on_token)
        print()
        turns.append(model.renderer.parse(ids))


@dataclass(frozen=True, slots=True)
class Asked:
    """A prompt to reply to, and the line it stands on if it came from a file."""

    messages: tuple[Message, ...]
    tools: tuple[Mapping[str, Any], ...] = ()
    line: int | None = None


def asked(
    prompt: str | None, system: str | None, data: Path | None, columns: Mapping[str, str] | None, encoding: str | None,
    limit: int | None,
) -> list[Asked]:  # fmt: skip
    """The one prompt, or those of a file's first `limit` readable rows; rows that are not are named on stderr."""
    from sodate.data.load import Loaded
    from sodate.data.load import load as read

    if (prompt is None) == (data is None):
        raise UsageError(
            tr("Give either --prompt or --data.", "--prompt か --data のどちらかを指定してください。"),
            code="bad_value",
            param="prompt",
        )
    head = (Message("system", system),) if system else ()
    if data is None:
        return [Asked((*head, Message("user", prompt or "")))]
    found: list[Asked] = []
    for row in read(data, columns, encoding)[1]:
        if limit is not None and len(found) >= limit:
            break
        if isinstance(row, Loaded):
            messages = (*head, *row.example.prompt)
            found.append(Asked(messages, tuple(row.example.tools), row.row.line))
        else:  # said, not dropped in silence
            err.print(f"{shown(row.file)}:{row.line}  {shown(row.message)}", soft_wrap=True)
    return found


def generate(
    name: str, prompts: Sequence[Asked], samples: int, temperature: float, top_p: float, max_tokens: int, seed: int,
    as_json: bool,
) -> None:  # fmt: skip
    """Replies on stdout: plain text for one prompt, JSON lines for a file or several samples."""
    from sodate.api.loading import load
    from sodate.core.engine import Sampling

    if samples > 1 and temperature == 0:
        raise UsageError(
            tr("Several samples need --temperature above 0.", "複数の候補には 0 より大きい --temperature が必要です。"),
            code="bad_value",
            param="temperature",
        )
    many = [one for one in prompts for _ in range(samples)]
    model = load(name)
    sampling = Sampling(max_new_tokens=max_tokens, temperature=temperature, top_p=top_p, seed=seed)
    replies = model.replies([p.messages for p in many], sampling, tools=[p.tools for p in many])
    texts = [model.renderer.text(reply.ids) for reply in replies]
    grouped = [
        _candidates(number, one, texts[number * samples : (number + 1) * samples]) for number, one in enumerate(prompts)
    ]
    if as_json:
        print(json.dumps(grouped, ensure_ascii=False))
    elif prompts and prompts[0].line is None and samples == 1:
        print(visible(texts[0]) if sys.stdout.isatty() else texts[0])
    else:
        for group in grouped:
            print(json.dumps(group, ensure_ascii=False))


def _candidates(number: int, prompt: Asked, replies: list[str]) -> dict[str, Any]:
    """A row for a person to fill in: several replies that still have no ranks are data for `preference-ranking`."""
    if len(replies) == 1:
        return {"prompt": number, **({"line": prompt.line} if prompt.line else {}), "replies": replies}
    messages = [{"role": message.role, "content": message.content} for message in prompt.messages]
    return {"prompt": messages, "replies": replies, "ranks": None}
