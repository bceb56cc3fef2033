"""Where a server upstream is, and the key it wants: from the environment, and never in an error or a log."""

from __future__ import annotations

import http.client
import ipaddress
import os
import re
import ssl
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from sodate.core.errors import UsageError
from sodate.core.text import tr

KEY = "SODATE_UPSTREAM_KEY"
CONNECT_SECONDS = 10.0
SILENCE = 300.0  # seconds without a word: a long prompt on a busy server takes its time


@dataclass(frozen=True, slots=True)
class Address:
    """`url` is the base that `/chat/completions` is added to, without a slash at its end. `key` is shown nowhere."""

    url: str
    host: str
    port: int
    path: str
    secure: bool
    key: str = field(default="", repr=False)

    @classmethod
    def of(cls, url: str) -> Address:
        """Reads an http or https URL; UsageError for anything else. Without a path it is that of OpenAI's wire, /v1.

        The key is SODATE_UPSTREAM_KEY_<HOST>, or SODATE_UPSTREAM_KEY, which goes over https and to this machine only.
        """
        parts = urlsplit(url)
        try:
            port = parts.port or (443 if parts.scheme == "https" else 80)
        except ValueError:
            port = 0
        sound = parts.scheme in ("http", "https") and parts.hostname and port and url.isascii() and url.isprintable()
        if not sound or parts.query or parts.fragment or " " in url:
            raise UsageError(
                tr(f"{without_password(url)!r} is not the address of a server.",
                   f"{without_password(url)!r} はサーバーのアドレスではありません。"),
                "--engine upstream:http://localhost:8000/v1",
                code="bad_value", param="engine",
            )  # fmt: skip
        if parts.username or parts.password:
            raise UsageError(
                tr("An address with a password in it would be seen by others.",
                   "パスワード入りのアドレスは他人の目に触れます。"),
                tr(f"Put the key into the environment as {KEY}.", f"鍵は環境変数 {KEY} に入れてください。"),
                code="bad_value", param="engine",
            )  # fmt: skip
        host, path = str(parts.hostname), parts.path.rstrip("/") or "/v1"
        secure = parts.scheme == "https"
        own = os.environ.get(f"{KEY}_{re.sub(r'[^A-Z0-9]', '_', host.upper())}")
        general = os.environ.get(KEY, "") if secure or _here(host) else ""
        shown = f"[{host}]" if ":" in host else host
        default = port == (443 if secure else 80)
        return cls(f"{parts.scheme}://{shown}{'' if default else f':{port}'}{path}", host, port, path, secure,
                   (own or general).strip())  # fmt: skip

    def connection(self, silence: float = SILENCE) -> http.client.HTTPConnection:
        """A connection that gives up where nothing is heard for so long. It follows no redirect."""
        if self.secure:
            return _Secure(self.host, self.port, silence)
        return _Plain(self.host, self.port, timeout=silence)

    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.key}"} if self.key else {}

    def without_key(self, text: str) -> str:
        """What a server said, without the key that it may have repeated."""
        return text.replace(self.key, "***") if self.key else text


class _Plain(http.client.HTTPConnection):
    """Which gives up sooner where nobody answers at all."""

    def connect(self) -> None:
        silence, self.timeout = self.timeout, CONNECT_SECONDS
        super().connect()
        self.sock.settimeout(silence)


class _Secure(http.client.HTTPSConnection):
    def __init__(self, host: str, port: int, silence: float) -> None:
        super().__init__(host, port, timeout=CONNECT_SECONDS, context=ssl.create_default_context())
        self._silence = silence

    def connect(self) -> None:
        super().connect()
        self.sock.settimeout(self._silence)


def without_password(url: str) -> str:
    return re.sub(r"//[^/@]*@", "//***@", url)[:200]


def _here(host: str) -> bool:
    """Whether the host is this machine."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
