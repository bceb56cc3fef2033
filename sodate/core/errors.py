"""Errors are part of the interface: what is wrong, where, and the way out."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

CODES: Mapping[str, str] = {
    "aborted": "a question was asked and input ended",
    "adapter_mismatch": "the adapter's tensors are not those of this model",
    "adapter_unsupported": "the adapter uses something that is not supported",
    "address_unavailable": "the server cannot listen on this host and port",
    "alias_not_found": "no alias has this name",
    "bad_gate": "the gate has a key or value that is not understood",
    "bad_grader": "the grader is unknown, or an option of it is wrong",
    "bad_header": "the header of a table is not text, or names no column",
    "bad_name": "the name can't be used here",
    "bad_pattern": "a regular expression does not compile",
    "bad_recipe": "the recipe is not YAML, or not keys with values",
    "bad_reference": "a row's reference or tests are missing, or the grader can't read them",
    "bad_rules": "the file of rules has a key or value that is not understood",
    "bad_schema": "not a JSON Schema, or one that is not supported",
    "bad_value": "`param` has a value that it can't have",
    "busy": "there is no room for the request now; try again",
    "changed": "a file, model or template is not what it was when the run began",
    "constraint_unsupported": "a schema, expression or choice that replies can't be held to",
    "context_length_exceeded": "prompt and reply are more tokens than the model takes at once",
    "damaged": "a file is cut off, or not what its name or hash says",
    "database_unreachable": "the database cannot be opened",
    "disk_full": "there is no space left to write",
    "diverged": "the loss is not a number any more",
    "empty_file": "the uploaded file has no bytes",
    "encoding": "the file is in another encoding than UTF-8",
    "engine_failed": "the engine failed while it answered",
    "engine_refused": "the engine can't do what was asked",
    "export_differs": "the exported files do not answer as the version does; the sentence says in what",
    "export_unsupported": "the version can't be exported in this form",
    "extra_missing": "packages of an optional part are not installed",
    "failed": "anything that has no code of its own",
    "file_missing": "a file is not there",
    "file_unreadable": "a file is there and can't be read",
    "gate_not_passed": "the version did not pass the gate, or was not held against one",
    "grader_failed": "a grader raised on a reply",
    "hub_refused": "the hub refused the model",
    "in_use": "another process, or a version, needs it",
    "interrupted": "stopped by Ctrl-C or SIGTERM",
    "invalid_file_format": "the file is not of the format that its purpose needs",
    "invalid_line": "a line of an uploaded file is no JSON object",
    "invalid_prompt": "the prompt has no tokens, or some that the model does not know",
    "invalid_schema": "the schema that a reply has to follow is not a JSON Schema",
    "invalid_value": "a field of a request has a value that it can't have",
    "key_missing": "others could reach the server, and it has no key yet",
    "key_not_found": "no key has this id",
    "missing_column": "no row has the column",
    "missing_key": "the recipe lacks a key that has no default",
    "mixed_rows": "the files hold different kinds of data",
    "model_gated": "the model's owner gives access on request",
    "model_not_found": "no model or version has this name",
    "model_not_pulled": "the model is known, and was not pulled yet",
    "model_unsupported": "the model's files or architecture can't be used",
    "no_network": "the network, or the package index, could not be reached",
    "no_rows": "the file has no row that can be used",
    "no_sandbox": "this machine offers no sandbox for graders that run code",
    "not_found": "the project has nothing of this id",
    "nothing_to_learn": "all rewards are the same",
    "nothing_to_roll_back": "the alias meant no other version before",
    "out_of_memory": "memory ran out, or would",
    "pickle": "the weights are a pickle, which can run code",
    "quota_exceeded": "the project has as many files or jobs as it may have",
    "rate_limit_exceeded": "too many requests; try again later",
    "remote_code": "the model asks to run code of its own",
    "request_too_large": "more was sent than is taken",
    "run_not_found": "no run has this name",
    "schema_violation": "the reply does not follow the schema",
    "shutting_down": "the server is ending",
    "slow_reader": "the client took its reply too slowly",
    "template_broken": "the chat template breaks a law of rendering",
    "template_refused": "the chat template does not compile, or refused a row",
    "too_long": "prompt and reply are more tokens than the model takes",
    "too_new": "the file was written by a newer sodate, in a form not known here",
    "unexpected": "a fault of sodate or of the machine",
    "unknown_format": "the rows or the file are in no format that is known",
    "unknown_key": "the recipe has a key that does not exist",
    "unknown_method": "there is no such training method",
    "unknown_template": "there is no built-in template of this name",
    "unknown_version": "the engine was not given this version",
    "unsupported_schema": "the schema uses something that replies can't be held to",
    "untrusted_reward": "the reward model was not shown to be worth learning from",
    "usage": "the command is wrong in a way that has no code of its own",
    "version_alone": "the version's adapter can't share a base with others",
    "version_not_found": "no version has this name or number",
    "wrong_model": "the model is of another kind than the command needs",
    "wrong_rows": "the rows are of another kind than the command needs",
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
