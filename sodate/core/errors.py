"""Errors are part of the interface: what is wrong, where, and the way out."""

from __future__ import annotations

import traceback
from pathlib import Path
from typing import Any

from sodate.core.text import shortened

MAX_MESSAGE = 4000  # characters: what a file claims may stand in a sentence, and be as long as the file


class SodateError(Exception):
    """Something a person can mend. The command line prints it without a traceback and exits with `exit_code`.

    `message` says what is wrong and names the file, line or field; `fix` says what to do about it. Both are read in the
    reader's language if they were made by `tr`. `code` is for programs and stable: docs/errors.md lists them all.
    `param` is the key, option or field that is wrong, `file` and `line` (from 1) the place, where there is one.
    """

    exit_code = 1
    code = "failed"

    def __init__(
        self,
        message: str,
        fix: str = "",
        *,
        code: str | None = None,
        param: str | None = None,
        file: str | Path | None = None,
        line: int | None = None,
    ) -> None:
        message = shortened(message, MAX_MESSAGE)
        super().__init__(message)
        self.message = message
        self.fix = fix
        self.code = code or type(self).code
        self.param = param
        self.file = None if file is None else str(file)
        self.line = line

    def __str__(self) -> str:
        return f"{self.message}\n  {self.fix}" if self.fix else str(self.message)

    def in_one_line(self) -> str:
        """What is wrong and what to do, for where there is one line; after 「。」 stands no space."""
        message, fix = str(self.message), str(self.fix)
        return f"{message}{'' if message.endswith('。') else ' '}{fix}".rstrip()

    def to_json(self) -> dict[str, Any]:
        """The error as programs read it, its sentences in the reader's language."""
        return {
            "code": self.code, "message": str(self.message), "fix": str(self.fix), "param": self.param,
            "file": self.file, "line": self.line,
        }  # fmt: skip


def fault(error: BaseException) -> str:
    """The kind of an exception and the line it came from: what may be told of one that nobody foresaw, whose text may
    quote what somebody sent."""
    frames = traceback.extract_tb(error.__traceback__)
    place = f" at {Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else ""
    return type(error).__name__ + place


class UsageError(SodateError):
    """The command or recipe itself is wrong: an unknown key, a value out of range, a file that is not there."""

    exit_code = 2
    code = "usage"
