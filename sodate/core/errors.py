"""Errors are part of the interface: what is wrong, where, and the way out."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

CODES: Mapping[str, str] = {
    "aborted": "a question was asked and input ended",
    "adapter-mismatch": "the adapter's tensors are not those of this model",
    "adapter-unsupported": "the adapter uses something that is not supported",
    "bad-grader": "the grader is unknown, or an option of it is wrong",
    "bad-header": "the header of a table names a column twice, or not at all",
    "bad-name": "the name can't be used here",
    "bad-pattern": "a regular expression does not compile",
    "bad-recipe": "the recipe is not YAML, or not keys with values",
    "bad-rules": "the file of rules has a key or value that is not understood",
    "bad-schema": "the file is no JSON Schema, or one that is not supported",
    "bad-value": "`param` has a value that it can't have",
    "busy": "there is no room for the request now; try again",
    "changed": "a file, model or template is not what it was when the run began",
    "damaged": "a file is cut off, or not what its name or hash says",
    "disk-full": "there is no space left to write",
    "diverged": "the loss is not a number any more",
    "encoding": "the file is in another encoding than UTF-8",
    "failed": "anything that has no code of its own",
    "file-missing": "a file is not there",
    "file-unreadable": "a file is there and can't be read",
    "forbidden": "the server does not answer this host or origin",
    "grader-failed": "a grader raised on a reply",
    "hub-refused": "the hub refused the model",
    "in-use": "another process, or a version, needs it",
    "interrupted": "stopped by Ctrl-C or SIGTERM",
    "missing-column": "no row has the column",
    "missing-key": "the recipe lacks a key that has no default",
    "mixed-rows": "the files hold different kinds of data",
    "model-gated": "the model's owner gives access on request",
    "model-not-found": "no model or version has this name",
    "model-not-pulled": "the model is known, and was not pulled yet",
    "model-unsupported": "the model's files or architecture can't be used",
    "no-network": "the network, or the package index, could not be reached",
    "no-rows": "the file has no row that can be used",
    "no-sandbox": "this machine offers no sandbox for graders that run code",
    "nothing-to-learn": "all rewards are the same",
    "out-of-memory": "memory ran out, or would",
    "pickle": "the weights are a pickle, which can run code",
    "remote-code": "the model asks to run code of its own",
    "run-not-found": "no run has this name",
    "template-broken": "the chat template breaks a law of rendering",
    "template-refused": "the chat template does not compile, or refused a row",
    "too-long": "prompt and reply are more tokens than the model takes",
    "unexpected": "a fault of sodate or of the machine",
    "unknown-format": "the rows or the file are in no format that is known",
    "unknown-key": "the recipe has a key that does not exist",
    "unknown-method": "there is no such training method",
    "unknown-template": "there is no built-in template of this name",
    "untrusted-reward": "the reward model was not shown to be worth learning from",
    "usage": "the command is wrong in a way that has no code of its own",
    "version-not-found": "no version has this name or number",
    "wrong-model": "the model is of another kind than the command needs",
    "wrong-rows": "the rows are of another kind than the command needs",
}
"""Every code of an error. Problems of rows have codes of their own, which an error about one row carries."""


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
        super().__init__(message)
        self.message = message
        self.fix = fix
        self.code = code or type(self).code
        self.param = param
        self.file = None if file is None else str(file)
        self.line = line

    def __str__(self) -> str:
        return f"{self.message}\n  {self.fix}" if self.fix else str(self.message)

    def to_json(self) -> dict[str, Any]:
        """The error as programs read it, its sentences in the reader's language."""
        return {
            "code": self.code, "message": str(self.message), "fix": str(self.fix), "param": self.param,
            "file": self.file, "line": self.line,
        }  # fmt: skip


class UsageError(SodateError):
    """The command or recipe itself is wrong: an unknown key, a value out of range, a file that is not there."""

    exit_code = 2
    code = "usage"
