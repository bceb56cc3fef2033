"""How a command ends: its exit status, and what it says when it fails, to a person on stderr or as JSON on stdout.

0 done · 1 no · 2 the command, recipe or a file's name is wrong · 130 stopped by Ctrl-C
"""

from __future__ import annotations

import contextlib
import errno
import json
import math
import os
import sys
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TextIO

import typer
from typer.exceptions import TyperException

from sodate.cli.parser_words import said
from sodate.core.errors import SodateError, UsageError
from sodate.core.paths import near, refusal
from sodate.core.text import en, ja, json_text, tr, visible

# What is wrong with a path that somebody gave, not with sodate.
_OF_A_PATH = {
    errno.ENOENT, errno.EISDIR, errno.ENOTDIR, errno.EACCES, errno.EPERM, errno.EROFS, errno.ENAMETOOLONG, errno.ELOOP,
}  # fmt: skip
_MISSING = ("file_missing", "file_unreadable", "bad_path")  # codes of errors about a path
_results: TextIO | None = None  # where the one JSON document goes, while everything else goes to stderr


class Unexpected(SodateError):
    """A fault of ours, or of the machine."""

    code = "unexpected"


class Stopped(SodateError):
    """Ctrl-C, where there was nothing to keep."""

    exit_code = 130
    code = "interrupted"


def print_json(value: Any) -> None:
    """One JSON document: numbers that JSON can't carry are null, characters that stdout can't carry are escaped."""
    out = _results or sys.stdout
    value = _plain(value)
    text = json_text(value, allow_nan=False)
    try:
        text.encode(out.encoding or "utf-8")
    except UnicodeEncodeError:
        text = json.dumps(value, allow_nan=False)
    print(text, file=out, flush=True)


def run(app: Callable[..., Any], words: list[str]) -> int:
    """Runs the command and returns its exit status. With --json a failure is `{"error": {...}}`, alone on stdout."""
    as_json = "--json" in words and "--help" not in words
    with _json_alone() if as_json else contextlib.nullcontext():
        try:
            status = app(words, prog_name="sodate", standalone_mode=False) or 0
            if status != Stopped.exit_code:
                return int(status)
            error: SodateError = _stopped()
        except BrokenPipeError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), (_results or sys.stdout).fileno())
            return 1
        except (Exception, KeyboardInterrupt) as raised:
            if os.environ.get("SODATE_DEBUG"):
                traceback.print_exc()
            if type(raised).__name__ == "NoArgsIsHelpError" and not as_json:
                print(raised, file=sys.stderr)
                return 2
            error = _beside(_as_error(raised))
        if as_json:
            with contextlib.suppress(BrokenPipeError):
                print_json({"error": error.to_json()})
        print(visible(f"sodate: {error}"), file=sys.stderr)
        return error.exit_code


@contextlib.contextmanager
def _json_alone() -> Iterator[None]:
    """stdout is kept for `print_json`: whatever a library prints goes to stderr."""
    global _results
    _results = sys.stdout
    try:
        with contextlib.redirect_stdout(sys.stderr):
            yield
    finally:
        _results = None


def _as_error(raised: BaseException) -> SodateError:
    if isinstance(raised, SodateError):
        return raised
    if isinstance(raised, KeyboardInterrupt):
        return _stopped()
    if isinstance(raised, typer.Abort):
        return SodateError(tr("Nothing was answered.", "入力がありませんでした。"), code="aborted")
    if isinstance(raised, TyperException):
        return _usage(raised)
    if isinstance(raised, OSError) and raised.filename is not None and raised.errno in _OF_A_PATH:
        path = os.fsdecode(raised.filename2 or raised.filename)
        why = refusal(raised)
        return UsageError(
            tr(f"{path} can't be used: {en(why)}.", f"{path} を使えません: {ja(why)}"),
            tr("Check the path, and what stands there.", "パスと、その場所にあるものを確かめてください。"),
            code="bad_path", file=path,
        )  # fmt: skip
    kind = type(raised).__name__
    return Unexpected(
        tr(f"unexpected {kind}: {raised}", f"予期しないエラー {kind}: {raised}"),
        tr(
            "Run again with `sodate --debug …` for the traceback.", "詳しくは `sodate --debug …` で実行してください。"
        ),
    )  # fmt: skip


def _beside(error: SodateError) -> SodateError:
    """Of a file that is not there, the one beside it with nearly that name. The command line alone says it: who
    asks a server is not told what lies in its folders."""
    if error.file and error.code in _MISSING and not Path(error.file).exists():
        if like := near(error.file):
            hint = tr(f"Did you mean {like}?", f"{like} のことですか?")
            error.fix = tr(f"{en(hint)} {en(error.fix)}".rstrip(), f"{ja(hint)} {ja(error.fix)}".rstrip())
        elif not error.fix:
            error.fix = tr("Check the path.", "パスを確かめてください。")
    return error


def _stopped() -> SodateError:
    return Stopped(tr("stopped.", "中断しました。"))


def _usage(raised: Any) -> UsageError:
    """What the parser says, with the command whose help explains it."""
    option = getattr(raised, "param", None)
    param = getattr(raised, "option_name", None) or (option.opts[0] if option else None)
    english = raised.format_message().replace("Value error, ", "")
    japanese = said(english)
    if type(raised).__name__ == "MissingParameter":
        japanese = f"{param} を指定してください。"
    command = raised.ctx.command_path if raised.ctx else "sodate"
    return UsageError(tr(english, japanese), f"{command} --help", param=param)


def _plain(value: Any) -> Any:
    """The value as JSON has it: paths and sentences as text, no NaN and no infinity."""
    if isinstance(value, dict):
        return {str(key): _plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return str(value) if isinstance(value, str | Path) else value
