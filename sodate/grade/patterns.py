"""Patterns in text: one language (ECMA-262) and one engine for rules, schemas and whatever else has a pattern."""

from __future__ import annotations

import functools

import jsonschema_rs

from sodate.core.errors import UsageError
from sodate.core.text import en, ja, tr
from sodate.grade.ecma import NotEcmaError, translate

STEPS = 1_000_000  # of a pattern that looks around or back: some tenths of a second
ENGINE = jsonschema_rs.FancyRegexOptions(backtrack_limit=STEPS)


def checked(pattern: str, where: str) -> str:
    """`pattern` as the engine writes it. UsageError, naming `where` it stands, if it is not a regular expression."""
    why: str
    try:
        translated = translate(pattern)
        _search(translated)
    except NotEcmaError as error:
        why, instead = str(error), error.instead
    except jsonschema_rs.ValidationError:
        why, instead = tr("the engine can't compile it", "エンジンがコンパイルできません"), ""
    else:
        return translated
    raise UsageError(
        tr(f"{where}: {pattern!r} is not a regular expression: {en(why)}.",
           f"{where}: {pattern!r} は正規表現として読めません: {ja(why)}"),
        tr("Patterns are ECMA-262, as in JavaScript and JSON Schema.",
           "パターンは JavaScript や JSON Schema と同じ ECMA-262 で書いてください。")
        + (tr(f" Write {instead} here.", f"ここは {instead} と書きます。") if instead else ""),
        code="bad_pattern", param="grader",
    )  # fmt: skip


@functools.lru_cache(256)
def _search(translated: str) -> jsonschema_rs.Validator:
    return jsonschema_rs.validator_for({"pattern": translated}, pattern_options=ENGINE)


def found(pattern: str, text: str) -> bool | None:
    """Whether `pattern` occurs in `text`; None where the search ended at its limit of STEPS."""
    readable = text.encode("utf-8", "replace").decode()  # half a surrogate pair is no text to the engine
    error = next(_search(translate(pattern)).iter_errors(readable), None)
    return True if error is None else None if gave_up(error) else False


def gave_up(error: jsonschema_rs.ValidationError) -> bool:
    """Whether a search ended at its limit."""
    kinds = jsonschema_rs.ValidationErrorKind
    return isinstance(error.kind, kinds.BacktrackLimitExceeded | kinds.RegexEngineFailure)
