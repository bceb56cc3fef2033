"""The engine on any server that speaks OpenAI's wire: vLLM with its LoRA modules, Ollama, a cloud, another sodate.

Where the server takes token ids and gives them back (vLLM, sodate: `return_token_ids`), ids go in and come out. Any
other is told the messages and answers in text, in the form of render/as_bytes.py. What a version is called there is the
engine's name for it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

from sodate.core.engine import Done, Event, Request, Token
from sodate.core.errors import SodateError, UsageError
from sodate.core.text import tr
from sodate.generate import upstream_words as words
from sodate.generate.address import Address
from sodate.generate.calls import Call, Calls
from sodate.generate.event_stream import BROKEN, EventStream, Refusal, fetch
from sodate.generate.grammar import unsupported
from sodate.render import as_bytes

SLOTS = 16  # requests at a time: a server has its own queue, and its own limits
TRIES = 5
PROBE_SECONDS = 60.0


class Upstream:
    """core/engine.py's Engine over the server at `address`. A version is a model of the server, by its name there.

    `ids`: whether it takes token ids and gives them back (`connect`). Log-probabilities are what the server says they
    are: with ids, those it tells; in text, none (NaN).
    """

    def __init__(self, address: Address, *, ids: bool, slots: int = SLOTS) -> None:
        self.address, self.ids, self.slots = address, ids, slots
        self.versions: set[str] = set()
        self.name = f"upstream:{address.url}"
        self.details = "token ids" if ids else "text"
        self.figures: dict[str, Any] = {}  # its machine is not this one
        self.context_length = 0  # it says so itself when a prompt is too long
        self._calls = Calls(lambda error: words.failed(address, error))
        self._limit = "max_tokens"  # the argument by which it is told how long a reply may be

    def admit(self, request: Request) -> None:
        if len(self._calls) >= self.slots:
            raise SodateError(
                tr("As many requests as are sent at a time are under way.", "同時に送るリクエスト数の上限です。"),
                tr("Ask again in a moment.", "少し待ってからもう一度試してください。"),
                code="busy",
            )  # fmt: skip
        if request.version not in self.versions:
            raise SodateError(
                tr(f"The engine has no version {request.version}.",
                   f"バージョン {request.version} は読み込まれていません。"),
                code="unknown_version",
            )  # fmt: skip
        if not request.prompt:
            raise SodateError(tr("The prompt is empty.", "プロンプトが空です。"), code="invalid_prompt")
        if request.constraint is not None and (self.ids or request.constraint.kind != "json_schema"):
            raise unsupported(tr("a server upstream is asked for JSON schemas in chat alone",
                                 "上流サーバーに頼めるのはチャットでの JSON スキーマだけです"))  # fmt: skip
        sampling = request.sampling
        if not self.ids and (sampling.top_logprobs or sampling.bias):
            raise words.refused("top_logprobs" if sampling.top_logprobs else "logit_bias")
        self._calls.begin(request.number, lambda call: self._answer(call, request))

    def step(self) -> list[Event]:
        return self._calls.step()

    def cancel(self, number: int) -> None:
        self._calls.cancel(number)

    def close(self) -> None:
        self._calls.close()

    def add_version(self, name: str) -> None:
        """Takes requests for a model of the server."""
        self.versions.add(name)

    def remove_version(self, name: str) -> None:
        """Takes none any more."""
        self.versions.discard(name)

    # ── one request ──────────────────────────────────────────────────────────────────────────────────────────────────

    def _answer(self, call: Call, request: Request) -> Iterator[Event]:
        """Its events; asked again where the server is busy or fails before it has said anything."""
        for attempt in range(TRIES):
            stream, said = call.over(EventStream(self.address.connection)), False
            try:
                for event in self._events(stream, request):
                    said = True
                    yield event
                return
            except (*BROKEN, Refusal) as error:
                if isinstance(error, Refusal) and self._other_limit(error):
                    continue
                wait = words.pause(error, attempt)
                if said or call.gone.is_set() or wait is None or attempt == TRIES - 1:
                    raise words.failed(self.address, error) from None
                call.gone.wait(wait)

    def _events(self, stream: EventStream, request: Request) -> Iterator[Event]:
        return self._of_ids(stream, request) if self.ids else self._of_text(stream, request)

    def _of_ids(self, stream: EventStream, request: Request) -> Iterator[Event]:
        number, top = request.number, request.sampling.top_logprobs
        body = words.asked(request.sampling, request.version) | {
            "prompt": list(request.prompt), "logprobs": max(1, top), "return_token_ids": True,
            **({"return_tokens_as_token_ids": True} if top else {}),
        }  # fmt: skip
        finish, last, cached = "", -1, 0
        for event in self._heard(stream, "/completions", {k: v for k, v in body.items() if v is not None}):
            cached = words.cached(event) or cached
            for choice in event.get("choices", ()):
                values = (choice.get("logprobs") or {}).get("token_logprobs") or []
                tops = (choice.get("logprobs") or {}).get("top_logprobs") or []
                for i, last in enumerate(choice.get("token_ids") or ()):
                    value = values[i] if i < len(values) and values[i] is not None else math.nan
                    likeliest = words.likeliest(tops[i] if top and i < len(tops) else {}, top)
                    yield Token(number, last, value, likeliest)
                    if last in request.stop_ids:
                        yield Done(number, "stop", 0)
                        return
                finish = choice.get("finish_reason") or finish
        if not finish:
            raise ConnectionResetError
        if finish == "stop" and last not in request.stop_ids:  # it stopped, and kept to itself by which token
            yield Token(number, request.stop_ids[0], math.nan)
        yield Done(number, "stop" if finish == "stop" else "length", cached)

    def _of_text(self, stream: EventStream, request: Request) -> Iterator[Event]:
        """The server's text as bytes: reasoning before it, calls after it, as render/as_bytes.py writes them."""
        messages, tools = as_bytes.turns(request.prompt)
        body = words.asked(request.sampling, request.version) | {"messages": messages}
        body[self._limit] = body.pop("max_tokens", None)
        if tools:
            body["tools"] = tools
        if request.constraint is not None:
            body["response_format"] = words.schema(str(request.constraint.value))
        said = _Said(request.number)
        finish, counted, cached = "", None, 0
        for event in self._heard(stream, "/chat/completions", {k: v for k, v in body.items() if v is not None}):
            counted, cached = words.usage(event) or counted, words.cached(event) or cached
            for choice in event.get("choices", ()):
                yield from said.delta(choice.get("delta") or choice.get("message") or {})
                finish = choice.get("finish_reason") or finish
        if not finish:
            raise ConnectionResetError
        yield from said.rest()
        stopped = finish != "length"
        if stopped:
            yield Token(request.number, as_bytes.END, math.nan)
        yield Done(request.number, "stop" if stopped else "length", cached, counted=counted or (0, 0))

    def _heard(self, stream: EventStream, path: str, body: dict[str, Any]) -> Iterator[dict[str, Any]]:
        for event in stream.events(self.address.path + path, body, self.address.headers()):
            if "error" in event:
                raise Refusal(500, event, {})
            yield event

    def _other_limit(self, error: Refusal) -> bool:
        """Whether the server wants to be told the longest reply by its newer name; it is, from here on."""
        newer = "max_completion_tokens"
        if error.status != 400 or self._limit == newer or newer not in str(error.body):
            return False
        self._limit = newer
        return True


def connect(address: Address, model: str, prompt: Sequence[int] | None) -> tuple[str, bool]:
    """(the server's name for `model`, whether it takes ids and gives them back).

    `prompt` are a few ids of the model's own tokenizer for one token's worth of a question; None: it has none here, and
    nothing is asked. SodateError where the server does not answer, UsageError where it does not know the model.
    """
    listed = words.names(_asked(address, "GET", "/models", None))
    name = next((one for one in (model, model.partition("@")[0]) if one in listed), model)
    if listed and name not in listed:
        known = ", ".join(listed[:20])
        raise UsageError(
            tr(f"{address.url} has no model {model}.", f"{address.url} にモデル {model} はありません。"),
            tr(f"It has: {known}.", f"使えるモデル: {known}"),
            code="model_not_found", param="model",
        )  # fmt: skip
    if prompt is None:
        return name, False
    question = {"model": name, "prompt": list(prompt), "max_tokens": 1, "temperature": 0, "return_token_ids": True}
    try:
        answer = _asked(address, "POST", "/completions", question)
    except SodateError:
        return name, False
    choices = answer.get("choices") if isinstance(answer, dict) else None
    choice: dict[str, Any] = choices[0] if choices else {}
    same = choice.get("prompt_token_ids") in (None, list(prompt))  # else it put something in front
    ids = choice.get("token_ids")
    return name, same and isinstance(ids, list) and all(isinstance(one, int) for one in ids)


def _asked(address: Address, method: str, path: str, body: Any) -> Any:
    """A server's whole answer; {} where it has nothing at that address. SodateError where it refuses or is silent."""
    connection = address.connection(PROBE_SECONDS)
    try:
        return fetch(connection, method, address.path + path, body, address.headers())
    except Refusal as error:
        if error.status == 404 and method == "GET":
            return {}
        raise words.failed(address, error) from None
    except BROKEN as error:
        raise words.failed(address, error) from None


class _Said:
    """A chat reply's deltas as tokens: the bytes of its text."""

    def __init__(self, number: int) -> None:
        self.number = number
        self._thinks = False
        self._calls: dict[int, dict[str, str]] = {}

    def delta(self, delta: dict[str, Any]) -> Iterator[Token]:
        thought = delta.get("reasoning_content") or delta.get("reasoning")
        before, after = as_bytes.thought_text("\0").split("\0")
        if isinstance(thought, str):
            yield from self._bytes(thought if self._thinks else before + thought)
            self._thinks = True
        if isinstance(content := delta.get("content"), str) and content:
            yield from self._bytes(after + content if self._thinks else content)
            self._thinks = False
        for place, part in enumerate(delta.get("tool_calls") or ()):
            call = self._calls.setdefault(int(part.get("index", place)), {"name": "", "arguments": ""})
            for key in call:
                call[key] += (part.get("function") or {}).get(key) or ""

    def rest(self) -> Iterator[Token]:
        if self._thinks:
            yield from self._bytes(as_bytes.thought_text("\0").split("\0")[1])
        for _, call in sorted(self._calls.items()):
            yield from self._bytes(as_bytes.call_text(call["name"], call["arguments"]))

    def _bytes(self, text: str) -> Iterator[Token]:
        for byte in text.encode("utf-8", "replace"):
            yield Token(self.number, byte, math.nan)
