"""Errors are part of the interface: what is wrong, where, and the way out."""

from __future__ import annotations


class SodateError(Exception):
    """Something a person can mend. The command line prints it without a traceback and exits with `exit_code`.

    `message` says what is wrong and names the file, line or field; `fix` says what to do about it.
    """

    exit_code = 1

    def __init__(self, message: str, fix: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.fix = fix

    def __str__(self) -> str:
        return f"{self.message}\n  {self.fix}" if self.fix else self.message


class UsageError(SodateError):
    """The command or recipe itself is wrong: an unknown key, a value out of range, a file that is not there."""

    exit_code = 2
