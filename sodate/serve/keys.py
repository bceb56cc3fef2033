"""API keys: made once and told once, kept as hashes, compared in constant time.

A key is `sk-sodate-ID-SECRET`. The id finds its row; the secret has 256 random bits, so one round of SHA-256 hides it.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
import time
from collections import OrderedDict
from dataclasses import asdict, dataclass

import sqlalchemy as sa

from sodate.core.errors import UsageError
from sodate.core.text import tr
from sodate.db.connection import reading, writing
from sodate.db.tables import ApiKey
from sodate.serve.roles import DEFAULT_ROLE, checked_role

_KEY = re.compile(r"sk-sodate-([0-9a-f]{12})-([0-9A-Za-z_-]{43})")
_PROJECT = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
PER_MINUTE = 6000  # requests of a project, where its key does not say otherwise
MOST_PER_MINUTE = 1_000_000
_NOBODY = "0" * 64  # what the secret of an unknown id is compared with, so that both take as long


@dataclass(frozen=True, slots=True)
class Key:
    """A key as it is shown: without its secret."""

    id: str
    project: str
    per_minute: int
    created_at: int
    revoked_at: int | None
    role: str

    def to_json(self) -> dict[str, object]:
        return asdict(self)


def checked_project(project: str) -> str:
    """`project` if it is a usable name."""
    if not _PROJECT.fullmatch(project):
        raise UsageError(
            tr(f"{project!r} is not a usable project name.", f"{project!r} はプロジェクト名に使えません。"),
            tr(
                "Use up to 64 letters, digits, '.', '_' or '-'.", "英数字・'.'・'_'・'-' の 64 文字以内にしてください。"
            ),
            param="project",
            code="bad_name",
        )
    return project


def create(project: str, per_minute: int = PER_MINUTE, role: str = DEFAULT_ROLE) -> tuple[str, Key]:
    """A new key, whole this once, and what is kept of it."""
    checked_project(project)
    if not 1 <= per_minute <= MOST_PER_MINUTE:
        raise UsageError(
            tr(f"Requests a minute are 1 to {MOST_PER_MINUTE}.",
               f"1 分あたりのリクエスト数は 1〜{MOST_PER_MINUTE} にしてください。"),
            code="bad_value", param="per_minute",
        )  # fmt: skip
    id, secret = secrets.token_hex(6), secrets.token_urlsafe(32)
    row = ApiKey(
        id=id, project=project, digest=_digest(secret), per_minute=per_minute, created_at=int(time.time()),
        revoked_at=None, role=checked_role(role),
    )  # fmt: skip
    with writing() as session:
        session.add(row)
    return f"sk-sodate-{id}-{secret}", _shown(row)


def listed() -> list[Key]:
    """Every key, the oldest first."""
    with reading() as session:
        return [_shown(row) for row in session.scalars(sa.select(ApiKey).order_by(ApiKey.created_at, ApiKey.id))]


def revoke(id: str) -> Key:
    """Ends a key for good; it stays in the list."""
    with writing() as session:
        row = session.get(ApiKey, id)
        if row is None:
            raise UsageError(
                tr(f"There is no key {id!r}.", f"キー {id!r} はありません。"),
                "sodate keys list",
                param="id",
                code="key_not_found",
            )
        row.revoked_at = row.revoked_at or int(time.time())
        return _shown(row)


def check(key: str) -> Key | None:
    """The key's row if it is one and still valid."""
    found = _KEY.fullmatch(key)
    if found is None:
        return None
    with reading() as session:
        row = session.get(ApiKey, found[1])
        right = hmac.compare_digest(_digest(found[2]), row.digest if row else _NOBODY)
        return _shown(row) if row is not None and right and row.revoked_at is None else None


def any_valid() -> bool:
    with reading() as session:
        return session.scalar(sa.select(ApiKey.id).where(ApiKey.revoked_at.is_(None)).limit(1)) is not None


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()


def _shown(row: ApiKey) -> Key:
    return Key(row.id, row.project, row.per_minute, row.created_at, row.revoked_at, row.role)


class Rates:
    """How often each name has come: `allow` says whether once more is within `per_minute`, with bursts of as many.

    The least recent of more than `names` names are forgotten, so that made-up ones take no memory.
    """

    def __init__(self, names: int = 10_000) -> None:
        self._names = names
        self._left: OrderedDict[str, tuple[float, float]] = OrderedDict()  # name → (how many are left, as of when)

    def allow(self, name: str, per_minute: int) -> bool:
        now = time.monotonic()
        left, then = self._left.pop(name, (float(per_minute), now))
        left = min(float(per_minute), left + (now - then) * per_minute / 60)
        self._left[name] = (left - 1 if left >= 1 else left, now)
        if len(self._left) > self._names:
            self._left.popitem(last=False)
        return left >= 1

    def spent(self, name: str, per_minute: int) -> bool:
        """Whether `allow` would say no; nothing is counted."""
        left, then = self._left.get(name, (float(per_minute), 0.0))
        return left + (time.monotonic() - then) * per_minute / 60 < 1
