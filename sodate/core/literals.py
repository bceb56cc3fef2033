"""Python's text from elsewhere, parsed and never run: of bounded length, and whatever it holds, no word on stderr."""

from __future__ import annotations

import ast
import re
import warnings
from typing import Any

MAX_CHARS = 256_000  # a tree is some hundred times as large as its text
_FROM = "<from elsewhere>"

# Python warns of odd escapes and numbers while it parses, on stderr, whosever text it is.
warnings.filterwarnings("ignore", module=re.escape(_FROM))


def parse(text: str) -> ast.Module:
    """The tree of a program. SyntaxError, ValueError, RecursionError or MemoryError for text that is none, ValueError
    also for more than MAX_CHARS."""
    if len(text) > MAX_CHARS:
        raise ValueError(f"more than {MAX_CHARS} characters")
    return ast.parse(text, _FROM)


def literal(text: str) -> Any:
    """The value of a literal, with the same errors, and TypeError for one that can't be made, such as {[]}."""
    (statement,) = parse(text.strip()).body
    if not isinstance(statement, ast.Expr):
        raise ValueError("it is not a literal")
    return ast.literal_eval(statement.value)
