"""Names of people that say nothing of them: keyed hashes, whose key lies apart from the database."""

from __future__ import annotations

import functools
import hashlib
import os
import re
import secrets
from pathlib import Path

from sodate.core import home
from sodate.core.files import write_text

HASHED = re.compile(r"[us]_[0-9a-f]{32}")


def user(project: str, name: str | None) -> str | None:
    """The hash of a user's name in a project; nobody else can tell that two projects know the same person."""
    return _hashed("u", project, name) if name else None


def session(project: str, name: str | None) -> str | None:
    return _hashed("s", project, name) if name else None


def given(project: str, name: str) -> str:
    """A user as somebody types one: the hash itself, or the name it is the hash of."""
    return name if HASHED.fullmatch(name) else _hashed("u", project, name)


def digest(text: str) -> str:
    """The hash of a text by which it is known again."""
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16, key=_key()).hexdigest()


def lot(id: str) -> float:
    """A number in [0, 1) that an exchange draws by its id: nobody can choose it."""
    told = hashlib.blake2b(id.encode("utf-8", "surrogatepass"), digest_size=7, key=_key()).digest()
    return (int.from_bytes(told, "big") >> 3) / 2**53


def _hashed(kind: str, project: str, name: str) -> str:
    text = f"{project}\0{name}".encode("utf-8", "surrogatepass")
    return f"{kind}_{hashlib.blake2b(text, digest_size=16, key=_key()).hexdigest()}"


def _key() -> bytes:
    return _key_of(str(home.home()))


@functools.lru_cache(8)
def _key_of(folder: str) -> bytes:
    """The key of a SODATE_HOME, made when it is first needed. Servers that share a database share this file."""
    path = Path(folder) / "exchanges.key"
    if not path.exists():
        made = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
        write_text(made, secrets.token_hex(32) + "\n")
        try:
            os.link(made, path)  # whoever was first has made the key
        except FileExistsError:
            pass
        finally:
            made.unlink()
    return bytes.fromhex(path.read_text("ascii").strip())
