"""How deep a JSON value is nested, found without recursion: what reads or writes one mostly calls itself."""

from __future__ import annotations

from typing import Any

MAX_DEPTH = 100  # as in a row of data


def too_deep(value: Any) -> bool:
    """Whether a JSON value has more than MAX_DEPTH levels."""
    level = [value] if isinstance(value, dict | list) else []
    for _ in range(MAX_DEPTH):
        inner = [one for outer in level for one in (outer.values() if isinstance(outer, dict) else outer)]
        level = [one for one in inner if isinstance(one, dict | list)]
        if not level:
            return False
    return bool(level)
