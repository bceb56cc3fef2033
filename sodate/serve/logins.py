"""People on the pages: one-time links, and the sessions that a link or a key begins. Secrets are kept as hashes.

A secret is `ID-SECRET`. The token that a session's forms carry (`csrf`) is made of the secret, so that a page that was
left open works after the server was started again.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
import time
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.orm import Session

from sodate.core.errors import SodateError
from sodate.core.text import tr
from sodate.db.connection import reading, writing
from sodate.db.tables import ApiKey, Login
from sodate.jobs import audit
from sodate.serve.keys import Key, checked_project
from sodate.serve.roles import checked_role

LINK_SECONDS = 24 * 3600
SESSION_SECONDS = 7 * 24 * 3600
KEPT_SECONDS = 30 * 24 * 3600  # that a login stays in the table after its end
LONGEST_NAME = 64  # characters of what a person is called

_TOKEN = re.compile(r"([0-9a-f]{12})-([0-9A-Za-z_-]{43})")


@dataclass(frozen=True, slots=True)
class Person:
    """Who is logged in: the session's id, a role, a project, a name for logs."""

    id: str
    role: str
    project: str
    name: str


def csrf(secret: str) -> str:
    """What the forms of a session carry, so that no other page can send them."""
    return hashlib.sha256(f"csrf {secret}".encode()).hexdigest()


def new_link(role: str, name: str = "", project: str = "default") -> tuple[str, Person]:
    """The secret of a link that lets somebody in once, and whom."""
    with writing() as session:
        secret, row = _new(session, "link", role, project, name, None, LINK_SECONDS)
        audit.note(session, row.project, "cli", "link.created", f"{row.role} {row.name}")
        return secret, _person(row)


def enter_by_link(secret: str) -> tuple[str, Person]:
    """The secret of a new session. SodateError where the link was used, is too old, or never was."""
    with writing() as session:
        link = _found(session, secret, "link")
        if link is None:
            raise SodateError(
                tr("This link was used already, or is too old.", "このリンクは使用済みか、期限切れです。"),
                tr("Ask for a new one: sodate link --role ROLE.",
                   "新しいリンクを依頼してください: sodate link --role 役割"),
                code="invalid_api_key",
            )  # fmt: skip
        link.ended_at = int(time.time())
        made, row = _new(session, "session", link.role, link.project, link.name, None, SESSION_SECONDS)
        audit.note(session, row.project, row.name, "login.link", row.role)
        return made, _person(row)


def enter_by_key(key: Key, name: str = "") -> tuple[str, Person]:
    """The secret of a new session, which ends with its key."""
    with writing() as session:
        name = name or f"key {key.id}"
        made, row = _new(session, "session", key.role, key.project, name, key.id, SESSION_SECONDS)
        audit.note(session, row.project, row.name, "login.key", key.id)
        return made, _person(row)


def who(secret: str) -> Person | None:
    """Whose session this is, None where it is none any more."""
    with reading() as session:
        row = _found(session, secret, "session")
        if row is not None and row.key is not None:
            key = session.get(ApiKey, row.key)
            if key is None or key.revoked_at is not None:
                return None
        return None if row is None else _person(row)


def leave(secret: str) -> None:
    """Ends a session."""
    with writing() as session:
        row = _found(session, secret, "session")
        if row is not None:
            row.ended_at = int(time.time())


def end(id: str) -> None:
    """Ends somebody else's session."""
    with writing() as session:
        row = session.get(Login, id)
        if row is not None and row.ended_at is None:
            row.ended_at = int(time.time())


def sessions() -> list[dict[str, object]]:
    """Everybody who is logged in, the latest first."""
    with reading() as session:
        wanted = sa.select(Login).where(
            Login.kind == "session", Login.ended_at.is_(None), Login.expires_at > int(time.time())
        )
        return [
            {"id": row.id, "name": row.name, "role": row.role, "project": row.project, "created_at": row.created_at,
             "expires_at": row.expires_at}
            for row in session.scalars(wanted.order_by(Login.created_at.desc(), Login.id).limit(200))
        ]  # fmt: skip


def _new(
    session: Session, kind: str, role: str, project: str, name: str, key: str | None, seconds: int
) -> tuple[str, Login]:
    id, secret, now = secrets.token_hex(6), secrets.token_urlsafe(32), int(time.time())
    row = Login(
        id=id, kind=kind, digest=_digest(secret), role=checked_role(role), project=checked_project(project),
        name=name.strip()[:LONGEST_NAME] or f"{role}-{id[:4]}", key=key, created_at=now, expires_at=now + seconds,
        ended_at=None,
    )  # fmt: skip
    session.execute(sa.delete(Login).where(Login.expires_at < now - KEPT_SECONDS))
    session.add(row)
    return f"{id}-{secret}", row


def _found(session: Session, secret: str, kind: str) -> Login | None:
    given = _TOKEN.fullmatch(secret)
    if given is None:
        return None
    row = session.get(Login, given[1], with_for_update=kind == "link")
    right = hmac.compare_digest(_digest(given[2]), row.digest if row else "0" * 64)
    valid = row is not None and row.kind == kind and row.ended_at is None and row.expires_at > time.time()
    return row if right and valid else None


def _person(row: Login) -> Person:
    return Person(row.id, row.role, row.project, row.name)


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()
