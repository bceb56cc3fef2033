"""From a request of the wire to what the engine is asked: limits, sampling, seeds."""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from sodate.api.answering import Served
from sodate.core.engine import Sampling
from sodate.core.errors import UsageError
from sodate.core.text import tr
from sodate.serve.wire import Choosing, ResponseRequest


def sampling(request: Choosing | ResponseRequest, served: Served, longest: int | None, top_logprobs: int) -> Sampling:
    """How tokens are chosen. 0 new tokens stands for as many as fit."""
    chat = request if isinstance(request, Choosing) else None
    return Sampling(
        max_new_tokens=longest or 0,
        temperature=1.0 if request.temperature is None else request.temperature,
        top_p=1.0 if request.top_p is None else request.top_p,
        seed=secrets.randbits(63) if chat is None or chat.seed is None else chat.seed & (2**63 - 1),
        bias=_bias(chat.logit_bias or {}, served) if chat else {},
        presence_penalty=(chat.presence_penalty if chat else None) or 0.0,
        frequency_penalty=(chat.frequency_penalty if chat else None) or 0.0,
        top_logprobs=top_logprobs,
    )


def check_stream_options(request: Choosing | ResponseRequest) -> None:
    """UsageError where something is said about a stream that was not asked for."""
    if request.stream_options is not None and not request.stream:
        raise UsageError(
            tr("stream_options needs stream: true.", "stream_options には stream: true が必要です。"),
            code="invalid_value", param="stream_options",
        )  # fmt: skip


def numbered(sampling: Sampling, choice: int) -> Sampling:
    """The sampling of one of several choices: one seed, and a stream of its own."""
    return replace(sampling, stream=choice)


def _bias(given: dict[str, float], served: Served) -> dict[int, float]:
    vocabulary = served.renderer.tokenizer.get_vocab_size()
    bias: dict[int, float] = {}
    for token, value in given.items():
        if not (token.isascii() and token.isdigit() and len(token) < 10 and int(token) < vocabulary):
            raise UsageError(
                tr(f"logit_bias has a key that is not a token id of this model (0 to {vocabulary - 1}).",
                   f"logit_bias のキーは、このモデルのトークン ID (0 から {vocabulary - 1}) にしてください。"),
                code="invalid_value", param="logit_bias",
            )  # fmt: skip
        if not -100 <= value <= 100:
            raise UsageError(
                tr("A logit_bias lies between -100 and 100.", "logit_bias は -100 から 100 の値にしてください。"),
                code="invalid_value", param="logit_bias",
            )  # fmt: skip
        bias[int(token)] = value
    return bias


def check_width(choices: int, reply: int | None, served: Served) -> None:
    """Refuses what could never be held: more tokens in several choices than sixteen full contexts. Whether one fits is
    seen when its prompt is known."""
    most = 16 * served.context
    if most and choices > 1 and choices * (reply or 1) > most:
        raise UsageError(
            tr(f"{choices} choices of {reply} tokens are more than the {most} this server makes for one request.",
               f"{reply} トークンの返答 {choices} 個は、1 リクエストの上限 {most} トークンを超えます。"),
            code="invalid_value", param="n",
        )  # fmt: skip


def check_tools(tools: Sequence[Mapping[str, Any]], mode: str, chosen: Sequence[str] | None) -> None:
    """UsageError for two tools of one name, and where a tool is asked for that is not there."""
    names = [tool["function"]["name"] for tool in tools]
    if len(set(names)) < len(names):
        raise UsageError(
            tr("Two tools have the same name.", "同じ名前のツールが 2 つあります。"),
            code="invalid_value",
            param="tools",
        )
    if [name for name in chosen or () if name not in names] or (mode == "required" and not tools):
        raise UsageError(
            tr(f"tool_choice asks for a tool that is not in tools. Known: {', '.join(names) or '-'}.",
               f"tool_choice のツールが tools にありません。使えるもの: {', '.join(names) or '-'}"),
            code="invalid_value", param="tool_choice",
        )  # fmt: skip


def missing(param: str) -> UsageError:
    """For a part of a request that it needs and lacks."""
    return UsageError(
        tr(f"Missing required parameter: {param}.", f"必須の {param} がありません。"),
        code="missing_parameter",
        param=param,
    )


def no_scores(param: str) -> UsageError:
    """For what a model can't be asked for whose engine knows messages and text alone."""
    return UsageError(
        tr("This model's engine takes messages and gives text: neither bare prompts nor log-probabilities.",
           "このモデルのエンジンはメッセージを受けてテキストを返すだけです。生のプロンプトも対数確率も扱えません。"),
        code="engine_refused", param=param,
    )  # fmt: skip
