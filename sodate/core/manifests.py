"""What lies on disk beside every artefact, as types. Each carries `schema_version`; older ones are read as they are.

A key that is not required may be missing: in files of an older sodate, or before a run comes that far.
"""

from __future__ import annotations

import os
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal, Required, TypedDict

from sodate.core.errors import SodateError
from sodate.core.files import read_json
from sodate.core.text import tr

SCHEMA_VERSION = 1  # raised when a reader of the old form would misread the new one

Status = Literal["running", "interrupted", "failed", "done", "no-gain"]


class RunManifest(TypedDict, total=False):
    """run.json"""

    schema_version: int
    run: str
    created_at: str
    ended_at: str
    status: Required[Status]
    recipe: dict[str, Any]  # as given, with absolute paths
    plan: dict[str, Any]  # as resolved
    decisions: list[dict[str, Any]]
    base: str
    start: dict[str, Any]  # model and adapter it began with
    renderer: str  # digest
    template_source: str
    template: dict[str, Any]
    date: str | None  # what the template was told of the day
    data: dict[str, Any]
    eval: dict[str, Any] | None
    code: str
    dtype: str
    threads: int
    processes: int
    rates: dict[str, Any]
    fit: dict[str, Any]  # what was chosen to stay within memory
    error: str
    result: dict[str, Any]


class VersionManifest(TypedDict, total=False):
    """version.json"""

    schema_version: int
    version: str
    created_at: str
    code: str
    run: str
    recipe: Required[dict[str, Any]]
    plan: dict[str, Any]
    base: Required[str]
    start: dict[str, Any]
    renderer: str
    template_source: str
    template: dict[str, Any]
    date: str | None  # what the template was told of the day
    data: Required[dict[str, Any]]
    eval: dict[str, Any] | None
    adapter: str
    report: dict[str, Any]
    merged: dict[str, Any]
    index: str  # the exact index that it answers from
    files: Required[dict[str, str]]  # SHA-256 by path


class ModelManifest(TypedDict, total=False):
    """sodate-model.json of a base model, without its folder, so that SODATE_HOME can be moved."""

    schema_version: int
    name: Required[str]
    source: Required[str]
    revision: Required[str]
    architecture: Required[str]
    parameters: Required[int]
    context_length: Required[int | None]  # tokens
    vocabulary: Required[int]  # ids of the tokenizer
    licence: Required[str | None]
    chat_template: Required[bool]
    pulled_at: Required[str]
    sha256: Required[dict[str, str]]  # by file name
    requested_revision: str | None
    fingerprint: str | None  # content of a local source


class IndexManifest(TypedDict, total=False):
    """index.json of an index of documents."""

    schema_version: int
    index: Required[str]
    created_at: str
    reader: Required[int]  # which reading of documents made the passages
    sources: Required[list[dict[str, Any]]]  # file, path, sha256, passages
    seen: dict[str, str | None]  # SHA-256 of every document that was looked at, read or set aside
    passages: Required[int]
    duplicates: int
    set_aside: list[dict[str, str]]  # file, code, message
    personal: dict[str, int]  # findings of personal data by kind
    weights: Required[dict[str, Any]]  # k1, b, titles
    encoder: dict[str, Any]  # what made its vectors: name, width; what BM25 (text) and cosine (vector) weigh
    sure: float  # the share below which the best passage answers nothing, as questions without an answer showed
    files: Required[dict[str, str]]  # SHA-256 by path


class DatasetManifest(TypedDict, total=False):
    """dataset.json of a version of a dataset"""

    schema_version: int
    dataset: Required[str]
    role: Required[str]  # training or held-out
    created_at: str
    by: str
    note: str | None
    format: Required[str]
    parent: str | None
    rows: Required[int]
    added: int
    changed: int
    removed: int
    rows_in: int  # given
    set_aside: dict[str, int]  # of those, by code
    sha256: Required[str]  # of rows.jsonl
    content: str  # of ids and examples, in whatever order
    licences: dict[str, int]
    consents: dict[str, int]
    sources: dict[str, int]


class DatasetUse(TypedDict):
    """A line of uses.jsonl of a held-out dataset."""

    schema_version: int
    at: str
    dataset: str
    what: str  # evaluation, validation or calibration
    about: str  # the report or run


class CycleStep(TypedDict):
    """A step of a cycle that is over."""

    name: str
    status: str  # done, nothing, skipped or stopped
    why: str
    at: str


class CycleManifest(TypedDict, total=False):
    """cycle.json of a month"""

    schema_version: int
    cycle: Required[str]
    month: Required[str]  # YYYY-MM
    created_at: str
    ended_at: str  # missing while it goes on
    steps: Required[list[CycleStep]]
    production: str | None  # what the alias meant when it began
    dataset_before: str | None
    held_out_before: str | None
    stock: dict[str, Any] | None
    set_aside: dict[str, dict[str, int]]  # by dataset and code
    dataset: str | None
    held_out: str | None
    new: dict[str, int]
    fresh_run: str
    continued_run: str
    fresh: str
    continued: str
    fresh_seconds: float | None
    continued_seconds: float | None
    measured: dict[str, Any]
    candidate: str
    verdict: str
    gate: dict[str, Any]
    promoted: bool


class TokensManifest(TypedDict, total=False):
    """index.json of a tokenised data set"""

    schema_version: int
    ids: Required[str]  # numpy's name of their type
    sizes: Required[dict[str, int]]  # bytes by file name
    sha256: Required[dict[str, str]]  # of the files whose ends decide what is read
    data: str  # hash of the examples in their order
    checked: dict[str, Any]  # ledger and statistics


class VectorsManifest(TypedDict, total=False):
    """index.json of the gradients that are kept of a run's rows"""

    schema_version: int
    rows: Required[int]
    bytes: Required[int]  # of a row
    sha256: Required[str]


class CheckpointManifest(TypedDict, total=False):
    """state.json of a checkpoint"""

    schema_version: int
    state: Required[dict[str, Any]]  # of the loop
    sha256: Required[dict[str, str]]  # of the state and of each file of tensors


class ResultManifest(TypedDict, total=False):
    """result.json of a report: what `eval --json` prints, and what was measured"""

    schema_version: int
    n: int
    independent: int
    cut_off: dict[str, int]
    notes: list[str]
    results: list[dict[str, Any]]
    comparisons: list[dict[str, Any]]
    measured: dict[str, str]  # version or model by the name it was asked for
    bytes: dict[str, str]  # what each of these is, as `release.lookup.identity` says
    data: dict[str, Any]  # the file, its SHA-256, and how many rows were taken where not all
    code: str
    replay: str  # the command that makes it again
    title: str  # of its page, where one was given
    asks: dict[str, list[str]]  # models that a grader asked
    judges: dict[str, dict[str, str]]  # and what each of these was
    looks: int
    contamination: dict[str, int | None]
    retention: list[dict[str, Any]]
    confidence: list[dict[str, Any]]
    seeds: list[dict[str, Any]]
    costs: dict[str, Any]


class Move(TypedDict, total=False):
    """A line of an alias's log.jsonl."""

    schema_version: int
    at: Required[str]
    alias: Required[str]
    kind: Required[str]  # promote or rollback; canary or abort, which leave what the alias means
    version: Required[str]  # what it means now; of a canary its version
    before: Required[str | None]
    by: str
    reason: str
    override: bool
    bytes: str  # what the version is, as `release.lookup.identity` says
    gate: str | None  # the record that let it pass
    canary: dict[str, float]  # its limits
    canary_version: str  # of an abort: what was aborted
    figures: dict[str, Any]  # of an abort: what both versions had done


class GateRecord(TypedDict, total=False):
    """gates/*.json"""

    schema_version: int
    at: Required[str]
    version: Required[str]
    bytes: Required[str]
    gate: Required[dict[str, str]]  # path and SHA-256
    looks: int
    passes: Required[bool]
    tiers: Required[list[dict[str, Any]]]
    measure: str  # the command that measures what was not; empty where all was


class Event(TypedDict):
    """A line of events.jsonl; what belongs to its kind stands beside these."""

    schema_version: int
    at: str
    kind: str


def read_manifest(path: Path) -> Any:
    """The document at `path`, of this form or an older one.

    Raises SodateError where it is missing or damaged, or where a newer sodate wrote it in a form not known here.
    """
    value = read_json(path)
    if not isinstance(value, dict):
        raise SodateError(tr(f"{path} is damaged.", f"{path} が壊れています。"), code="damaged", file=path)
    found = value.get("schema_version", 0)  # files of before carry none
    if not isinstance(found, int) or found > SCHEMA_VERSION:
        raise SodateError(
            tr(f"{path} was written by a newer sodate.", f"{path} は新しい版の sodate で書かれています。"),
            tr("Install that version, or a later one.", "その版か、より新しい版を入れてください。"),
            code="too_new",
            file=path,
        )
    return value


def read_kept(path: Path | str) -> Any:
    """As `read_manifest`, but a file that has not changed is read once: a thousand of them cost a thousand stats.

    Every file of ours is written under another name and renamed, so that a new content has a new inode. The document is
    shared: nobody may change it.
    """
    try:
        found = os.stat(path)  # noqa: PTH116 (ten times as quick as Path.stat where there are thousands)
    except OSError:
        return read_manifest(Path(path))
    return _kept(str(path), found.st_ino, found.st_mtime_ns, found.st_size)


@lru_cache(maxsize=8192)
def _kept(path: str, _inode: int, _time: int, _size: int) -> Any:
    return read_manifest(Path(path))
