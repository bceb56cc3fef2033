"""Two languages: every sentence a person reads is written twice, side by side, and chosen when it is said."""

from __future__ import annotations

import os


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
