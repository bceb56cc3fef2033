"""The form in which turns reach an engine that knows text alone: a server elsewhere, with a template of its own.

Its ids are the bytes of UTF-8 and two marks around every turn, so that everything around engines, which speaks in ids,
stays as it is. The engine reads the turns back from the ids (`turns`), and writes what the server says as bytes. Marks
can't be forged: text is bytes, whatever it says.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

from sodate.render.renderer import Renderer
from sodate.render.toolcalls import parse

BEGIN, END = 256, 257  # the ids that begin and end a turn
_BEGIN, _END = "<|begin|>", "<|end|>"
SOURCE = "elsewhere"  # of its template
TOOLS = "tools"  # the role of the turn that lists what may be called
TEMPLATE = (
    "{%- if tools %}{{ '<|begin|>tools\\n' + (tools | tojson) + '<|end|>' }}{% endif -%}"
    "{%- for message in messages -%}"
    "{{ '<|begin|>' + message['role'] + '\\n' }}"
    "{%- if message['reasoning_content'] %}{{ '<think>\\n' + message['reasoning_content'] + '\\n</think>\\n\\n' }}"
    "{% endif -%}"
    "{{ message['content'] }}"
    "{%- for call in message['tool_calls'] or [] -%}"
    "{{ '<tool_call>\\n' + (call['function'] | tojson) + '\\n</tool_call>' }}"
    "{%- endfor -%}"
    "{{ '<|end|>' }}"
    "{%- endfor -%}"
    "{%- if add_generation_prompt %}{{ '<|begin|>assistant\\n' }}{% endif -%}"
)


def renderer() -> Renderer:
    """The renderer of every model whose template lies elsewhere."""
    letters = pre_tokenizers.ByteLevel.alphabet()
    plain = [b for b in range(256) if chr(b) in letters]  # GPT-2's: these stand for themselves, the others follow 255
    others = iter(range(256, 512))
    vocabulary = {chr(b) if b in plain else chr(next(others)): b for b in range(256)}
    made = Tokenizer(models.BPE(vocabulary, []))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    made.decoder = decoders.ByteLevel()
    made.add_special_tokens([AddedToken(text, special=True, normalized=False) for text in (_BEGIN, _END)])
    return Renderer(made, TEMPLATE, eos_token=_END, source=SOURCE)


def turns(ids: Sequence[int]) -> tuple[list[dict[str, Any]], list[Any]]:
    """(messages, tools) of a prompt's ids, as OpenAI's wire has them."""
    messages: list[dict[str, Any]] = []
    tools: list[Any] = []
    waiting: list[str] = []  # ids of calls that have no result yet
    for role, text in _turns(ids):
        if role == TOOLS:
            tools = json.loads(text)
        elif role == "tool":
            messages.append({"role": role, "tool_call_id": waiting.pop(0) if waiting else "", "content": text})
        else:
            messages.append({"role": role, "content": text})
            content, calls = parse(text) if role == "assistant" else (text, ())
            if calls:
                waiting = [f"call_{len(messages)}_{number}" for number in range(len(calls))]
                messages[-1] = {"role": role, "content": content or None, "tool_calls": [
                    {"id": id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}
                    for id, call in zip(waiting, calls, strict=True)
                ]}  # fmt: skip
                waiting = list(waiting)
    return messages, tools


def _turns(ids: Sequence[int]) -> Iterator[tuple[str, str]]:
    """(role, text) of every turn that has ended, without its reasoning, which servers are not told."""
    at = 0
    while BEGIN in ids[at:] and END in ids[at:]:
        begin = ids.index(BEGIN, at) + 1
        at = ids.index(END, begin) + 1
        role, _, text = bytes(ids[begin : at - 1]).decode("utf-8", "replace").partition("\n")
        if role == "assistant" and text.startswith("<think>\n"):
            text = text.partition("\n</think>\n\n")[2]
        yield role, text


def call_text(name: str, arguments: str) -> str:
    """A call as TEMPLATE writes it."""
    try:
        value = json.loads(arguments)
    except ValueError:
        value = arguments
    return f"<tool_call>\n{json.dumps({'name': name, 'arguments': value}, ensure_ascii=False)}\n</tool_call>"


def thought_text(reasoning: str) -> str:
    """Reasoning as TEMPLATE writes it before an answer."""
    return f"<think>\n{reasoning}\n</think>\n\n"
