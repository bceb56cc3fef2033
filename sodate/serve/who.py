"""Who asks: by an API key, or by the cookie of a session. Rates count for a project, wrong secrets for an address."""

from __future__ import annotations

import hashlib
import hmac
import re
from collections import OrderedDict
from dataclasses import dataclass

from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers, QueryParams
from starlette.requests import cookie_parser
from starlette.types import Scope

from sodate.core.errors import SodateError
from sodate.core.text import tr
from sodate.serve import keys, logins
from sodate.serve.roles import may, refused
from sodate.serve.settings import DEFAULT_PROJECT, Settings

COOKIE = "sodate_session"
SAFE = ("GET", "HEAD", "OPTIONS")
_REMEMBERED = 1000  # digests of keys that were right, so that their owners pass while somebody guesses
_IN_A_FORM = re.compile(rb'name="csrf"\r\n\r\n([0-9a-f]{64})\r\n')


@dataclass(frozen=True, slots=True)
class Asker:
    """Project, actor as the audit log names him, role; the secret of a session, "" where a key was given."""

    project: str
    actor: str
    role: str
    secret: str = ""


class Doorkeeper:
    """Knows askers by what they bring."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._rates = keys.Rates()
        self._failures = keys.Rates()
        self._right: OrderedDict[bytes, None] = OrderedDict()

    async def asker(self, scope: Scope, headers: Headers) -> Asker:
        """Who asks for this, and may. SodateError `invalid_api_key`, `rate_limit_exceeded` or `forbidden`."""
        secret = cookie(headers, COOKIE)
        if not self._settings.auth:
            found = Asker(DEFAULT_PROJECT, "nobody", "own", secret)
        elif "authorization" in headers or not secret:
            key = await self.key(bearer(headers), scope)
            found = Asker(key.project, key.id, key.role)
            self._pass(key.project, key.per_minute)
        else:
            person = await run_in_threadpool(logins.who, secret)
            if person is None:
                raise SodateError(
                    tr("You are not logged in any more.", "ログインの有効期限が切れました。"),
                    tr("Log in again.", "もう一度ログインしてください。"),
                    code="invalid_api_key",
                )  # fmt: skip
            found = Asker(person.project, person.name, person.role, secret)
            self._pass(person.project, keys.PER_MINUTE)
        if not may(found.role, scope["method"], scope["path"]):
            raise refused()
        return found

    async def key(self, given: str, scope: Scope) -> keys.Key:
        """The key that was given, if it is one. Wrong ones from an address are answered more and more rarely."""
        digest = hashlib.sha256(given.encode()).digest()
        if digest not in self._right:
            self.check_tired(scope)
        key = await run_in_threadpool(keys.check, given) if given else None
        if key is None:
            self._right.pop(digest, None)
            self.failed(scope)
            raise SodateError(
                tr("No valid API key was given.", "有効な API キーがありません。"),
                tr("Send Authorization: Bearer KEY; `sodate keys create` makes one.",
                   "Authorization: Bearer キー を送ってください。キーは `sodate keys create` で作成できます。"),
                code="invalid_api_key",
            )  # fmt: skip
        self._right[digest] = None
        if len(self._right) > _REMEMBERED:
            self._right.popitem(last=False)
        return key

    def failed(self, scope: Scope) -> None:
        """Counts a wrong secret against the address that it came from."""
        self._failures.allow(str((scope.get("client") or ("?", 0))[0]), self._settings.failures_per_minute)

    def check_tired(self, scope: Scope) -> None:
        """SodateError where too many wrong secrets came from that address."""
        address = str((scope.get("client") or ("?", 0))[0])
        if self._failures.spent(address, self._settings.failures_per_minute):
            raise SodateError(
                tr("Too many wrong keys came from this address.", "このアドレスから誤ったキーが続いています。"),
                tr("Try again in a minute.", "1 分ほど待ってからお試しください。"),
                code="rate_limit_exceeded",
            )  # fmt: skip

    def _pass(self, project: str, per_minute: int) -> None:
        if not self._rates.allow(project, per_minute):
            raise SodateError(
                tr(f"The project {project} is over {per_minute} requests a minute.",
                   f"プロジェクト {project} のリクエストが 1 分あたり {per_minute} 件を超えました。"),
                code="rate_limit_exceeded",
            )  # fmt: skip


def bearer(headers: Headers) -> str:
    """The key of an Authorization header."""
    kind, _, given = headers.get("authorization", "").partition(" ")
    return given.strip() if kind.lower() == "bearer" else ""


def cookie(headers: Headers, name: str) -> str:
    """The value of a cookie, "" where there is none."""
    return cookie_parser(headers.get("cookie", "")).get(name, "")


def check_token(asker: Asker, method: str, headers: Headers, body: bytes) -> None:
    """Refuses what a session's cookie alone would have done: another page can send that, too, but not the token."""
    if method in SAFE or not asker.secret:
        return
    given = headers.get("x-csrf-token") or _in_form(headers, body)
    if not hmac.compare_digest(given.encode(), logins.csrf(asker.secret).encode()):
        raise SodateError(
            tr("This form does not belong to your login.", "このフォームは、いまのログインのものではありません。"),
            tr("Load the page again, and send it once more.", "ページを再読み込みして、もう一度送信してください。"),
            code="forbidden", param="csrf",
        )  # fmt: skip


def _in_form(headers: Headers, body: bytes) -> str:
    kind = headers.get("content-type", "")
    if kind.startswith("application/x-www-form-urlencoded"):
        return str(QueryParams(body).get("csrf", ""))
    found = _IN_A_FORM.search(body) if kind.startswith("multipart/form-data") else None
    return found[1].decode() if found else ""
