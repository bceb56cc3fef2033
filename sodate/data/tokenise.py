"""Files that were checked and rendered once: the next run over the same ones maps what the first one made.

An entry lies in SODATE_HOME/cache/tokens, under a key of everything that decides what is in it: names and contents of
the files, the renderer, the options of the check, the method, and the code. A change in any of them is another key, so
that nothing can be stale (axolotl PR 1136 was a cache that forgot the template). The day that a template prints is
part of the renderer.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import os
import shutil
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from sodate.core import files as disk
from sodate.core import home
from sodate.core.errors import SodateError
from sodate.core.files import sha256_file, sha256_json
from sodate.core.text import Sentence, tr
from sodate.data.check import Checked, changed, check, stamp_of
from sodate.data.examples import Fingerprint, ParsedRow
from sodate.data.ledger import Ledger, Lines, Problem
from sodate.data.measure import Measure, Measured
from sodate.data.tokens import TokenRows, Writer
from sodate.render.renderer import Renderer

MAX_BYTES = 20 << 30  # of all entries; beyond it the ones that were not used for longest go


@dataclass(frozen=True, slots=True)
class TokenisedData:
    """A data set ready for training: its ledger, the hash of its examples, and its rows."""

    checked: Checked
    sha256: str
    rows: TokenRows


def tokenise(
    files: Sequence[Path],
    *,
    renderer: Renderer,
    measure: Measure,
    method: str,
    against: Path | None = None,
    columns: Mapping[str, str] | None = None,
    encoding: str | None = None,
    max_length: int | None = None,
) -> TokenisedData:
    """What `check` says of these files, and their rows as `measure`, named by `method`, renders them.

    Two processes that ask for the same wait for each other. Raises what `check` raises, SodateError for a full disk.
    """
    sources = [*files, *([against] if against else [])]
    stamps = tuple(stamp_of(path) for path in sources)
    key = sha256_json({
        "files": [[str(path), sha256_file(path)] for path in sources],
        "against": against is not None,
        "renderer": renderer.digest,
        "method": method,
        "options": [dict(columns or {}), encoding, max_length],
        "code": code_digest(),
    })[:32]  # fmt: skip
    root = home.cache_dir() / "tokens"
    folder = root / key
    with _locked(root, key, wait=True):
        rows = _opened(folder)
        if rows is None:
            shutil.rmtree(folder, ignore_errors=True)
            _sweep(root, key)
            with disk.atomic_folder(folder) as stage, ExitStack() as stack:
                writer = Writer(stage, stack, vocabulary=renderer.tokenizer.get_vocab_size())
                numbers = {str(path): number for number, path in enumerate(files)}
                examples = Fingerprint()

                def keep(row: ParsedRow, found: Measured) -> None:
                    examples.add(row.example)
                    for sequences in found.rows:
                        writer.add(sequences, numbers[row.row.file], row.row.line)

                checked = check(
                    files, against=against, renderer=renderer, columns=columns, encoding=encoding,
                    max_length=max_length, measure=measure, keep=keep,
                )  # fmt: skip
                for path, stamp in zip(sources, stamps, strict=True):
                    if stamp_of(path) != stamp:
                        raise changed(path)
                writer.close({"data": examples.hexdigest(), "checked": _to_json(checked)})
            rows = TokenRows(folder)
            _trim(root, key)
        os.utime(folder)
    checked = _from_json(rows.about["checked"], files, stamps[: len(files)], columns, encoding)
    return TokenisedData(checked, rows.about["data"], rows)


def _opened(folder: Path) -> TokenRows | None:
    """The rows of an entry; None where there is none, or a damaged one."""
    try:
        return TokenRows(folder)
    except (SodateError, KeyError, TypeError, ValueError):
        return None


@functools.cache
def code_digest() -> str:
    """SHA-256 of this package's sources and of the versions of the libraries that make token ids."""
    digest = hashlib.sha256()
    package = Path(__file__).parents[1]
    for file in sorted(f for suffix in ("py", "jinja") for f in package.rglob(f"*.{suffix}")):
        digest.update(f"{file.relative_to(package)}\0".encode() + file.read_bytes())
    digest.update("".join(f"{name} {metadata.version(name)}" for name in ("tokenizers", "jinja2")).encode())
    return digest.hexdigest()


def _locked(root: Path, key: str, *, wait: bool) -> contextlib.AbstractContextManager[None]:
    return disk.lock(root / f".{key}.lock", tr("the token cache", "トークンのキャッシュ"), wait=wait)


def _sweep(root: Path, key: str) -> None:
    """Removes what killed writers of this entry left. Call only while holding its lock."""
    for leftover in root.glob(f".{key}.*.tmp"):
        shutil.rmtree(leftover, ignore_errors=True)


def _trim(root: Path, kept: str) -> None:
    """Keeps the cache below MAX_BYTES. A process that has a removed entry open goes on reading it."""
    for leftover in {path.name.split(".")[1] for path in root.glob(".*.tmp")} - {kept}:
        with contextlib.suppress(SodateError), _locked(root, leftover, wait=False):
            _sweep(root, leftover)
    entries = sorted((path for path in root.iterdir() if path.is_dir() and path.name[0] != "."), key=_used_at)
    total = sum(file.stat().st_size for entry in entries for file in entry.iterdir())
    for entry in entries:
        if total <= MAX_BYTES:
            return
        if entry.name != kept:
            with contextlib.suppress(SodateError), _locked(root, entry.name, wait=False):
                total -= sum(file.stat().st_size for file in entry.iterdir())
                shutil.rmtree(entry, ignore_errors=True)


def _used_at(entry: Path) -> float:
    return entry.stat().st_mtime


def _to_json(checked: Checked) -> dict[str, Any]:
    ledger = checked.ledger
    return {
        "format": checked.format,
        "stats": checked.stats,
        "rows_in": ledger.rows_in,
        "rows_used": ledger.rows_used,
        "problems": [
            [p.file, p.line, p.code, *([a.en, a.ja] if isinstance(a, Sentence) else a for a in (p.place, *p.args))]
            for p in (*ledger.set_aside, *ledger.warnings)
        ],
        "counts": ledger.counts,
        "lines_aside": {file: bytes(lines).hex() for file, lines in ledger.lines_aside.items()},
    }


def _from_json(
    value: Mapping[str, Any],
    files: Sequence[Path],
    stamps: tuple[tuple[int, int], ...],
    columns: Mapping[str, str] | None,
    encoding: str | None,
) -> Checked:
    ledger = Ledger(value["rows_in"], value["rows_used"], counts=Counter(value["counts"]))
    ledger.lines_aside = {file: Lines(bytes.fromhex(bits)) for file, bits in value["lines_aside"].items()}
    for file, line, code, *said in value["problems"]:
        where, *args = (tr(*part) if isinstance(part, list) else part for part in said)
        problem = Problem(file, line, code, tuple(args), where)
        (ledger.warnings if problem.severity == "warning" else ledger.set_aside).append(problem)
    return Checked(ledger, value["format"], value["stats"], tuple(files), columns or {}, encoding, stamps)
