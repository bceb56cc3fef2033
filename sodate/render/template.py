"""Chat templates are programs from strangers: Jinja's sandbox, with caps on loops (its own), output, time and memory.

The sandbox removes attribute escapes (llama-cpp-python CVE-2024-34359, SGLang CVE-2026-5760 were its absence).
Memory is bounded by what a rendering makes: nothing is begun that could be too long, and all that was made is counted.
"""

from __future__ import annotations

import datetime
import functools
import io
import itertools
import json
import re
import sys
import threading
import time
from collections.abc import Callable, ItemsView, Iterable, Iterator, KeysView, Mapping, Sequence, ValuesView
from importlib import resources
from typing import Any

import jinja2
import jinja2.ext
import jinja2.nodes
import jinja2.sandbox
import jinja2.utils

from sodate.core.errors import SodateError
from sodate.core.text import en, ja, said_by, tr
from sodate.render import isolated
from sodate.render.code import Generation, Generator
from sodate.render.plain import is_plain, is_short

MAX_CHARS = 20_000_000  # of output
MAX_MADE = 10 * MAX_CHARS  # bytes made on the way to it, in all; an item of a list counts as 8
PIECE = 64  # bytes of a piece of output that waits in a macro or a block, its text apart
MAX_SECONDS = 20.0
MAX_ITEMS = 100_000  # of a list or a mapping
MAX_SOURCE = 1_000_000  # characters

_MANY = (list, tuple, dict, set, frozenset, KeysView, ValuesView, ItemsView)
_LINE_ENDS = "\n\r\v\f\x1c\x1d\x1e\x85\u2028\u2029"  # of str.splitlines
_MAX_BITS = 2**16  # of a number that is multiplied
_BORROWED_WIDTH = re.compile(r"%[-+ #0.\d]*\*|\{[^{}:]*:[^{}]*\{")  # %*d, {:{}}
# Methods of texts and numbers that can give much more than they are given.
_GROWING = {
    "center", "expandtabs", "format", "format_map", "join", "ljust", "replace", "rjust", "to_bytes", "translate",
    "zfill",
}  # fmt: skip
# Filters that hand on the values they are given, or less. All others make something of them, most of them a text.
_HANDING_ON = {
    "attr", "count", "d", "default", "dictsort", "first", "groupby", "items", "last", "length", "list", "map", "max",
    "min", "random", "reject", "rejectattr", "reverse", "select", "selectattr", "sort", "truncate", "unique",
}  # fmt: skip


class TemplateError(SodateError):
    """The chat template cannot be compiled, raised, or ran past its caps."""

    code = "template_refused"


class _Account(threading.local):
    """What one render may still take: of each thread its own, so that two renders never share one."""

    date: datetime.date | None = None  # that strftime_now tells; None is today
    deadline = 0.0
    left = 0  # bytes that may still be made; none while compiling, so that no constant is folded into a long one

    def charge(self, bytes: int) -> None:
        self.left -= bytes
        if self.left < 0:
            raise _too_much()


class _Pieces(list[str]):
    """What a macro or a block has written so far, piece by piece on the account: many small ones are large."""

    def __init__(self, account: _Account) -> None:
        super().__init__()
        self.account = account

    def append(self, piece: str) -> None:
        self.account.charge(PIECE)
        super().append(piece)

    def extend(self, pieces: Iterable[str]) -> None:
        for piece in pieces:
            self.append(piece)


class _Sandbox(jinja2.sandbox.ImmutableSandboxedEnvironment):
    intercepted_binops = frozenset({"*", "**", "%"})
    code_generator_class = Generator

    def __init__(self) -> None:
        super().__init__(
            trim_blocks=True, lstrip_blocks=True, extensions=[Generation, jinja2.ext.loopcontrols], autoescape=False
        )
        self.account = _Account()
        self.finalize = self.text
        self.filters = {name: self._watched(name, one) for name, one in {**self.filters, "tojson": self.tojson}.items()}
        self.globals.update(raise_exception=_raise_exception, strftime_now=self.strftime_now, __ticking=self.ticking)
        del self.globals["lipsum"]  # makes as much as it is told to

    def _parse(self, source: str, name: str | None, filename: str | None) -> jinja2.nodes.Template:
        """Every loop goes through `ticking`, so that one without output can't run past the deadline either."""
        tree = super()._parse(source, name, filename)
        for loop in list(tree.find_all(jinja2.nodes.For)):
            ticking = jinja2.nodes.Name("__ticking", "load", lineno=loop.lineno)
            loop.iter = jinja2.nodes.Call(ticking, [loop.iter], [], None, None, lineno=loop.lineno)
        tree.set_environment(self)
        return tree

    def ticking(self, items: Iterable[Any]) -> Iterator[Any]:
        return map(self.in_time, items)

    def in_time(self, value: Any) -> Any:
        """`value`, if there is still time."""
        if time.monotonic() > self.account.deadline:
            raise _too_long()
        return value

    def pieces(self) -> list[str]:
        return _Pieces(self.account)

    def size(self, value: Any) -> int:
        """How long `value` is as text, about: a list that holds another many times over is longer than it looks."""
        size = 0
        waiting: list[Any] = [value]
        while waiting:
            one = waiting.pop()
            if isinstance(one, dict):
                one = (*one, *one.values())
            if isinstance(one, str):
                size += len(one)
            elif isinstance(one, _MANY):
                waiting += one
                size += 64 * len(one)  # much more than brackets and commas are, for the time it takes to look at them
                if size > MAX_MADE:
                    raise _too_much()
            elif isinstance(one, jinja2.utils.Namespace):
                raise _refused(tr("a namespace is not text", "namespace は文字列になりません"))
            else:
                size += 8
        return size

    def ahead(self, name: str, value: Any, others: Sequence[Any], named: Mapping[str, Any]) -> None:
        """Refuses a method, filter or operator on `value` that could give too much, before it does."""
        if name == "replace" and not named:
            old, new = (self.text(one) for one in others[:2])
            most = self.text(value).count(old) * len(new)
        elif name in ("%", "format", "format_map"):
            form = self.text(value)
            if _BORROWED_WIDTH.search(re.sub(r"%%|{{|}}", "", form)):
                raise _refused(tr("a format takes a width from a value", "書式の幅に値は使えません"))
            widths = sum(map(int, re.findall(r"\d+", form)))
            most = (form.count("%") + form.count("{")) * (widths + self.size([others, named]))
        else:  # at most a text for each character (`join`), or a number of spaces for each (`indent`)
            given = (*others, *named.values())
            rest = sum(max(one, 0) if isinstance(one, int) else self.size(one) for one in given)
            most = (1 + self.size(value)) * (1 + rest)
        wide = any(isinstance(one, str) and not one.isascii() for one in (value, *others, *named.values()))
        if most * (4 if wide else 1) > MAX_MADE:
            raise _too_much()

    def counted(self, value: Any) -> Any:
        """`value`, on the account of this rendering."""
        if isinstance(value, str):
            self.account.charge(len(value) if value.isascii() else sys.getsizeof(value))
        elif isinstance(value, _MANY):
            if len(value) > MAX_ITEMS:
                raise _too_many()
            self.account.charge(8 * len(value))
        elif isinstance(value, Iterator):  # of a filter: what comes out of it may take long each time
            return self.ticking(value)
        return value

    def added(self, terms: Sequence[Any]) -> Any:
        """`a + b + c`. Texts are put together at once: every sum on the way would be another text."""
        if all(type(one) is str for one in terms):
            if sum(map(len, terms)) > self.account.left:
                raise _too_much()
            return self.counted("".join(terms))
        total = terms[0]
        for one in terms[1:]:
            total = self.counted(total + one)
        return total

    def text(self, value: Any) -> str:
        """`value` as `{{ }}` and `~` write it."""
        if not isinstance(value, str):
            self.size(value)
        return str(value)

    def concat(self, pieces: Iterable[str]) -> str:
        """What a macro, a block or `~` gives."""
        return "".join([self.counted(piece) for piece in pieces])

    def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
        if operator == "*":
            for one, times in ((left, right), (right, left)):
                if isinstance(one, (str, *_MANY)):
                    self.ahead("*", one, [times], {})
                elif isinstance(one, int) and one.bit_length() > _MAX_BITS:
                    raise _refused(tr("a number too large", "数が大きすぎます"))
        elif operator == "%" and isinstance(left, str):
            self.ahead("%", left, [right], {})
        elif operator == "**" and (abs(left) > 2**16 or right > 16):
            raise _refused(tr("a power too large", "べき乗が大きすぎます"))
        return self.counted(super().call_binop(context, operator, left, right))

    def call(self, context: Any, obj: Any, /, *args: Any, **kwargs: Any) -> Any:
        self.in_time(obj)
        value = getattr(obj, "__self__", None)
        if value is None:  # str.format comes wrapped by the sandbox
            value = getattr(getattr(obj, "__wrapped__", None), "__self__", None)
        if isinstance(value, (str, int)) and obj.__name__ in _GROWING:
            if obj.__name__ == "join":
                args = tuple(map(_some, args))
            named = {key: one for key, one in kwargs.items() if key not in ("_loop_vars", "_block_vars")}  # Jinja's own
            self.ahead(obj.__name__, value, args, named)
        elif isinstance(value, str) and obj.__name__ in ("split", "rsplit"):
            given: list[Any] = [*args, *(None, -1)[len(args) :]]
            separator, most = kwargs.pop("sep", given[0]), kwargs.pop("maxsplit", given[1])
            args = (separator, MAX_ITEMS if most < 0 else min(most, MAX_ITEMS), *args[2:])
        elif isinstance(value, str) and obj.__name__ == "splitlines" and sum(map(value.count, _LINE_ENDS)) > MAX_ITEMS:
            raise _too_many()
        return self.counted(super().call(context, obj, *args, **kwargs))

    def _watched(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """The filter with what it makes counted and, where that may be too much, refused ahead."""
        if name == "list":
            function = _some
        if name in _HANDING_ON:
            return functools.wraps(function)(lambda *args, **kwargs: self.counted(function(*args, **kwargs)))
        at = 1 if hasattr(function, "jinja_pass_arg") else 0  # behind Jinja's own argument

        @functools.wraps(function)
        def run(*args: Any, **kwargs: Any) -> Any:
            if name in ("join", "sum"):  # a generator's items can be counted only once they are there
                args = (*args[:at], _some(args[at]), *args[at + 1 :])
            if kwargs or len(args) > at + 1 or not isinstance(args[at], str):
                self.ahead(name, args[at], args[at + 1 :], kwargs)
            return self.counted(function(*args, **kwargs))

        return run

    def strftime_now(self, form: str) -> str:
        """The pinned day, at its beginning: a time of day would be another prompt with every request."""
        if 256 * len(form) > MAX_MADE:  # strftime gives no more than that
            raise _too_much()
        day = self.account.date or datetime.date.today()
        return datetime.datetime(day.year, day.month, day.day).strftime(form)

    def tojson(self, value: Any, ensure_ascii: bool = False, indent: int | None = None, **kwargs: Any) -> str:
        """Not Jinja's own filter: that one escapes HTML, and templates are trained on plain JSON."""
        encoder = json.JSONEncoder(ensure_ascii=ensure_ascii, indent=indent, **kwargs)
        # Indented, each line may be as deep as it likes: counted piece by piece.
        return encoder.encode(value) if indent is None else self.concat(encoder.iterencode(value))


def _refused(why: str) -> jinja2.TemplateRuntimeError:
    return jinja2.TemplateRuntimeError(why)


def _too_much() -> jinja2.TemplateRuntimeError:
    return _refused(tr(f"it makes texts of over {MAX_MADE} bytes", f"{MAX_MADE} バイトを超える文字列を作ります"))


def _too_many() -> jinja2.TemplateRuntimeError:
    return _refused(tr(f"a list of over {MAX_ITEMS} items", f"{MAX_ITEMS} 個を超えるリスト"))


def _some(items: Iterable[Any]) -> list[Any]:
    """The items as a list, as far as it may be one."""
    some = list(itertools.islice(items, MAX_ITEMS + 1))
    if len(some) > MAX_ITEMS:
        raise _too_many()
    return some


def _too_long() -> jinja2.TemplateRuntimeError:
    return _refused(tr(f"it ran longer than {MAX_SECONDS:.0f} s", f"{MAX_SECONDS:.0f} 秒を超えました"))


def _raise_exception(message: str) -> None:
    raise jinja2.TemplateError(message)


def _why(error: Exception) -> str:
    if isinstance(error, RecursionError):
        return tr("it calls itself without end, or is nested too deep", "再帰が終わらないか、入れ子が深すぎます")
    if isinstance(error, MemoryError):
        return tr("it needs more memory than there is", "メモリが足りません")
    return said_by(error)


Render = Callable[..., str]
"""(the day that strftime_now tells, or None for today; Jinja variables by name) → text, or TemplateError."""


@functools.lru_cache(maxsize=32)
def compile_template(source: str) -> Render:
    """A function from Jinja variables to text. Raises TemplateError when the source does not compile.

    A plain template (`sodate/render/plain.py`) is rendered here, any other by a process with limits.
    """
    if len(source) > MAX_SOURCE:
        raise TemplateError(
            tr(f"The chat template has over {MAX_SOURCE} characters.",
               f"チャットテンプレートが {MAX_SOURCE} 文字を超えています。")
        )  # fmt: skip
    if is_short(source) and _is_plain(source):
        return compile_here(source)
    _ask(source, None, None)  # what it says of a source that does not compile

    def render(date: datetime.date | None = None, /, **variables: Any) -> str:
        return _ask(source, date, variables)

    return render


def _is_plain(source: str) -> bool:
    try:
        tree = jinja2.Environment(extensions=[Generation, jinja2.ext.loopcontrols]).parse(source)
        return is_plain(tree, source)
    except Exception as error:
        raise _no_template(error) from None


def _ask(source: str, date: datetime.date | None, variables: Mapping[str, Any] | None) -> str:
    """What another process makes of a template; it only compiles it where there are no variables."""
    limits = {"MAX_CHARS": MAX_CHARS, "MAX_MADE": MAX_MADE, "MAX_SECONDS": MAX_SECONDS}
    request = {"source": source, "date": date and date.isoformat(), "variables": variables, "limits": limits}
    try:
        answer = isolated.ask(request, MAX_SECONDS)
    except isolated.Ended as ended:
        raise _refused_by(_too_long() if ended.late else MemoryError()) from None
    if "refused" in answer:
        raise TemplateError(tr(*answer["refused"]))
    text: str = answer["text"]
    return text


@functools.lru_cache(maxsize=32)
def compile_here(source: str) -> Render:
    """As `compile_template`, with every render in this process."""
    environment = _Sandbox()
    try:
        template = environment.from_string(source)
    except Exception as error:  # Jinja parses it, Python compiles the result; each fails in its own ways
        raise _no_template(error) from None

    def render(date: datetime.date | None = None, /, **variables: Any) -> str:
        environment.account.date = date
        environment.account.deadline = time.monotonic() + MAX_SECONDS
        environment.account.left = MAX_MADE
        written = io.StringIO()
        size = 0
        try:
            for piece in template.generate(**variables):
                written.write(piece)
                size += len(piece)
                environment.in_time(piece)
                if size > MAX_CHARS:
                    raise _refused(tr(f"output over {MAX_CHARS} characters", f"出力が {MAX_CHARS} 文字を超えました"))
        except Exception as error:  # whatever a stranger's program raises is its own fault
            raise _refused_by(error) from None
        return written.getvalue()

    return render


def _no_template(error: Exception) -> TemplateError:
    why = _why(error)
    return TemplateError(
        tr(f"The chat template does not compile: {en(why)}.", f"チャットテンプレートを解釈できません: {ja(why)}")
    )


def _refused_by(error: Exception) -> TemplateError:
    why = _why(error)
    return TemplateError(
        tr(f"The chat template refused: {en(why)}.", f"チャットテンプレートがエラーを返しました: {ja(why)}")
    )


def built_in(name: str) -> str:
    """The text of one of the templates shipped here: gemma, chatml, llama3 or plain."""
    return resources.files("sodate.render").joinpath("templates", f"{name}.jinja").read_text("utf-8")
