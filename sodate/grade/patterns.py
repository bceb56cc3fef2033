"""Regular expressions from users, on text from models: every search has a time limit."""

from __future__ import annotations

import regex  # type: ignore[import-untyped]

from sodate.core.errors import SodateError, UsageError
from sodate.core.text import en, ja, tr

SECONDS = 1.0


def check_pattern(pattern: str, where: str) -> None:
    """Raises UsageError, naming `where` the pattern stands, if it is not a regular expression."""
    try:
        regex.compile(pattern)
    except regex.error as error:
        raise UsageError(
            tr(
                f"{en(where)}: {pattern!r} is no regular expression: {error}.",
                f"{ja(where)}: {pattern!r} は正規表現として読めません: {error}",
            ),
            code="bad_pattern",
            param="grader",
        ) from None


def found(pattern: str, text: str) -> bool:
    """Whether `pattern` occurs in `text`. SodateError after SECONDS: a backtracking bomb is an error, not a verdict."""
    try:
        return regex.search(pattern, text, timeout=SECONDS) is not None
    except TimeoutError:
        raise SodateError(
            tr(
                f"the pattern {pattern!r} took more than {SECONDS:g} s on a text of {len(text)} characters.",
                f"パターン {pattern!r} の照合が {len(text)} 文字の文章で {SECONDS:g} 秒を超えました。",
            ),
            tr(
                "Rewrite it without nested repetition such as (a+)+.",
                "(a+)+ のような入れ子の繰り返しを使わない形に書き直してください。",
            ),
        ) from None
