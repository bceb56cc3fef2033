"""Two languages: every sentence a person reads is written twice, side by side, and chosen when it is said."""

from __future__ import annotations

import os
import re

# All but newline and tab; a carriage return only where no newline follows.
_CONTROLS = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]|\r(?!\n)")


def language() -> str:
    """`ja` or `en`: SODATE_LANG wins, then the locale variables in their POSIX order."""
    for name in ("SODATE_LANG", "LC_ALL", "LC_MESSAGES", "LANG"):
        value = os.environ.get(name, "")
        if value:
            return "ja" if value.lower().startswith("ja") else "en"
    return "en"


def tr(en: str, ja: str) -> str:
    """The sentence in the reader's language."""
    return ja if language() == "ja" else en


def visible(text: str) -> str:
    """The text with its control characters written out, so that what a model or a file says can't steer a terminal."""
    return _CONTROLS.sub(lambda found: f"\\x{ord(found[0]):02x}", text)
