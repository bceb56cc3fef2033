"""Replies of a given form: JSON by a schema, and tool calls in the form that the model's template writes them.

The engine holds the reply to a grammar; here it is made, refused where its library cannot enforce it, and the reply is
checked once more by another library before it leaves.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from sodate.core import json_faults
from sodate.core.engine import Constraint
from sodate.core.errors import UsageError
from sodate.core.text import tr
from sodate.core.types import Message, ToolCall
from sodate.generate.grammar import misread
from sodate.grade.schemas import bounded, breach, read_schema, unwrapped
from sodate.render.renderer import Renderer

MAX_DEPTH = 64
MAX_SCHEMA = 100_000  # characters of a schema as JSON
# JSON inside a grammar is spaced as the engine spaces a schema's: one blank after , and : or none.
_STYLE = {"whitespace_flexible": False, "key_separator": ": ?", "item_separator": ", ?"}
_ANY_OBJECT: Mapping[str, Any] = {"type": "object"}
_PROBE = ToolCall("call_0aaaaaaa", "zq_tool", '{"zq": 1}')  # ids of nine characters and more suit every family


@dataclass(frozen=True, slots=True)
class CallForm:
    """How a model writes a call: `opening` {"name": "f", "`arguments`": {…}} `closing`."""

    opening: str = ""
    closing: str = ""
    arguments: str = "arguments"


def form_of(renderer: Renderer) -> CallForm | None:
    """The form of calls in this model's template, or None where it has no JSON object with name and arguments."""
    text = renderer.text(renderer.reply(Message("assistant", "", tool_calls=(_PROBE,))))
    return _form_in(text)


@lru_cache(maxsize=64)
def _form_in(text: str) -> CallForm | None:
    found = re.fullmatch(r'(?s)(.*?)\{"name": ?"zq_tool", ?"(arguments|parameters)": ?\{"zq": ?1\}\}(.*?)\s*', text)
    return CallForm(found[1].lstrip(), found[3], found[2]) if found else None


def json_constraint(schema: Any, param: str) -> Constraint:
    """The constraint for a schema; UsageError naming the keyword that cannot be enforced, or what is wrong with it."""
    text = _checked(schema, param)
    why = _refusal("json_schema", text)
    if why:
        raise _not_enforced(why, param)
    return Constraint("json_schema", text)


def schema_in(path: Path) -> Any:
    """The JSON schema that replies are held to, without a wrapper as APIs want it.

    UsageError where the file is not there or is no JSON, and where it is no schema, asks for nothing, or says what
    nobody would check: all of it would pass unenforced.
    """
    try:
        document = unwrapped(json.loads(path.read_text("utf-8-sig")))
        unchecked = read_schema(document, str(path)).notes
    except UsageError as error:
        raise UsageError(error.message, error.fix, code=error.code, param="schema", file=path) from None
    except FileNotFoundError:
        raise UsageError(
            tr(f"The schema {path} is missing.", f"スキーマ {path} がありません。"),
            code="file_missing", param="schema", file=path,
        ) from None  # fmt: skip
    except (OSError, ValueError, RecursionError) as error:
        what = json_faults.said(error)
        raise UsageError(
            tr(f"{path} is no JSON: {what.en}", f"{path} は JSON として読めません: {what.ja}"),
            code="bad_schema", param="schema", file=path,
        ) from None  # fmt: skip
    if unchecked:
        raise _not_enforced(unchecked[0], "schema")
    return document


def reply_constraint(schema: Any, param: str, renderer: Renderer) -> Constraint:
    """The constraint on a reply by this renderer's model: on its answer alone, where it thinks before that."""
    constraint = json_constraint(schema, param)
    end = renderer.form.thought_end
    return after_reasoning(constraint, end) if end else constraint


def _checked(schema: Any, param: str) -> str:
    """The schema as JSON text, if it is an object of a size and depth that can be looked at."""
    if not isinstance(schema, dict):
        raise UsageError(
            tr("A JSON schema must be an object.", "JSON スキーマはオブジェクトで指定してください。"),
            code="invalid_schema", param=param,
        )  # fmt: skip
    level: list[Any] = [schema]
    for _ in range(MAX_DEPTH):
        level = [inner for outer in level for inner in _inside(outer)]
    text = "" if level else json.dumps(schema, ensure_ascii=False)
    if not level and (why := misread(schema)):
        raise _not_enforced(why, param)
    if '"x-guidance"' in text:  # it would change how strictly the rest is read
        raise _not_enforced("x-guidance", param)
    if level or len(text) > MAX_SCHEMA:
        raise UsageError(
            tr(f"The JSON schema is nested more than {MAX_DEPTH} deep or longer than {MAX_SCHEMA} characters.",
               f"JSON スキーマの入れ子が {MAX_DEPTH} 段、または長さが {MAX_SCHEMA} 文字を超えています。"),
            code="invalid_schema", param=param,
        )  # fmt: skip
    bounded(schema, param, param, "invalid_schema")
    return text


def _inside(value: Any) -> Sequence[Any]:
    return list(value.values()) if isinstance(value, dict) else value if isinstance(value, list) else ()


def _from_schema(text: str) -> str:
    from llguidance import LLMatcher

    return LLMatcher.grammar_from_json_schema(text)


@lru_cache(maxsize=256)
def _refusal(kind: str, text: str) -> str:
    """Why llguidance cannot enforce this, "" if it can. Nothing is fetched: it has no retriever."""
    from llguidance import LLMatcher

    lark = kind == "lark"
    return str(LLMatcher.validate_grammar((LLMatcher.grammar_from_lark if lark else _from_schema)(text)))


def _not_enforced(why: str, param: str) -> UsageError:
    lines = why.splitlines()
    said = lines[0] if not lines[0].endswith(":") else f"{lines[0]} {lines[-1].removeprefix('error: ')}"
    said = said.partition(" Enable ")[0].rstrip(".")[:300]  # what follows is for who calls the library
    return UsageError(
        tr(f"This JSON schema cannot be enforced: {said}.", f"この JSON スキーマは強制できません: {said}"),
        tr("Leave out what is named here; nothing is enforced by halves.",
           "上記の指定を外してください。一部だけを強制することはありません。"),
        code="unsupported_schema", param=param,
    )  # fmt: skip


def after_reasoning(constraint: Constraint, end: str) -> Constraint:
    """The constraint on what follows the reasoning that the prompt has opened already, and that the mark `end` ends."""
    if constraint.kind != "json_schema":
        return constraint
    answer = f"%json {_styled(json.loads(str(constraint.value)))}"
    thought = f"thought[suffix={_quoted(end)}]: /(?s:.*)/"
    return Constraint("lark", f"start: thought /\\s*/ answer\n{thought}\nanswer: {answer}")


def parameters(tool: Mapping[str, Any]) -> Any:
    """The schema of a tool's arguments."""
    return tool["function"].get("parameters") or _ANY_OBJECT


def calls_constraint(
    form: CallForm, tools: Sequence[Mapping[str, Any]], *, required: bool, parallel: bool, param: str = "{}"
) -> Constraint:
    """Calls of these tools only, with arguments that fit; unless `required`, any text may stand before or instead.

    A tool that is `strict` is refused if its schema cannot be enforced; of another one, any object is an argument then.
    `param` is what errors call a tool's schema, with {} for its number.
    """
    rules = []
    for number, tool in enumerate(tools):
        where = param.format(number)
        schema = _checked(parameters(tool), where)
        why = _refusal("json_schema", schema)
        if why and tool["function"].get("strict"):
            raise _not_enforced(why, where)
        head = _quoted(f'{{"name": {json.dumps(tool["function"]["name"])}, "{form.arguments}": ')
        shape = _ANY_OBJECT if why else parameters(tool)
        rules += [f'c{number}: {head} p{number} "}}"', f"p{number}: %json {_styled(shape)}"]
    anyone = " | ".join(f"c{number}" for number in range(len(tools)))
    again = f'("\\n" {_quoted(form.opening)} call)*' if parallel and form.opening else ""
    rules.append(f"call: ({anyone}) {_quoted(form.closing)}" if form.closing else f"call: {anyone}")
    opening = _quoted(form.opening) if form.opening else ""
    if required or not form.opening:
        start = [f"start: {opening} call {again}"]
    else:
        opener = re.escape(form.opening.strip()).replace("/", "\\/")
        start = [
            f"start: | TEXT | opened {_rest(form)} call {again}",
            f"opened[suffix={_quoted(form.opening.strip())}]: /(?s:.*)/",
            f"TEXT: /(?s:.+)/ & ~/(?s:.*){opener}(?s:.*)/",
        ]
    text = "\n".join([*start, *rules])
    if why := _refusal("lark", text):
        raise _not_enforced(why, "tools")
    return Constraint("lark", text)


def _styled(schema: Mapping[str, Any]) -> str:
    return json.dumps({**schema, "x-guidance": _STYLE}, ensure_ascii=False)


def _rest(form: CallForm) -> str:
    rest = form.opening[len(form.opening.rstrip()) :]
    return _quoted(rest) if rest else ""


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


def violation(text: str, schema: Any) -> str | None:
    """What about a reply does not fit its schema, by another library than the one that made it; None if it fits."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as unreadable:
        return f"no JSON: {unreadable}"
    wrong = breach(schema, value)
    return wrong and wrong[:300]
