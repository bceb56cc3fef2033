"""What every engine that computes refuses before it takes a request."""

from __future__ import annotations

from collections.abc import Container

from sodate.core.engine import Request
from sodate.core.errors import SodateError
from sodate.core.text import tr


def check(request: Request, vocabulary: int, limit: int, versions: Container[str]) -> None:
    """SodateError `invalid_prompt`, `context_length_exceeded` or `unknown_version`. `limit`: tokens of a prompt and its
    reply."""
    count = len(request.prompt)
    if not count or not all(0 <= token < vocabulary for token in request.prompt):
        raise SodateError(
            tr("The prompt is empty, or has ids that are not in the model's vocabulary.",
               "プロンプトが空か、モデルの語彙にない ID を含んでいます。"),
            code="invalid_prompt",
        )  # fmt: skip
    if count >= limit:
        raise SodateError(
            tr(f"The prompt has {count} tokens, and there is room for {limit} with its reply.",
               f"プロンプトが {count} トークンあります。返答と合わせて {limit} トークンまでです。"),
            tr("Shorten it.", "短くしてください。"),
            code="context_length_exceeded",
        )  # fmt: skip
    if request.version and request.version not in versions:
        raise SodateError(
            tr(f"The engine has no version {request.version}.",
               f"バージョン {request.version} は読み込まれていません。"),
            code="unknown_version",
        )  # fmt: skip
