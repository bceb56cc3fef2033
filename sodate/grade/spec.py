"""From a spec on the command line, `KIND[:options]`, to a grader.

    exact                                    the same text
    equal                                    the same value however it is written (和暦, 漢数字, ㈱, 髙, width);
                                             foldings=era+date+numerals+currency+company+variants+width+space
    string_check:op=ilike                    eq ne like ilike; reference=TEXT instead of the row's
    label                                    the reply is the label; macro-F1 beside the mean
    json                                     the whole reply is JSON
    json_schema:schema.json                  … and fits the schema
    fields:mode=exact                        field-wise against the row's JSON: mode=f1|exact order=any|same
                                             numbers=strict|loose strings=strict|loose
    text_similarity:metric=char_f1           fuzzy_match char_f1 bleu gleu meteor cosine rouge_1…5
                                             rouge_l
    banned_words:words.txt                   or banned_words:安全,絶対
    regex:PATTERN                            the pattern (ECMA-262) occurs in the reply
    number                                   the last number of the reply is the reference's
    math:tolerance=0                         the final answer is the reference's, as a number or an expression
    length:min=1,max=80                      characters; outside the range the score falls in proportion
    honest:idk=0.3                           right 1, "I don't know" 0.3, wrong -1, scaled to [0, 1]; with an empty
                                             reference only "I don't know" is right
    abstention                               says that it does not know where the reference is empty, and only there
    consistency:times=3,batch=true           the same answer drawn again and among other rows; by=COLUMN: to
                                             paraphrases; same=text|math|METRIC
    tone_ja:house.yaml                       です・ます, 敬語, 表記ゆれ by sentence, with what to write; file optional
    language:ja                              the language of every sentence; without one that of the question
    citations                                the reply keeps to the passages in its prompt and names them
    python:grader.py                         your own grade(sample, item), run in a sandbox
    code                                     the reply's code against the row's tests, run in a sandbox
    rules:rules.yaml                         several rules with weights
    reward_model:NAME                        the chance that people prefer the reply to the reference
    perplexity:MODEL                         1 / perplexity of the reply under a model
    pair_model:MODEL                         a model compares reply and reference in both orders; criteria=TEXT engine=…
    score_model                              a model gives a number; as an object only, docs/graders.md
    label_model                              a model chooses a label; as an object only
    multi                                    a formula over several graders; as an object only
    grader.json                              a file with a grader as an object (or .yaml)

json, json_schema and fields take `lenient=true`: JSON inside a code fence or prose counts.
The same as an object, in JSON or YAML: {"kind": "fields", "mode": "exact", "name": "all right"}. There the schema of
json_schema and the words of banned_words may be written in the object. With "type" instead of "kind" it is one of
OpenAI's: {"type": "string_check", "name": "same", "input": "{{sample.output_text}}", "reference":
"{{item.reference_answer}}", "operation": "eq"}.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from sodate.core.errors import UsageError
from sodate.core.paths import is_file, refusal
from sodate.core.text import en, ja, tr
from sodate.grade import answers, programs, reading, sandbox, strings
from sodate.grade.base import Grader
from sodate.grade.citations import citations
from sodate.grade.fields import fields
from sodate.grade.labels import label
from sodate.grade.makers import MAKERS
from sodate.grade.normalise import fold
from sodate.grade.options import BOOLEAN, FREE, Spec, read_object, read_spec, refused
from sodate.grade.outcome import Judges
from sodate.grade.rules import load_rules
from sodate.grade.schemas import Schema, read_schema
from sodate.grade.similarity import METRICS, text_similarity
from sodate.grade.structured import json_schema, read_json, valid_json


def _exact(spec: Spec, base: Path) -> Grader:
    spec.options({})
    return Grader(spec.name, strings.exact)


def _string_check(spec: Spec, base: Path) -> Grader:
    operations: dict[str, strings.Operation] = {"eq": "eq", "ne": "ne", "neq": "ne", "like": "like", "ilike": "ilike"}
    options = spec.options({"op": tuple(operations), "reference": FREE})
    fixed = options.get("reference")
    operation = operations[options.get("op", "eq")]
    grade = strings.string_check(operation, fixed)
    return Grader(spec.name, grade, needs_reference=fixed is None, every=operation == "ne", form=fixed is not None)


def _label(spec: Spec, base: Path) -> Grader:
    spec.options({})
    return label(spec.name)


def _json(spec: Spec, base: Path) -> Grader:
    options = spec.options({"lenient": BOOLEAN})
    return Grader(spec.name, valid_json(options.get("lenient") == "true"), needs_reference=False)


def _json_schema(spec: Spec, base: Path) -> Grader:
    options = spec.options({"schema": FREE, "lenient": BOOLEAN}, positional="schema", inline=(dict,))
    given = options["schema"]
    schema = read_schema(given, spec.name) if isinstance(given, dict) else _schema(base / given)
    return Grader(
        spec.name, json_schema(schema, options.get("lenient") == "true"), needs_reference=False, notes=schema.notes
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


def _fields(spec: Spec, base: Path) -> Grader:
    options = spec.options(
        {"mode": ("f1", "exact"), "order": ("any", "same"), "numbers": ("strict", "loose"),
         "strings": ("strict", "loose"), "lenient": BOOLEAN},
    )  # fmt: skip
    grade = fields(
        "exact" if options.get("mode") == "exact" else "f1",
        "same" if options.get("order") == "same" else "any",
        "loose" if options.get("numbers") == "loose" else "strict",
        options.get("lenient") == "true",
        "loose" if options.get("strings") == "loose" else "strict",
    )
    return Grader(spec.name, grade)


def _text_similarity(spec: Spec, base: Path) -> Grader:
    options = spec.options({"metric": tuple(METRICS)})
    return Grader(spec.name, text_similarity(options.get("metric", "fuzzy_match")))


def _banned_words(spec: Spec, base: Path) -> Grader:
    if spec.members is None:
        pieces = [piece.strip() for piece in spec.rest.split(",") if piece.strip()]
    else:
        words = spec.options({"words": FREE}, positional="words", inline=(list,))["words"]
        pieces = [words] if isinstance(words, str) else [str(word) for word in words]
    path = base / pieces[0] if len(pieces) == 1 else None
    # One piece that looks like a file is a file: a mistyped path must not become a word that is never found.
    if path is not None and (is_file(path) or path.suffix == ".txt" or "/" in pieces[0]):
        try:
            lines = path.read_text("utf-8-sig").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            why = refusal(error)
            raise refused(
                tr(f"The word list {path} cannot be read: {en(why)}.", f"語のリスト {path} を読めません: {ja(why)}"),
                tr("It is UTF-8 with one word a line.", "UTF-8 で 1 行に 1 語のファイルにしてください。"),
            ) from None
        pieces = [line.strip() for line in lines if line.strip() and not line.lstrip().startswith("#")]
    words = [word for word in pieces if fold(word)]
    if not words:
        raise refused(
            tr(f"{spec.name!r} names no word.", f"{spec.name!r} に語がありません。"),
            tr(
                "Write banned_words:words.txt or banned_words:WORD,WORD.",
                "banned_words:words.txt か banned_words:語,語 と書いてください。",
            ),
        )
    return Grader(spec.name, strings.banned_words(words), needs_reference=False)


def _rules(spec: Spec, base: Path) -> Grader:
    options = spec.options({"file": FREE}, positional="file")
    return load_rules(spec.name, base / options["file"], lambda one, beside: parse_grader(one, beside, spec.judges))


def _number(spec: Spec, base: Path) -> Grader:
    spec.options({})
    return Grader(spec.name, answers.number, whole=False)


def _length(spec: Spec, base: Path) -> Grader:
    options = spec.options({"min": FREE, "max": FREE})
    low, high = (_whole(spec, name, options.get(name, default)) for name, default in (("min", "1"), ("max", "1000000")))
    if low > high:
        raise refused(
            tr(f"{spec.name!r}: min is greater than max.", f"{spec.name!r}: min が max より大きくなっています。"),
        )
    return Grader(spec.name, answers.length(low, high), needs_reference=False)


def _whole(spec: Spec, name: str, text: str) -> int:
    if not text.isdecimal() or not int(text):
        raise refused(
            tr(
                f"{name}={text} in {spec.name!r} is not a number from 1.",
                f"{spec.name!r} の {name}={text} は 1 以上の数ではありません。",
            ),
        )
    return int(text)


def _honest(spec: Spec, base: Path) -> Grader:
    text = spec.options({"idk": FREE}).get("idk", "0.3")
    try:
        idk = float(text)
    except ValueError:
        idk = 2.0
    if not -1 <= idk <= 1:
        raise refused(
            tr(
                f"idk={text} in {spec.name!r} is not a number from -1 to 1.",
                f"{spec.name!r} の idk={text} は -1〜1 の数ではありません。",
            ),
        )
    return Grader(spec.name, answers.honest(idk), whole=False)


def _citations(spec: Spec, base: Path) -> Grader:
    spec.options({})
    return Grader(spec.name, needs_reference=False, whole=False, many=citations)


def _python(spec: Spec, base: Path) -> Grader:
    options = spec.options({"file": FREE}, positional="file")
    grade = programs.python(base / options["file"])
    return Grader(spec.name, grade, needs_reference=False, whole=False, many=programs.at_once(grade))


def _code(spec: Spec, base: Path) -> Grader:
    spec.options({})
    sandbox.backend()
    return Grader(spec.name, programs.code, needs_reference=False, whole=False, many=programs.at_once(programs.code))


def _object(spec: Spec, base: Path) -> Grader:
    """One of OpenAI's, which only an object can describe."""
    if spec.members is None:
        raise refused(
            tr(f"{spec.kind} is written as an object.", f"{spec.kind} はオブジェクトで書いてください。"),
            tr("docs/graders.md shows how.", "書き方は docs/graders.md にあります。"),
        )
    given = {"type": spec.kind, "name": spec.name, **spec.members}
    kind = reading.read(given, ours=lambda one: parse_grader(one, base, spec.judges))
    return reading.grader_of(kind, spec.judges)


def _from_file(path: Path, judges: Judges | None) -> Grader:
    try:
        text = path.read_text("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        why = refusal(error)
        raise UsageError(
            tr(f"The grader {path} cannot be read: {en(why)}.", f"採点 {path} を読めません: {ja(why)}"),
            code="file_unreadable", param="grader", file=path,
        ) from None  # fmt: skip
    return parse_grader(read_object(text, str(path)), path.parent, judges)


# Kinds that look at form alone; others say so themselves.
FORM = frozenset(("json", "json_schema", "banned_words", "length"))
KINDS: Mapping[str, Callable[[Spec, Path], Grader]] = {
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
    "citations": _citations,
    "python": _python,
    "code": _code,
    "rules": _rules,
    "score_model": _object,
    "label_model": _object,
    "multi": _object,
    **MAKERS,
}


def parse_grader(spec: str | Mapping[str, Any], base: Path = Path(), judges: Judges | None = None) -> Grader:
    """The grader that `spec` describes: `KIND[:options]`, an object, or a file with one. Its paths start at `base`, and
    `judges` are the models it may ask.

    UsageError names an unknown kind, option or value and lists the known ones; files are read here, not later.
    """
    asked = replace(read_spec(spec), judges=judges)
    if not asked.rest and asked.members is None and Path(asked.kind).suffix in (".json", ".yaml", ".yml"):
        return _from_file(base / asked.kind, judges)
    maker = _object if asked.typed and asked.kind in reading.TYPES else KINDS.get(asked.kind)
    if maker is None:
        close = difflib.get_close_matches(asked.kind, KINDS, 1)
        meant = tr(f" Did you mean {close[0]}?", f"{close[0]} のことですか?") if close else tr("", "")
        raise refused(
            tr(f"There is no grader {asked.kind!r}.{en(meant)}", f"採点方法 {asked.kind!r} はありません。{ja(meant)}"),
            tr("Known graders: ", "使えるもの: ") + ", ".join(KINDS),
        )
    made = maker(asked, base)
    return replace(made, form=made.form or asked.kind in FORM)
