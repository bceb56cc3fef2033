"""Chat templates are programs from strangers: Jinja's sandbox, with caps on loops (its own), output and time.

The sandbox removes attribute escapes (llama-cpp-python CVE-2024-34359, SGLang CVE-2026-5760 were its absence).
"""

from __future__ import annotations

import datetime
import functools
import json
import time
from collections.abc import Callable, Iterable, Iterator
from importlib import resources
from typing import Any

import jinja2
import jinja2.ext
import jinja2.nodes
import jinja2.parser
import jinja2.sandbox

from sodate.core.errors import SodateError
from sodate.core.text import tr

MAX_CHARS = 20_000_000
MAX_SECONDS = 20.0


class TemplateError(SodateError):
    """The chat template cannot be compiled, raised, or ran past its caps."""


class _Generation(jinja2.ext.Extension):
    """Accepts `{% generation %}…{% endgeneration %}`. Masks here come from structure, so the tag changes nothing."""

    tags = {"generation"}  # noqa: RUF012 (Jinja's own protocol)

    def parse(self, parser: jinja2.parser.Parser) -> list[jinja2.nodes.Node]:
        next(parser.stream)
        return list(parser.parse_statements(("name:endgeneration",), drop_needle=True))


class _Sandbox(jinja2.sandbox.ImmutableSandboxedEnvironment):
    deadline = 0.0
    intercepted_binops = frozenset({"*", "**"})

    def _parse(self, source: str, name: str | None, filename: str | None) -> jinja2.nodes.Template:
        """Every loop goes through `ticking`, so that one without output can't run past the deadline either."""
        tree = super()._parse(source, name, filename)
        for loop in list(tree.find_all(jinja2.nodes.For)):
            ticking = jinja2.nodes.Name("__ticking", "load", lineno=loop.lineno)
            loop.iter = jinja2.nodes.Call(ticking, [loop.iter], [], None, None, lineno=loop.lineno)
        tree.set_environment(self)
        return tree

    def ticking(self, items: Iterable[Any]) -> Iterator[Any]:
        for item in items:
            if time.monotonic() > self.deadline:
                raise jinja2.TemplateRuntimeError(f"it ran longer than {MAX_SECONDS:.0f} s")
            yield item

    def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
        """Repetition and powers bounded in size before they are made."""
        for text, times in ((left, right), (right, left)):
            if operator == "*" and hasattr(text, "__len__") and len(text) * times > MAX_CHARS:
                raise jinja2.TemplateRuntimeError(f"a text of over {MAX_CHARS} characters")
        if operator == "**" and (abs(left) > 2**16 or right > 16):
            raise jinja2.TemplateRuntimeError("a power too large")
        return super().call_binop(context, operator, left, right)

    def call(self, context: Any, obj: Any, *args: Any, **kwargs: Any) -> Any:
        if time.monotonic() > self.deadline:
            raise jinja2.TemplateRuntimeError("time")
        return super().call(context, obj, *args, **kwargs)


def _tojson(value: Any, ensure_ascii: bool = False, indent: int | None = None, **kwargs: Any) -> str:
    # Not Jinja's own filter: that one escapes HTML, and templates are trained on plain JSON.
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, **kwargs)


def _raise_exception(message: str) -> None:
    raise jinja2.TemplateError(message)


def _strftime_now(form: str) -> str:
    return datetime.datetime.now().strftime(form)


@functools.lru_cache(maxsize=32)
def compile_template(source: str) -> Callable[..., str]:
    """A function from Jinja variables to text. Raises TemplateError when the source does not compile."""
    environment = _Sandbox(
        trim_blocks=True, lstrip_blocks=True, extensions=[_Generation, jinja2.ext.loopcontrols], autoescape=False
    )
    environment.filters["tojson"] = _tojson
    environment.globals.update(
        raise_exception=_raise_exception, strftime_now=_strftime_now, __ticking=environment.ticking
    )
    try:
        template = environment.from_string(source)
    except jinja2.TemplateError as error:
        raise TemplateError(
            tr(f"The chat template does not compile: {error}.", f"チャットテンプレートを解釈できません: {error}")
        ) from None

    def render(**variables: Any) -> str:
        environment.deadline = time.monotonic() + MAX_SECONDS
        pieces: list[str] = []
        size = 0
        try:
            for piece in template.generate(**variables):
                pieces.append(piece)
                size += len(piece)
                if size > MAX_CHARS or time.monotonic() > environment.deadline:
                    raise jinja2.TemplateRuntimeError(f"output over {MAX_CHARS} characters or {MAX_SECONDS:.0f} s")
        except (jinja2.TemplateError, TypeError, KeyError, AttributeError, ValueError, OverflowError) as error:
            raise TemplateError(
                tr(f"The chat template refused: {error}.", f"チャットテンプレートがエラーを返しました: {error}")
            ) from None
        return "".join(pieces)

    return render


def built_in(name: str) -> str:
    """The text of one of the templates shipped here: gemma, chatml, llama3 or plain."""
    return resources.files("sodate.render").joinpath("templates", f"{name}.jinja").read_text("utf-8")
