"""Talking with a model: a conversation in the terminal, and replies to files as JSON lines."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from rich.markup import escape

from sodate.core.errors import UsageError
from sodate.core.text import tr
from sodate.core.types import Message
from sodate.terminal import err


def chat(name: str, system: str | None, temperature: float, max_tokens: int) -> None:
    """A conversation in the terminal: empty line or Ctrl-D ends it, Ctrl-C stops a reply."""
    from sodate.api.loading import load
    from sodate.generate.engine import Sampling

    model = load(name)
    err.print(
        tr(
            f"[dim]{escape(model.reference.name)} · an empty line ends[/]",
            f"[dim]{escape(model.reference.name)} · 空行で終了[/]",
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
                print(text[len(printed) :], end="", flush=True)
                printed = text

        with contextlib.suppress(KeyboardInterrupt):
            model.replies([turns], Sampling(max_new_tokens=max_tokens, temperature=temperature), on_token=on_token)
        print()
        turns.append(model.renderer.parse(ids))


def generate(
    name: str, prompt: str | None, system: str | None, data: Path | None, samples: int, temperature: float,
    top_p: float, max_tokens: int, limit: int | None, seed: int, as_json: bool,
) -> None:  # fmt: skip
    """Replies on stdout: plain text for one prompt, JSON lines for a file or several samples."""
    from sodate.api.loading import load
    from sodate.data.load import Loaded
    from sodate.data.load import load as read
    from sodate.generate.engine import Sampling

    if (prompt is None) == (data is None):
        raise UsageError(tr("Give either --prompt or --data.", "--prompt か --data のどちらかを指定してください。"))
    if samples > 1 and temperature == 0:
        raise UsageError(
            tr("Several samples need --temperature above 0.", "複数の候補には 0 より大きい --temperature が必要です。")
        )
    head = (Message("system", system),) if system else ()
    if data is None:
        prompts = [((*head, Message("user", prompt or "")), ())]
    else:
        prompts = []
        for row in islice(read(data)[1], limit):
            if isinstance(row, Loaded):
                prompts.append(((*head, *row.example.prompt), row.example.tools))  # type: ignore[arg-type]
            else:  # said, not dropped in silence
                err.print(f"{escape(row.file)}:{row.line}  {escape(row.message)}", soft_wrap=True)
    many = [one for one in prompts for _ in range(samples)]
    model = load(name)
    sampling = Sampling(max_new_tokens=max_tokens, temperature=temperature, top_p=top_p, seed=seed)
    replies = model.replies([p for p, _ in many], sampling, tools=[t for _, t in many])
    texts = [model.renderer.text(reply.ids) for reply in replies]
    grouped = [
        _candidates(number, asked, texts[number * samples : (number + 1) * samples])
        for number, (asked, _) in enumerate(prompts)
    ]
    if as_json:
        print(json.dumps(grouped, ensure_ascii=False))
    elif prompt is not None and samples == 1:
        print(texts[0])
    else:
        for group in grouped:
            print(json.dumps(group, ensure_ascii=False))


def _candidates(number: int, prompt: Sequence[Message], replies: list[str]) -> dict[str, Any]:
    """A row for a person to fill in: several replies that still have no ranks are data for `preference-ranking`."""
    if len(replies) == 1:
        return {"prompt": number, "replies": replies}
    asked = [{"role": message.role, "content": message.content} for message in prompt]
    return {"prompt": asked, "replies": replies, "ranks": None}
