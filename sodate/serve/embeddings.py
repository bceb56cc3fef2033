"""POST /v1/embeddings: the mean of the base model's last hidden states, of length 1."""

from __future__ import annotations

import asyncio
import base64
import math
import struct
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response

from sodate.api.answering import Served
from sodate.core.errors import UsageError
from sodate.core.text import tr
from sodate.serve import asked_model
from sodate.serve.sending import unless_gone
from sodate.serve.state import ServerState, server_state
from sodate.serve.wire import EmbeddingRequest

router = APIRouter()


@router.post("/v1/embeddings", response_model=None)
async def embed(request: Request, asked: EmbeddingRequest) -> Response:
    """A vector for each text."""
    here = server_state(request)
    served = await asyncio.to_thread(asked_model.find, here, asked.model, request.state.project)
    rows = await asyncio.to_thread(_ids, asked, served)
    vectors = await unless_gone(request, lambda: _vectors(here, served, rows))
    width = asked.dimensions or len(vectors[0])
    if width > len(vectors[0]):
        raise UsageError(
            tr(f"This model's vectors have {len(vectors[0])} dimensions.",
               f"このモデルのベクトルは {len(vectors[0])} 次元です。"),
            code="invalid_value", param="dimensions",
        )  # fmt: skip
    data = [
        {"object": "embedding", "index": number, "embedding": _written(_cut(vector, width), asked.encoding_format)}
        for number, vector in enumerate(vectors)
    ]
    count = sum(map(len, rows))
    body = {"object": "list", "data": data, "model": served.base,
            "usage": {"prompt_tokens": count, "total_tokens": count}}  # fmt: skip
    return JSONResponse(body, headers={"x-sodate-version": served.base})


def _ids(asked: EmbeddingRequest, served: Served) -> list[list[int]]:
    texts = [asked.input] if isinstance(asked.input, str) else asked.input
    out = []
    for number, text in enumerate(texts):
        if not isinstance(text, str):
            raise UsageError(
                tr("Token ids cannot be embedded: they are another tokenizer's (cl100k).",
                   "トークン ID は別のトークナイザー (cl100k) のものなので、埋め込みにできません。"),
                tr("Send text; in LangChain, OpenAIEmbeddings(check_embedding_ctx_length=False).",
                   "テキストで送ってください。LangChain では OpenAIEmbeddings(check_embedding_ctx_length=False)。"),
                code="invalid_value", param="input",
            )  # fmt: skip
        ids = served.renderer.tokenizer.encode(text, add_special_tokens=True).ids
        if not text or not ids or len(ids) > served.context > 0:
            raise UsageError(
                tr(f"A text must have 1 to {served.context} tokens; number {number} has {len(ids) if text else 0}.",
                   f"テキストは 1 から {served.context} トークンまでです。"
                   f"{number} 番目は {len(ids) if text else 0} トークンです。"),
                code="context_length_exceeded" if len(ids) > served.context > 0 else "invalid_value", param="input",
            )  # fmt: skip
        out.append(ids)
    return out


async def _vectors(here: ServerState, served: Served, rows: list[list[int]]) -> list[list[float]]:
    """One by one, so that replies under way get their steps in between."""
    return [await here.service.embed(served, row) for row in rows]


def _cut(vector: list[float], width: int) -> list[float]:
    """The first `width` numbers, of length 1 again."""
    part = vector[:width]
    length = math.sqrt(sum(x * x for x in part)) or 1.0
    return [x / length for x in part]


def _written(vector: list[float], form: str | None) -> Any:
    """Floats, or little-endian float32 in base64."""
    return vector if form != "base64" else base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode()
