"""Any example as a grader sees it: a prompt, the reply to compare with, and the rest of the row.

Training on rewards and evaluation both ask here, so that a grader scores the same reply alike in both.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from sodate.core.types import Conversation, Example, Message, Preference, TaskItem
from sodate.render import reasoning, toolcalls

if TYPE_CHECKING:
    from sodate.render.renderer import Renderer

REFERENCE = "reference_answer"


def as_task(example: Example) -> TaskItem | None:
    """A task item as it is, a conversation or a pair as the task of its last wanted reply; None where none is right."""
    if isinstance(example, TaskItem):
        return example
    if isinstance(example, Preference) and example.lesson:
        example = example.lesson
    if isinstance(example, Conversation) and example.reply is not None and example.prompt:
        item = {**example.item, REFERENCE: reply_text(example.reply)}
        return TaskItem(example.prompt, item, example.tools, example.source)
    return None


def reference(task: TaskItem) -> str | None:
    """The reply to compare with. An answer that is not text is written as JSON."""
    answer = task.item.get(REFERENCE)
    return answer if isinstance(answer, str) or answer is None else json.dumps(answer, ensure_ascii=False)


def reply_text(message: Message) -> str:
    """A reply as graders see it: its content without what was thought before it, tool calls written out after it."""
    message = reasoning.apart(message)
    if not message.tool_calls:
        return message.content
    (written,), _ = toolcalls.as_text([message], ())
    return written.content


def generated(renderer: Renderer, ids: Sequence[int], tools: Sequence[Mapping[str, Any]]) -> str:
    """A generated reply as graders see it, without its reasoning; calls of tools on offer as references have them."""
    return reply_text(renderer.parse(ids, tools)) if tools else renderer.text(ids)
