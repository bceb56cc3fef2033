"""Strict JSON for untrusted rows: every defect has a code, and neither depth nor length can bring the process down."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterator, Set
from typing import Any, BinaryIO, Literal, NoReturn

from sodate.core import json_faults
from sodate.core.text import blank, en, ja, tr
from sodate.data.ledger import RowError

MAX_ROW_BYTES = 16 << 20  # far beyond any context window; what a reader may hold of one row
MAX_DEPTH = 100
CHUNK = 1 << 18

_STRUCTURE = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+(?:"|\\?\Z)|[\[{\]}]', re.DOTALL)
_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")


def parse_object(data: bytes) -> dict[str, Any]:
    """The JSON object in `data` (UTF-8, already known to decode). RowError with its code for anything else."""
    value = _parse(data)
    if type(value) is not dict:
        error = RowError("not-an-object", kind(value))
        if isinstance(value, list) and value and all(isinstance(item, dict) for item in value):
            error.rows = len(value)
        raise error
    return value


def parse_text(text: str) -> Any:
    """The JSON value written in a text, such as the arguments of a call or a cell of a table; as strict as a row."""
    try:
        return _parse(text.encode("utf-8"))
    except UnicodeEncodeError:
        raise RowError("lone-surrogate") from None


def _parse(data: bytes) -> Any:
    if data.count(b"{") + data.count(b"[") > MAX_DEPTH and _depth(data) > MAX_DEPTH:
        raise RowError("too-deep", MAX_DEPTH)
    text = data.decode("utf-8")
    try:
        value = _DECODER.decode(text)
    except json.JSONDecodeError as error:
        refused = RowError("invalid-json", _explain(error, text))
        if error.msg == "Extra data":
            refused.rows = _objects_in(text)
        raise refused from None
    except RecursionError:
        raise RowError("too-deep", MAX_DEPTH) from None
    except ValueError:  # int() refuses more than 4300 digits
        raise RowError("bad-number", tr("A number of thousands of digits", "数千桁の数")) from None
    if b"\\u" in data:
        if _SURROGATE.search(data):
            check_text(value)
        if b"\\u0000" in data and (where := place_of(value, lambda text: "\0" in text)) is not None:
            raise RowError("nul").at(where)
    return value


def _objects_in(text: str) -> int:
    """How many objects stand one after the other, at least one: as many rows are lost where they share a line."""
    count, at = 0, 0
    while text.startswith("{", at):
        try:
            at = json.JSONDecoder().raw_decode(text, at)[1]
        except (ValueError, RecursionError):
            break
        count += 1
        at += len(text[at : at + 64]) - len(text[at : at + 64].lstrip(" \t,"))
    return max(1, count)


def json_text(text: object, what: str) -> Any:
    """The JSON value written in a text field called `what`; a defect in it is said of that place."""
    if not isinstance(text, str):
        raise RowError("bad-type", what, "JSON", kind(text))
    try:
        return parse_text(text)
    except RowError as error:
        if error.code == "invalid-json":
            raise RowError("bad-type", what, "JSON", tr("other text", "それ以外の文字列")) from None
        raise error.at(what) from None


def nothing(value: object) -> bool:
    """Whether a value says nothing: null, a blank text, an empty list or object."""
    return value is None or value == [] or value == {} or (isinstance(value, str) and blank(value))


def check_text(value: Any) -> None:
    """Half a surrogate pair anywhere in `value` is a RowError that says where."""
    try:
        "".join(strings(value)).encode("utf-8")
    except UnicodeEncodeError:
        where = place_of(value, lambda text: any("\ud800" <= c <= "\udfff" for c in text))
        raise RowError("lone-surrogate").at(where or "") from None


def place_of(value: Any, wrong: Callable[[str], bool], path: str = "") -> str | None:
    """The path (`messages[1].content`) of the first string in a JSON value that is wrong, "" for the value itself."""
    if isinstance(value, str):
        return path if wrong(value) else None
    if isinstance(value, dict):
        if any(wrong(str(key)) for key in value):
            return path
        inside = ((item, f"{path}.{key}" if path else str(key)) for key, item in value.items())
    elif isinstance(value, list):
        inside = ((item, f"{path}[{number}]") for number, item in enumerate(value))
    else:
        return None
    return next((where for item, below in inside if (where := place_of(item, wrong, below)) is not None), None)


def strings(value: Any) -> Iterator[str]:
    """Every string in a JSON value, keys too."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for key, item in value.items():
            yield str(key)
            yield from strings(item)
    elif isinstance(value, list):
        for item in value:
            yield from strings(item)


def kind(value: Any) -> str:
    """What a value is, in words a person uses."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return tr("true/false", "真偽値")
    if isinstance(value, str):
        return tr("text", "文字列") if value else tr("empty text", "空の文字列")
    if isinstance(value, int | float):
        return tr("a number", "数値")
    return tr("a list", "リスト") if isinstance(value, list | tuple) else tr("an object", "オブジェクト")


def _depth(data: bytes) -> int:
    depth = deepest = 0
    for token in _STRUCTURE.finditer(data):
        mark = data[token.start()]
        if mark in b"[{":
            depth += 1
            deepest = max(deepest, depth)
        elif mark in b"]}":
            depth -= 1
    return deepest


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        seen: set[str] = set()
        for key, _ in pairs:
            if key in seen:
                raise RowError("duplicate-key", key)
            seen.add(key)
    return value


def _no_constant(text: str) -> NoReturn:
    raise RowError("bad-number", text)


def _finite(text: str) -> float:
    number = float(text)
    if math.isinf(number):
        raise RowError("bad-number", text[:40])
    return number


_DECODER = json.JSONDecoder(object_pairs_hook=_object, parse_constant=_no_constant, parse_float=_finite)


def _explain(error: json.JSONDecodeError, text: str) -> str:
    """The decoder's message in the reader's words, for the mistakes people make."""
    at = tr(f"at character {error.pos + 1}", f"{error.pos + 1} 文字目")
    before, here = text[: error.pos].rstrip(), text[error.pos : error.pos + 1]
    if not text[error.pos :].strip() or error.msg.startswith("Unterminated"):
        return tr("the row ends in the middle; is it cut off?", "途中で終わっています。途切れていませんか。")
    if here in "}]" and before.endswith(","):
        return tr(
            f"a comma before the closing {here} ({en(at)}).",
            f"閉じる {here} の前に余分なカンマがあります（{ja(at)}）。",
        )
    if here == "'":
        return tr(f"strings need double quotes ({en(at)}).", f'文字列は " で囲みます（{ja(at)}）。')
    if error.msg == "Extra data":
        return tr(f"more than one value on the line ({en(at)}).", f"1 行に値が 2 つ以上あります（{ja(at)}）。")
    if "control character" in error.msg:
        return tr(
            f"a raw control character ({en(at)}); a line break inside a string is written \\n.",
            f"制御文字がそのまま入っています（{ja(at)}）。文字列の中の改行は \\n と書きます。",
        )
    what = json_faults.words(error)
    return tr(f"{what.en.lower()} ({en(at)}).", f"{what.ja}（{ja(at)}）。")


_IN_STRING = re.compile(rb'["\\]')
_OUTSIDE = re.compile(rb'["\[\]{},]')
_LAST_KEY = re.compile(rb'"((?:[^"\\]|\\.)*)"\s*:\s*$')


def elements(stream: BinaryIO, row_keys: Set[str]) -> Iterator[bytes | RowError | None]:
    """The elements of a JSON document's one array as raw bytes, holding one element and one chunk at a time.

    `[…]` gives its elements, `{"rows": [{…}, …], …}` those of its array of objects, a document that is itself one row
    gives itself. An array under one of `row_keys` is part of a row.
    An element longer than MAX_ROW_BYTES comes as None, a comma without an element as empty bytes, and an array that
    never closes ends with `[`, which no parser accepts. Only brackets are read here; `parse_object` judges the rest.
    The elements of a second array of rows come as the RowError that asks which of the two was meant.
    """
    depth = base = 0  # base: the depth inside the array of rows, 0 until it is found
    in_string = skip = too_long = after_comma = closed = False
    piece = bytearray()
    key = rows_key = ""  # what the latest array and that of the rows are called
    given = False  # whether there was any element
    second: RowError | Literal[False] = False  # what to say of the rows of a second array
    held: int | None = (
        None  # how much of `piece` came before an array that holds rows if its first element is an object
    )

    def take() -> bytes | RowError | None:
        nonlocal too_long
        whole: bytes | RowError | None = None if too_long else bytes(piece).strip()
        if second and whole != b"":
            whole = second
        too_long = False
        piece.clear()
        return whole

    while chunk := stream.read(CHUNK):
        start = 0  # where the part of this chunk that still belongs to `piece` begins
        at = 1 if skip else 0
        skip = False
        while found := (_IN_STRING if in_string else _OUTSIDE).search(chunk, at):
            at, mark = found.end(), found.group()
            if held is not None:  # this is what comes first in that array
                if mark in b"{]" and not (piece[held:] + chunk[start : at - 1]).strip():
                    if not closed:
                        base, too_long, rows_key = depth, False, key
                        del piece[:held]
                    elif mark == b"{":
                        base, too_long, after_comma, closed = depth, False, False, False
                        second = given and _second(rows_key, key)
                        del piece[:held]
                held = None
            if mark == b'"':
                in_string = not in_string
            elif mark == b"\\":
                at += 1
                skip = at > len(chunk)
            elif mark == b"," or mark in b"]}":
                if depth == base > 0 and not closed and mark in b",]":
                    piece += chunk[start : at - 1]
                    start = at
                    element = take()
                    if element != b"" or mark == b"," or after_comma:
                        given = True
                        yield element
                    after_comma = mark == b","
                    closed = mark == b"]"
                depth -= mark != b","
            else:
                depth += 1
                if mark == b"[" and depth == 1:
                    if closed:
                        second = given and _second(rows_key, "")
                    base, start, after_comma, closed = 1, at, False, False
                    piece.clear()
                elif mark == b"[" and depth == 2 and (not base or closed):
                    named = _LAST_KEY.search((piece[-200:] + chunk[max(start, at - 201) : at - 1])[-200:])
                    key = named.group(1).decode("utf-8", "replace") if named else ""
                    if named and key not in row_keys:
                        piece += chunk[start:at]
                        start, held = at, len(piece)
        piece += chunk[start:]
        if len(piece) > MAX_ROW_BYTES:
            piece.clear()
            too_long, held = True, None if held is None else 0
    rest = take()
    if closed:
        if base == 1 and rest:
            yield rest
    elif base:
        if depth == base and rest:
            yield rest
        yield b"["
    elif rest != b"":
        yield rest


def _second(first: str, key: str) -> RowError:
    first, key = first or "[…]", key or "[…]"
    return RowError(
        "not-an-object",
        tr(
            f"one of a second list of rows ({key}, after {first}); write the list to use as a file of its own",
            f"2 つ目の行の配列（{first} の後の {key}）の要素です。使う配列だけを別のファイルに書き出してください",
        ),
    )
