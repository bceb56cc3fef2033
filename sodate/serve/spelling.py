"""How a reply is spelled in the Responses API: output items, and the events in which they grow."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from sodate.api.conversation import Delta, Finished
from sodate.api.text_stream import Scored
from sodate.core.errors import SodateError
from sodate.core.ids import new_id
from sodate.core.types import ToolCall
from sodate.serve import errors
from sodate.serve.file_search import Searched
from sodate.serve.sending import event


def message_item(
    text: str, tokens: Sequence[Scored], status: str, id: str = "", searched: Searched | None = None
) -> dict[str, Any]:
    """The assistant's text as an output item, with its citations where there was a search."""
    cited = searched.citations(text) if searched else []
    return {"id": id or new_id("msg_"), "type": "message", "role": "assistant", "status": status,
            "content": [_part(text, tokens, cited)]}  # fmt: skip


def _part(text: str, tokens: Sequence[Scored], cited: Sequence[dict[str, Any]] = ()) -> dict[str, Any]:
    scores = [_scored(token) for token in tokens]
    return {"type": "output_text", "text": text, "annotations": list(cited), "logprobs": scores}


def _scored(token: Scored) -> dict[str, Any]:
    def one(t: Scored) -> dict[str, Any]:
        return {"token": t.text, "logprob": t.log_probability, "bytes": list(t.bytes)}

    return {**one(token), "top_logprobs": [one(other) for other in token.top]}


def _reasoning_item(text: str, id: str = "") -> dict[str, Any]:
    content = [{"type": "reasoning_text", "text": text}]
    return {"id": id or new_id("rs_"), "type": "reasoning", "summary": [], "content": content}


def _call_item(call: ToolCall, status: str = "completed", id: str = "") -> dict[str, Any]:
    return {"id": id or new_id("fc_"), "type": "function_call", "call_id": call.id, "name": call.name,
            "arguments": call.arguments, "status": status}  # fmt: skip


def output(
    done: Finished, status: str, scores: bool, searched: Searched | None = None, results: bool = False
) -> list[dict[str, Any]]:
    """The items of a whole reply: a search, with its `results`, reasoning, text with its log-probabilities if `scores`,
    calls."""
    tokens = done.tokens if scores else ()
    items = [searched.item("completed", results)] if searched else []
    items += [_reasoning_item(done.message.reasoning)] if done.message.reasoning else []
    if done.message.content or not done.message.tool_calls:
        items.append(message_item(done.message.content, tokens, status, "", searched))
    return items + [_call_item(call) for call in done.message.tool_calls]


def input_item(item: dict[str, Any], id: str) -> dict[str, Any]:
    """An item of the input as it is told again: a message's text in parts, everything with an id."""
    told = {"type": "message", "status": "completed", **item, "id": item.get("id") or id}
    if told["type"] == "reasoning":
        return {"summary": [], **told}
    if told["type"] != "message":
        return told
    own = told["role"] == "assistant"
    parts = [{"type": "text", "text": item["content"]}] if isinstance(item["content"], str) else item["content"]
    said = {"type": "output_text", "annotations": [], "logprobs": []} if own else {"type": "input_text"}
    return {**told, "content": [{**part, **(said if part["type"] == "text" else {})} for part in parts]}


class Spelling:
    """The events of one response; `items` are those that are complete."""

    def __init__(self, scores: bool, searched: Searched | None = None) -> None:
        self._scores = scores  # whether log-probabilities are told
        self._searched = searched
        self.items: list[dict[str, Any]] = []
        self._number = 0
        self._open: tuple[str, str] | None = None  # kind and id of the item that grows
        self._text = ""
        self._tokens: list[Scored] = []

    def event(self, kind: str, **data: Any) -> bytes:
        """An event with the next number."""
        self._number += 1
        return event({"type": kind, "sequence_number": self._number - 1, **data}, kind)

    def search(self, results: bool) -> Iterator[bytes]:
        """That a search was made, where one was."""
        if self._searched is None:
            return
        done = self._searched.item("completed", results)
        begun = {**done, "status": "in_progress", "queries": [], "results": None}
        where = {"item_id": done["id"], "output_index": len(self.items)}
        yield self._item("response.output_item.added", begun)
        for state in ("in_progress", "searching", "completed"):
            yield self.event(f"response.file_search_call.{state}", **where)
        yield self._item("response.output_item.done", done)
        self.items.append(done)

    def added(self, delta: Delta) -> Iterator[bytes]:
        """What an addition to the message says."""
        if delta.kind == "call":
            assert delta.call is not None
            yield from self.ended("completed")
            yield from self._call(delta.call)
            return
        if self._open is None or self._open[0] != delta.kind:
            yield from self.ended("completed")
            yield from self._begun(delta.kind)
        self._text += delta.text
        told = delta.tokens if self._scores and delta.kind == "content" else ()
        self._tokens += told
        if not delta.text:
            return
        if delta.kind == "reasoning":
            yield self._within("response.reasoning_text.delta", delta=delta.text)
        else:
            scores = [_scored(token) for token in told]
            yield self._within("response.output_text.delta", delta=delta.text, logprobs=scores)

    def ended(self, status: str) -> Iterator[bytes]:
        """Completes the item that grows, if one does."""
        if self._open is None:
            return
        kind, id = self._open
        if kind == "reasoning":
            yield self._within("response.reasoning_text.done", text=self._text)
            item = _reasoning_item(self._text, id)
        else:
            item = message_item(self._text, self._tokens, status, id, self._searched)
            part = item["content"][0]
            for number, cited in enumerate(part["annotations"]):
                yield self._within("response.output_text.annotation.added", annotation_index=number, annotation=cited)
            yield self._within("response.output_text.done", text=self._text, logprobs=part["logprobs"])
            yield self._within("response.content_part.done", part=part)
        self._open = None
        yield self._item("response.output_item.done", item)
        self.items.append(item)

    def failure(self, error: Exception) -> dict[str, Any]:
        """What a response that failed says about it."""
        envelope = errors.known(error)[1] if isinstance(error, SodateError) else errors.unknown(error)
        return {"code": envelope["error"]["code"], "message": envelope["error"]["message"]}

    def _begun(self, kind: str) -> Iterator[bytes]:
        id = new_id("rs_" if kind == "reasoning" else "msg_")
        self._open, self._text, self._tokens = (kind, id), "", []
        if kind == "reasoning":
            yield self._item("response.output_item.added", {**_reasoning_item("", id), "content": []})
        else:
            empty = {**message_item("", (), "in_progress", id), "content": []}
            yield self._item("response.output_item.added", empty)
            yield self._within("response.content_part.added", part=_part("", ()))

    def _call(self, call: ToolCall) -> Iterator[bytes]:
        item = _call_item(call)
        yield self._item("response.output_item.added", {**item, "arguments": "", "status": "in_progress"})
        where = {"item_id": item["id"], "output_index": len(self.items)}
        yield self.event("response.function_call_arguments.delta", **where, delta=call.arguments)
        yield self.event("response.function_call_arguments.done", **where, name=call.name, arguments=call.arguments)
        yield self._item("response.output_item.done", item)
        self.items.append(item)

    def _item(self, kind: str, item: dict[str, Any]) -> bytes:
        return self.event(kind, output_index=len(self.items), item=item)

    def _within(self, kind: str, **data: Any) -> bytes:
        assert self._open is not None
        return self.event(kind, item_id=self._open[1], output_index=len(self.items), content_index=0, **data)
