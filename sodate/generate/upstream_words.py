"""What is asked of a server upstream in its own words, and what its answers mean."""

from __future__ import annotations

import email.utils
import hashlib
import json
import math
import random
import time
from collections.abc import Mapping, Sequence
from typing import Any

from sodate.core.engine import Sampling
from sodate.core.errors import SodateError, UsageError
from sodate.core.text import tr
from sodate.generate.address import KEY, Address
from sodate.generate.event_stream import Refusal

RETRIED = {408, 409, 425, 429, 500, 502, 503, 504, 529}
LONGEST_WAIT = 60.0  # seconds: a server that wants a longer one is believed, and not waited for
CODES = {404: "model_not_found", 429: "rate_limit_exceeded"}


def asked(sampling: Sampling, model: str) -> dict[str, Any]:
    """What every request says. An argument that would change nothing is left out: not every server knows all."""
    body: dict[str, Any] = {
        "model": model, "stream": True, "stream_options": {"include_usage": True},
        "temperature": sampling.temperature, "max_tokens": sampling.max_new_tokens or None,
    }  # fmt: skip
    if sampling.temperature > 0:
        body |= {"top_p": sampling.top_p, "seed": _seed(sampling)}
    if sampling.presence_penalty:
        body["presence_penalty"] = sampling.presence_penalty
    if sampling.frequency_penalty:
        body["frequency_penalty"] = sampling.frequency_penalty
    if sampling.bias:
        body["logit_bias"] = {str(token): value for token, value in sampling.bias.items()}
    return body


def _seed(sampling: Sampling) -> int:
    """31 bits of (seed, stream), which every server takes."""
    digest = hashlib.sha256(f"{sampling.seed} {sampling.stream}".encode()).digest()
    return int.from_bytes(digest[:4], "big") >> 1


def usage(event: Mapping[str, Any]) -> tuple[int, int] | None:
    """The prompt's and the reply's tokens as the server counts them, where an event says so."""
    told = event.get("usage")
    if not isinstance(told, dict):
        return None
    return int(told.get("prompt_tokens") or 0), int(told.get("completion_tokens") or 0)


def cached(event: Mapping[str, Any]) -> int:
    """Tokens of the prompt that the server found computed, where an event says so."""
    told = event.get("usage")
    details = told.get("prompt_tokens_details") if isinstance(told, dict) else None
    return int(details.get("cached_tokens") or 0) if isinstance(details, dict) else 0


def likeliest(told: Mapping[str, Any] | None, count: int) -> tuple[tuple[int, float], ...]:
    """Ids and log-probabilities of `{"token_id:17": -0.5, …}`, likeliest first."""
    pairs = [(int(name[9:]), float(value)) for name, value in (told or {}).items() if name.startswith("token_id:")]
    return tuple(sorted(pairs, key=lambda pair: -pair[1])[:count])


def pause(error: Exception, attempt: int) -> float | None:
    """Seconds until it is worth asking again; None if it never is. What the server says of it counts."""
    wait: float = min(8.0, 0.5 * 2**attempt) * random.uniform(0.75, 1.25)
    if not isinstance(error, Refusal):
        return wait
    if error.status not in RETRIED or error.headers.get("x-should-retry") == "false":
        return None
    said = _retry_after(error.headers)
    return wait if said is None else said if said <= LONGEST_WAIT else None


def _retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds that `Retry-After` asks for, as a number or as a date."""
    text = headers.get("retry-after", "")
    try:
        seconds = float(text)
    except ValueError:
        try:
            when = email.utils.parsedate_to_datetime(text)
        except ValueError:
            return None
        seconds = when.timestamp() - time.time()
    return max(0.0, seconds) if math.isfinite(seconds) else None


def failed(address: Address, error: Exception) -> SodateError:
    """The sentence for what went wrong. What the server said is in it, its key is not."""
    if not isinstance(error, Refusal):
        kind = str(error) if isinstance(error, OSError) and str(error) else type(error).__name__
        return SodateError(
            tr(f"{address.url} does not answer: {kind}", f"{address.url} が応答しません: {kind}"),
            tr("Is the server there, and is it the address of its API?",
               "サーバーが動いているか、API のアドレスかどうかを確かめてください。"),
            code="upstream_failed", param="engine",
        )  # fmt: skip
    said = address.without_key(_sentence(error.body))[:500]
    message = tr(f"{address.url} answered {error.status}: {said}", f"{address.url} の応答 {error.status}: {said}")
    if error.status in (401, 403):
        fix = tr(f"Its key is read from the environment: {KEY}.", f"鍵は環境変数 {KEY} から読みます。")
        return SodateError(message, fix, code="upstream_key", param="engine")
    code = "context_length_exceeded" if _too_long(error.body) else CODES.get(error.status, "upstream_failed")
    return SodateError(message, code=code, param="engine")


def _sentence(body: Any) -> str:
    """What an error says, in whichever envelope."""
    inner = body.get("error", body) if isinstance(body, dict) else body
    if isinstance(inner, dict):
        inner = inner.get("message", inner)
    return " ".join(str(inner).split())


def _too_long(body: Any) -> bool:
    inner = body.get("error", body) if isinstance(body, dict) else body
    return isinstance(inner, dict) and "context_length_exceeded" in (inner.get("code"), inner.get("type"))


def refused(param: str) -> SodateError:
    """For what a server that knows text alone can't be asked for."""
    return UsageError(
        tr(f"A server upstream that answers in text gives no {param}.",
           f"テキストで応答する上流サーバーでは {param} を使えません。"),
        tr("Leave it out, or use an engine that works with token ids.",
           "外すか、トークン ID を扱えるエンジンを使ってください。"),
        code="engine_refused", param=param,
    )  # fmt: skip


def schema(text: str) -> dict[str, Any]:
    """`response_format` for a schema."""
    return {"type": "json_schema", "json_schema": {"name": "reply", "strict": True, "schema": json.loads(text)}}


def names(listing: Any) -> Sequence[str]:
    """The models that an answer of /models lists."""
    listed = listing.get("data") if isinstance(listing, dict) else None
    return [str(one["id"]) for one in listed or () if isinstance(one, dict) and "id" in one]
