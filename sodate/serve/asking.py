"""From a request of the wire to what the engine is asked: limits, sampling, seeds."""

from __future__ import annotations

import hashlib
import secrets
from dataclasses import replace

from sodate.api.answering import Served
from sodate.core.engine import Sampling
from sodate.core.errors import UsageError
from sodate.core.text import tr
from sodate.serve.wire import Choosing


def sampling(request: Choosing, served: Served, longest: int | None, top_logprobs: int) -> Sampling:
    """How tokens are chosen. 0 new tokens stands for as many as fit."""
    return Sampling(
        max_new_tokens=longest or 0,
        temperature=1.0 if request.temperature is None else request.temperature,
        top_p=1.0 if request.top_p is None else request.top_p,
        seed=secrets.randbits(63) if request.seed is None else request.seed & (2**63 - 1),
        bias=_bias(request.logit_bias or {}, served),
        presence_penalty=request.presence_penalty or 0.0,
        frequency_penalty=request.frequency_penalty or 0.0,
        top_logprobs=top_logprobs,
    )


def numbered(sampling: Sampling, choice: int) -> Sampling:
    """The sampling of one of several choices: the first has the seed as given, each other one its own."""
    if choice == 0:
        return sampling
    mixed = hashlib.sha256(f"{sampling.seed} {choice}".encode()).digest()
    return replace(sampling, seed=int.from_bytes(mixed[:8]) >> 1)


def _bias(given: dict[str, float], served: Served) -> dict[int, float]:
    vocabulary = served.renderer.tokenizer.get_vocab_size()
    bias: dict[int, float] = {}
    for token, value in given.items():
        if not (token.isascii() and token.isdigit() and len(token) < 10 and int(token) < vocabulary):
            raise UsageError(
                tr(f"logit_bias has a key that is no token id of this model (0 to {vocabulary - 1}).",
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
    """Refuses what could never be held: more tokens in all choices than sixteen full contexts."""
    most = 16 * served.context
    if choices * (reply or 1) > most:
        raise UsageError(
            tr(f"{choices} choices of {reply} tokens are more than the {most} this server makes for one request.",
               f"{reply} トークンの返答 {choices} 個は、1 リクエストの上限 {most} トークンを超えます。"),
            code="invalid_value", param="n",
        )  # fmt: skip
