"""Names of objects on the wire."""

from __future__ import annotations

import secrets
import string

_LETTERS = string.ascii_letters + string.digits


def new_id(prefix: str, length: int = 24) -> str:
    """A name that nobody can guess: `prefix` and so many letters and digits."""
    return prefix + "".join(secrets.choice(_LETTERS) for _ in range(length))
