"""What Python's reader of JSON says is wrong with a text, in both languages."""

from __future__ import annotations

import json

from sodate.core.text import Sentence, en, ja, said_by, tr

_JAPANESE = {
    "Expecting value": "値がありません",
    "Expecting property name enclosed in double quotes": '" で囲んだキーがありません',
    "Expecting ':' delimiter": "コロン (:) がありません",
    "Expecting ',' delimiter": "カンマ (,) がありません",
    "Extra data": "値の後ろに余分な文字があります",
    "Unterminated string starting at": '閉じる " のない文字列があります',
    "Invalid control character at": "制御文字がそのまま入っています",
    "Invalid \\escape": "\\ の後ろの文字が正しくありません",
    "Invalid \\uXXXX escape": "\\u の後ろは 16 進数 4 桁にしてください",
    "Illegal trailing comma before end of object": "閉じる } の前に余分なカンマがあります",
    "Illegal trailing comma before end of array": "閉じる ] の前に余分なカンマがあります",
    "Unexpected UTF-8 BOM (decode using utf-8-sig)": "先頭に BOM があります",
}


def words(error: json.JSONDecodeError) -> Sentence:
    """The fault alone, without its place."""
    english = error.msg.removesuffix(": ")
    return tr(english, _JAPANESE.get(english, english))


def said(error: Exception, line: int | None = None) -> Sentence:
    """The fault and its place, of a text that is the given line of a file; what any other exception says as it is."""
    if isinstance(error, json.JSONDecodeError):
        what, line, column = words(error), line or error.lineno, error.colno
        return tr(f"{what.en}: line {line} column {column}", f"{what.ja}（{line} 行目の {column} 文字目）")
    text = said_by(error)
    return tr(en(text), ja(text))


def unread(error: Exception) -> Sentence:
    """That a file is left out, and why."""
    what = said(error)
    return tr(f"It can't be read as JSON: {what.en}", f"JSON として読めません: {what.ja}")
