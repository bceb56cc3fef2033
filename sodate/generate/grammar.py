"""Replies held to a form: a JSON schema, a regular expression or one of several texts, by llguidance's masks.

A schema that llguidance can't enforce is refused naming why, never half enforced. JSON comes without white space but
for one optional blank after `,` and `:`, as both compact and usual files have it.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sodate.core.engine import Constraint
from sodate.core.errors import SodateError
from sodate.core.text import en, ja, tr

DEEPEST = 64  # levels of a schema: what reads it is recursive
LONGEST = 1 << 20  # characters of a constraint
LARGEST = 1 << 53  # integers up to here are floats, too
_STYLE: Any = {"whitespace_flexible": False, "key_separator": ": ?", "item_separator": ", ?"}


class Grammars:
    """What constraints mean in one tokenizer's tokens. A reply ends by any of `stop_ids`, where its text may end."""

    def __init__(self, tokenizer: Any, width: int) -> None:
        """`tokenizer` is a tokenizers.Tokenizer; `width` the ids that logits are made for."""
        self._written = tokenizer.to_str()
        self.width = width
        self._made: dict[tuple[int, ...], Any] = {}  # of the stop ids: making one takes a second
        self._known: dict[Constraint, str] = {}

    def start(self, constraint: Constraint, stop_ids: Sequence[int]) -> Matcher:
        """The state of a reply that is about to begin; SodateError `constraint_unsupported` if it can't be enforced."""
        from llguidance import LLMatcher, LLTokenizer

        key = tuple(stop_ids)
        if key not in self._made:
            self._made[key] = LLTokenizer(self._written, n_vocab=self.width, eos_token=list(key))
        tokens = self._made[key]
        if constraint not in self._known:
            grammar = _grammar(constraint)
            failed, said = LLMatcher.validate_grammar_with_warnings(grammar, tokens)
            if failed or said:
                raise unsupported("; ".join(line.strip() for line in said[0].splitlines()))
            if len(self._known) > 1000:
                self._known.clear()
            self._known[constraint] = grammar
        matcher = Matcher(LLMatcher(tokens, self._known[constraint], log_level=0), key)
        if not matcher.allowed().any() or matcher.error:
            raise unsupported(tr("no text satisfies it", "満たす文がありません"))
        return matcher


class Matcher:
    """Where one reply is in its grammar."""

    def __init__(self, inner: Any, stop_ids: tuple[int, ...]) -> None:
        self.inner, self.stop_ids = inner, stop_ids

    def allowed(self) -> NDArray[np.int32]:
        """The ids that may come next, a bit each."""
        return np.frombuffer(self.inner.compute_bitmask(), dtype=np.int32)

    def take(self, token: int) -> None:
        """Goes on by a token that was allowed."""
        if token not in self.stop_ids:
            self.inner.consume_token(token)

    def forced(self) -> list[int]:
        """The tokens that come next whatever the model thinks; a stop id where the text can't go on."""
        if self.inner.is_stopped():
            return [self.stop_ids[0]]
        ids: list[int] = self.inner.compute_ff_tokens()
        return ids

    def fits(self, drafts: Sequence[int]) -> int:
        """How many of the drafts the grammar allows in turn; a stop id is none of them."""
        ends = [i for i, token in enumerate(drafts) if token in self.stop_ids]
        return int(self.inner.validate_tokens(list(drafts[: ends[0]] if ends else drafts)))

    def ahead(self, drafts: Sequence[int]) -> list[NDArray[np.int32]]:
        """What may come next now, and after each of the drafts, all of which fit; nothing moves on."""
        masks = [self.allowed()]
        for token in drafts:
            self.inner.consume_token(token)
            masks.append(self.allowed())
        if drafts:
            self.inner.rollback(len(drafts))
        return masks

    @property
    def error(self) -> str:
        """What llguidance says is wrong, or nothing."""
        said: str = self.inner.get_error()
        return said


def unsupported(why: str) -> SodateError:
    return SodateError(
        tr(f"This constraint can't be enforced: {en(why).rstrip('.')}.",
           f"この制約は守らせることができません: {ja(why).rstrip('.。')}。"),
        tr("Leave that part out, or ask without a constraint and check the reply.",
           "その部分を外すか、制約なしで生成して返答を検査してください。"),
        code="constraint_unsupported",
    )  # fmt: skip


def _grammar(constraint: Constraint) -> str:
    from llguidance import LLMatcher

    size = len(constraint.value) if isinstance(constraint.value, str) else sum(map(len, constraint.value))
    if size > LONGEST:
        raise unsupported(tr(f"it has more than {LONGEST} characters", f"{LONGEST} 文字を超えています"))
    if constraint.kind == "choice":
        if not constraint.value or isinstance(constraint.value, str) or not all(constraint.value):
            raise unsupported(tr("there is nothing to choose from", "選択肢がありません"))
        choices = " | ".join(json.dumps(text, ensure_ascii=False) for text in constraint.value)
        return str(LLMatcher.grammar_from_lark(f"start: {choices}"))
    assert isinstance(constraint.value, str)
    if constraint.kind == "lark":  # made by api/structured.py, which has looked at the schemas in it
        return str(LLMatcher.grammar_from_lark(constraint.value))
    if constraint.kind == "regex":
        if odd := _odd_class(constraint.value):
            raise unsupported(f"{odd} in a class of {constraint.value[:100]!r}")
        return str(LLMatcher.grammar_from_regex(constraint.value))
    try:
        if _depth(constraint.value) > DEEPEST:
            raise unsupported(
                tr(f"it is nested more than {DEEPEST} levels deep", f"入れ子が {DEEPEST} 段を超えています")
            )
        schema = json.loads(constraint.value, object_hook=_plain)
    except ValueError as error:
        raise unsupported(str(error)) from None
    if schema is True:
        schema = {}
    if not isinstance(schema, dict):
        raise unsupported(tr("a schema is a JSON object", "スキーマは JSON オブジェクトです"))
    if why := misread(schema):
        raise unsupported(why)
    return str(LLMatcher.grammar_from_json_schema(json.dumps(schema), overrides=_STYLE))


def misread(schema: Any) -> str:
    """What of a schema llguidance reads otherwise than JSON Schema does, or "": numbers that a float does not hold, and
    expressions whose classes are sets of sets in Rust's dialect and plain characters in ECMA's.

    `schema` may be nested as deep as `DEEPEST`.
    """
    level: list[tuple[Any, bool]] = [(schema, True)]  # a value, and whether it is a schema or one of its constants
    while level:
        value, written = level.pop()
        if isinstance(value, list):
            level += [(inner, written) for inner in value]
        elif isinstance(value, dict):
            expressions = [value["pattern"]] if isinstance(value.get("pattern"), str) else []
            named = value.get("patternProperties")
            expressions += list(named) if isinstance(named, dict) else []
            for expression in expressions if written else ():
                if odd := _odd_class(expression):
                    return f"pattern: {odd} in a class of {expression[:100]!r}"
            level += [(inner, written and key not in ("const", "enum")) for key, inner in value.items()
                      if key not in ("default", "examples")]  # fmt: skip
        elif isinstance(value, int | float) and not -LARGEST <= value <= LARGEST:
            return f"{str(value)[:40]}: beyond 2^53"
    return ""


def _odd_class(expression: str) -> str:
    """What in a bracketed class means another thing in each dialect: a set within, a set operation, ] at its start."""
    inside, at = False, 0
    while at < len(expression):
        two = expression[at : at + 2]
        if two[0] == "\\":
            at += 1
        elif inside:
            if two[0] == "[" or two in ("--", "~~", "&&"):
                return two if two[0] != "[" else "["
            inside = two[0] != "]"
        elif two[0] == "[":
            inside = True
            at += two == "[^"
            if expression[at + 1 : at + 2] == "]":
                return "[]"
        at += 1
    return ""


def _plain(part: dict[str, Any]) -> dict[str, Any]:
    if "x-guidance" in part:  # it would change how strictly the rest is read
        raise unsupported("x-guidance")
    return part


def _depth(text: str) -> int:
    """Levels of brackets in JSON text, found without recursion."""
    deepest = depth = 0
    inside = escaped = False
    for character in text:
        if escaped:
            escaped = False
        elif inside:
            escaped, inside = character == "\\", character != '"'
        elif character == '"':
            inside = True
        elif character in "[{":
            depth += 1
            deepest = max(deepest, depth)
        elif character in "]}":
            depth -= 1
    return deepest
