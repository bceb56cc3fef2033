"""From a spec on the command line, `KIND[:options]`, to a grader.

    exact                                    the same text
    string_check:op=ilike                    eq ne like ilike; reference=TEXT instead of the row's
    label                                    the reply is the label; macro-F1 beside the mean
    json                                     the whole reply is JSON
    json_schema:schema.json                  … and fits the schema
    fields:mode=exact                        field-wise against the row's JSON: mode=f1|exact order=any|same
                                             numbers=strict|loose
    text_similarity:metric=char_f1           fuzzy_match char_f1 bleu gleu rouge_1…5 rouge_l
    banned_words:words.txt                   or banned_words:安全,絶対
    number                                   the last number of the reply is the reference's
    length:min=1,max=80                      characters; outside the range the score falls in proportion
    honest:idk=0.3                           right 1, "I don't know" 0.3, wrong -1, scaled to [0, 1]; with an empty
                                             reference only "I don't know" is right
    python:grader.py                         your own grade(sample, item), run in a sandbox
    code                                     the reply's code against the row's tests, run in a sandbox
    rules:rules.yaml                         several rules with weights

json, json_schema and fields take `lenient=true`: JSON inside a code fence or prose counts.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from sodate.core.errors import UsageError
from sodate.core.text import tr
from sodate.grade import answers, programs, sandbox, strings
from sodate.grade.base import Grader
from sodate.grade.fields import fields
from sodate.grade.labels import label
from sodate.grade.normalise import fold
from sodate.grade.rules import load_rules
from sodate.grade.schemas import Schema, read_schema
from sodate.grade.similarity import METRICS, text_similarity
from sodate.grade.structured import json_schema, read_json, valid_json

FREE: tuple[str, ...] = ()  # an option that takes any text
BOOLEAN = ("false", "true")


def _options(spec: str, known: Mapping[str, Sequence[str]], positional: str = "") -> dict[str, str]:
    """The options of `spec`; each must be in `known`, with one of its values unless FREE.

    The first piece may be the value of `positional` alone, as in `json_schema:schema.json`.
    """
    kind, _, rest = spec.partition(":")
    options: dict[str, str] = {}
    for index, piece in enumerate(rest.split(",") if rest else []):
        name, equals, value = piece.partition("=")
        name = name.strip()
        if not equals and positional and index == 0:
            name, value = positional, piece
        elif not equals or name not in known:
            raise UsageError(
                tr(f"Grader {kind!r} has no option {piece!r}.", f"採点 {kind!r} にオプション {piece!r} はありません。"),
                tr("It takes: ", "使えるもの: ") + (", ".join(known) or tr("none", "なし")),
                code="bad_grader",
                param="grader",
            )
        if name in options:
            raise UsageError(
                tr(f"{spec!r} gives {name} twice.", f"{spec!r} に {name} が二度あります。"),
                code="bad_grader",
                param="grader",
            )
        if known[name] and value not in known[name]:
            raise UsageError(
                tr(f"{value!r} is no value of {name} in {spec!r}.", f"{spec!r} の {name} に {value!r} は使えません。"),
                tr("Use one of: ", "使えるもの: ") + ", ".join(known[name]),
                code="bad_grader",
                param="grader",
            )
        options[name] = value
    if positional and not options.get(positional):
        raise UsageError(
            tr(f"Grader {kind!r} needs a {positional}.", f"採点 {kind!r} には {positional} が必要です。"),
            tr(f"Write {kind}:PATH.", f"{kind}:PATH のように書いてください。"),
            code="bad_grader",
            param="grader",
        )
    return options


def _exact(spec: str, base: Path) -> Grader:
    _options(spec, {})
    return Grader(spec, strings.exact)


def _string_check(spec: str, base: Path) -> Grader:
    operations: dict[str, strings.Operation] = {"eq": "eq", "ne": "ne", "neq": "ne", "like": "like", "ilike": "ilike"}
    options = _options(spec, {"op": tuple(operations), "reference": FREE})
    fixed = options.get("reference")
    operation = operations[options.get("op", "eq")]
    grade = strings.string_check(operation, fixed)
    return Grader(spec, grade, needs_reference=fixed is None, every=operation == "ne")


def _label(spec: str, base: Path) -> Grader:
    _options(spec, {})
    return label(spec)


def _json(spec: str, base: Path) -> Grader:
    options = _options(spec, {"lenient": BOOLEAN})
    return Grader(spec, valid_json(options.get("lenient") == "true"), needs_reference=False)


def _json_schema(spec: str, base: Path) -> Grader:
    options = _options(spec, {"schema": FREE, "lenient": BOOLEAN}, positional="schema")
    schema = _schema(base / options["schema"])
    return Grader(
        spec, json_schema(schema, options.get("lenient") == "true"), needs_reference=False, notes=schema.notes
    )


def _schema(path: Path) -> Schema:
    try:
        return read_schema(read_json(path.read_text("utf-8-sig")), str(path))
    except FileNotFoundError:
        raise UsageError(
            tr(f"The schema {path} is missing.", f"スキーマ {path} がありません。"),
            code="file_missing",
            param="grader",
            file=path,
        ) from None
    except (OSError, ValueError) as error:
        raise UsageError(
            tr(f"{path} is not a JSON Schema: {error}.", f"{path} は JSON Schema として読めません: {error}"),
            code="bad_schema",
            param="grader",
            file=path,
        ) from None


def _fields(spec: str, base: Path) -> Grader:
    options = _options(
        spec,
        {"mode": ("f1", "exact"), "order": ("any", "same"), "numbers": ("strict", "loose"), "lenient": BOOLEAN},
    )
    grade = fields(
        "exact" if options.get("mode") == "exact" else "f1",
        "same" if options.get("order") == "same" else "any",
        "loose" if options.get("numbers") == "loose" else "strict",
        options.get("lenient") == "true",
    )
    return Grader(spec, grade)


def _text_similarity(spec: str, base: Path) -> Grader:
    options = _options(spec, {"metric": tuple(METRICS)})
    return Grader(spec, text_similarity(options.get("metric", "fuzzy_match")))


def _banned_words(spec: str, base: Path) -> Grader:
    pieces = [piece.strip() for piece in spec.partition(":")[2].split(",") if piece.strip()]
    path = base / pieces[0] if len(pieces) == 1 else None
    # One piece that looks like a file is a file: a mistyped path must not become a word that is never found.
    if path is not None and (path.is_file() or path.suffix == ".txt" or "/" in pieces[0]):
        try:
            lines = path.read_text("utf-8-sig").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise UsageError(
                tr(f"The word list {path} cannot be read: {error}.", f"語のリスト {path} を読めません: {error}"),
                tr("It is UTF-8 with one word a line.", "UTF-8 で 1 行に 1 語のファイルにしてください。"),
                code="bad_grader",
                param="grader",
            ) from None
        pieces = [line.strip() for line in lines if line.strip() and not line.lstrip().startswith("#")]
    words = [word for word in pieces if fold(word)]
    if not words:
        raise UsageError(
            tr(f"{spec!r} names no word.", f"{spec!r} に語がありません。"),
            tr(
                "Write banned_words:words.txt or banned_words:WORD,WORD.",
                "banned_words:words.txt か banned_words:語,語 と書いてください。",
            ),
            code="bad_grader",
            param="grader",
        )
    return Grader(spec, strings.banned_words(words), needs_reference=False)


def _rules(spec: str, base: Path) -> Grader:
    options = _options(spec, {"file": FREE}, positional="file")
    return load_rules(spec, base / options["file"], parse_grader)


def _number(spec: str, base: Path) -> Grader:
    _options(spec, {})
    return Grader(spec, answers.number, whole=False)


def _length(spec: str, base: Path) -> Grader:
    options = _options(spec, {"min": FREE, "max": FREE})
    low, high = (_whole(spec, name, options.get(name, default)) for name, default in (("min", "1"), ("max", "1000000")))
    if low > high:
        raise UsageError(
            tr(f"{spec!r}: min is greater than max.", f"{spec!r}: min が max より大きくなっています。"),
            code="bad_grader",
            param="grader",
        )
    return Grader(spec, answers.length(low, high), needs_reference=False)


def _whole(spec: str, name: str, text: str) -> int:
    if not text.isdecimal() or not int(text):
        raise UsageError(
            tr(
                f"{name}={text} in {spec!r} is no number from 1.",
                f"{spec!r} の {name}={text} は 1 以上の数ではありません。",
            ),
            code="bad_grader",
            param="grader",
        )
    return int(text)


def _honest(spec: str, base: Path) -> Grader:
    text = _options(spec, {"idk": FREE}).get("idk", "0.3")
    try:
        idk = float(text)
    except ValueError:
        idk = 2.0
    if not -1 <= idk <= 1:
        raise UsageError(
            tr(
                f"idk={text} in {spec!r} is no number from -1 to 1.",
                f"{spec!r} の idk={text} は -1〜1 の数ではありません。",
            ),
            code="bad_grader",
            param="grader",
        )
    return Grader(spec, answers.honest(idk), whole=False)


def _python(spec: str, base: Path) -> Grader:
    options = _options(spec, {"file": FREE}, positional="file")
    grade = programs.python(base / options["file"])
    return Grader(spec, grade, needs_reference=False, whole=False, many=programs.at_once(grade))


def _code(spec: str, base: Path) -> Grader:
    _options(spec, {})
    sandbox.backend()
    return Grader(spec, programs.code, needs_reference=False, whole=False, many=programs.at_once(programs.code))


KINDS: Mapping[str, Callable[[str, Path], Grader]] = {
    "exact": _exact,
    "string_check": _string_check,
    "label": _label,
    "json": _json,
    "json_schema": _json_schema,
    "fields": _fields,
    "text_similarity": _text_similarity,
    "banned_words": _banned_words,
    "number": _number,
    "length": _length,
    "honest": _honest,
    "python": _python,
    "code": _code,
    "rules": _rules,
}


def parse_grader(spec: str, base: Path = Path()) -> Grader:
    """The grader that `spec` (`KIND[:options]`) describes; its paths start at `base`.

    UsageError names an unknown kind, option or value and lists the known ones; files are read here, not later.
    """
    spec = spec.strip()
    kind = spec.partition(":")[0]
    maker = KINDS.get(kind)
    if maker is None:
        raise UsageError(
            tr(f"There is no grader {kind!r}.", f"採点方法 {kind!r} はありません。"),
            tr("Known graders: ", "使えるもの: ") + ", ".join(KINDS),
            code="bad_grader",
            param="grader",
        )
    return maker(spec, base)
