"""`sodate data mask` and `unmask`: files in which personal data is replaced, and back with the key kept apart.

CSV and TSV keep their encoding, byte order mark and line ends; a workbook keeps its sheets and forms; JSON lines and
JSON keep their shape. Where the name of the output says another kind, the rows are written as that.
"""

from __future__ import annotations

import contextlib
import csv
import io
import itertools
import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from sodate.api import sheets
from sodate.core.errors import SodateError, UsageError
from sodate.core.files import atomic_file, lock
from sodate.core.paths import no_file
from sodate.core.text import json_text, tr
from sodate.data import encodings, mask_key
from sodate.data.kinds import by_name, kind_of
from sodate.data.mask import Known, Pseudonyms, mask_cells, names_in

Style = Literal["pseudonym", "standin"]
PATIENCE = 30.0  # seconds to wait for another file to be masked by the same key
Cells = Sequence[tuple[str, Any]]
Change = Callable[[Cells], list[Any]]
"""The values of a row, given with the names of their columns, as they are to be written."""


@dataclass
class Done:
    """How many rows were written, what was replaced by kind, and which numbers of companies were left."""

    rows: int = 0
    masked: Counter[str] = field(default_factory=Counter)
    kept: Counter[str] = field(default_factory=Counter)

    def to_json(self) -> dict[str, Any]:
        """What `--json` prints."""
        return {"rows": self.rows, "masked": dict(sorted(self.masked.items())), "kept": dict(sorted(self.kept.items()))}


def mask(
    file: str | Path, out: str | Path, *, key: str | Path | None = None, style: Style = "pseudonym",
    words: Sequence[str] = (),
) -> Done:  # fmt: skip
    """Writes `file` to `out` with personal data replaced; says what was.

    With `key` the pseudonyms are kept in that file, which alone can undo it, and are the same in the next file; without
    one they are forgotten. My Numbers are in no key: they are gone. `words` are masked wherever they stand.
    """
    source, target = Path(file), Path(out)
    keyfile = None if key is None else Path(key)
    _refuse_same(source, target, keyfile)
    _wanted(target, _kind(source))
    if keyfile is None:
        return _masked(source, target, Pseudonyms(style), words)
    what = tr(f"The key {keyfile}", f"鍵 {keyfile}")
    with lock(keyfile.with_name(f".{keyfile.name}.lock"), what, seconds=PATIENCE, leave=False):
        names = mask_key.read(keyfile) if keyfile.exists() else Pseudonyms(style)
        if names.style != style:
            raise UsageError(
                tr(f"{keyfile} is a key for --style {names.style}.", f"{keyfile} は --style {names.style} の鍵です。"),
                code="bad_value", param="style", file=keyfile,
            )  # fmt: skip
        # The key first: a masked file that nothing can undo is the worse of the two to be left with.
        return _masked(source, target, names, words, before=lambda: mask_key.write(keyfile, names))


def _masked(
    source: Path, target: Path, names: Pseudonyms, words: Sequence[str], before: Callable[[], None] = lambda: None
) -> Done:
    done, found, taken = Done(), {names.known[name] for kind, name in names.kinds() if kind == "name"}, set[str]()

    def look(cells: Cells) -> list[Any]:
        for label, value in cells:
            found.update(names_in(value, label))
            taken.update(mask_key.pseudonyms_in(_cell(value)))
        return []

    def change(cells: Cells) -> list[Any]:
        values, counts, kept = mask_cells(cells, names, words=words, also=known)
        done.masked.update(counts)
        done.kept.update(kept)
        return values

    header, rows, *_ = _read(source, _kind(source))
    for _ in _Counted(header, rows, look):
        pass
    known, names.avoid = Known(found), frozenset(taken)
    done.rows = _rewrite(source, target, change, before)
    return done


def unmask(file: str | Path, out: str | Path, key: str | Path) -> Done:
    """Writes `file` to `out` with what the pseudonyms of the key stood for. My Numbers stay removed."""
    source, target, keyfile = Path(file), Path(out), Path(key)
    _refuse_same(source, target, keyfile)
    restore = mask_key.restorer(mask_key.read(keyfile))
    return Done(_rewrite(source, target, lambda cells: [restore(value) for _, value in cells], lambda: None))


def _refuse_same(*paths: Path | None) -> None:
    there = [path.resolve() for path in paths if path is not None]
    if len(set(there)) != len(there):
        raise UsageError(
            tr("Input, output and key must be different files.", "入力、出力、鍵は別のファイルにしてください。"),
            code="bad_value", param="out",
        )  # fmt: skip


# ── kinds of files ───────────────────────────────────────────────────────────────────────────────────────────────────


KINDS = ("xlsx", "csv", "tsv", "jsonl", "json")


def _kind(path: Path) -> str:
    """What kind of file it is, by its content. UsageError where it is not there, or of another kind."""
    if not path.is_file():
        raise UsageError(
            no_file(path),
            code="file_unreadable", param="data", file=path,
        )  # fmt: skip
    if path.suffix.lower() in _WORKBOOKS:
        return "xlsx"
    with path.open("rb") as stream:
        sample = stream.read(encodings.SAMPLE)
    return _known(path, kind_of(path, sample, sample.decode(encodings.detect(sample), "replace")))


_WORKBOOKS = (".xlsx", ".xlsm")


def _wanted(target: Path, kind: str) -> str:
    """What the name of the output says; without an ending the kind of the input. UsageError for any other ending."""
    if target.suffix.lower() in _WORKBOOKS:
        return "xlsx"
    return _known(target, by_name(target) or target.suffix or kind, "out")


def _known(path: Path, kind: str, param: str = "data") -> str:
    if kind in KINDS and path.suffix.lower() != ".gz":
        return kind
    raise UsageError(
        tr(f"{path}: masking reads and writes xlsx, CSV, TSV, JSON lines and JSON.",
           f"{path}: 読み書きできるのは xlsx、CSV、TSV、JSON Lines、JSON です。"),
        tr("Endings: .xlsx .csv .tsv .jsonl .json", "拡張子: .xlsx .csv .tsv .jsonl .json") if param == "out" else "",
        code="unknown_format", param=param, file=path,
    )  # fmt: skip


def _rewrite(source: Path, target: Path, change: Change, before: Callable[[], None]) -> int:
    """Writes the rows as `change` makes them; `before` is called when all are ready. How many there are."""
    kind = _kind(source)
    wanted = _wanted(target, kind)
    if kind == wanted == "xlsx":
        return sheets.rewrite(source, target, change, before)
    header, rows, codec, ends = _read(source, kind)
    made = _Counted(header, rows, change)
    if wanted == "xlsx":
        first, *others = _flat(made) if header is None else [header, *made]
        before()
        sheets.write(target, [_cell(value) for value in first], [[_cell(value) for value in row] for row in others])
        return made.count
    with atomic_file(target) as file:
        if wanted in ("jsonl", "json"):
            documents = (row[0] if header is None else dict(zip(header, row, strict=False)) for row in made)
            whole = wanted == "json" and not (kind == "json" and _is_one(source))
            lines = [list(documents)] if whole else documents
            for one in lines:
                text = json_text(one, indent=None if wanted == "jsonl" else 2)
                file.write(text.encode("utf-8", "surrogatepass") + b"\n")
        else:
            stream = io.TextIOWrapper(file, codec, newline="", write_through=True)
            writer = csv.writer(stream, delimiter="\t" if wanted == "tsv" else ",", lineterminator=ends)
            try:
                writer.writerows(_flat(made) if header is None else itertools.chain([header], made))
            finally:
                stream.detach()
        before()
    return made.count


class _Counted:
    """The rows of a table, or documents as rows of one value, changed; `count` of them so far, empty ones left out."""

    def __init__(self, header: list[str] | None, rows: Iterator[list[Any]], change: Change) -> None:
        self._header, self._rows, self._change = header, rows, change
        self.count = 0

    def __iter__(self) -> Iterator[list[Any]]:
        for row in self._rows:
            if self._header is not None and not any(row):
                yield row
                continue
            self.count += 1
            labels = [""] if self._header is None else [*self._header, *[""] * (len(row) - len(self._header))]
            yield self._change(list(zip(labels, row, strict=False)))


def _read(path: Path, kind: str) -> tuple[list[str] | None, Iterator[list[Any]], str, str]:
    """The header (None for documents), the rows, the codec to write by and the line end."""
    if kind == "xlsx":
        table = sheets.table(path)
        return (table[0] if table else []), iter(table[1:]), "utf-8-sig", "\r\n"
    if kind == "json":
        value = _document(path, 1, _text(path)[0])
        return None, iter([one] for one in (value if isinstance(value, list) else [value])), "utf-8", "\n"
    text, codec = _text(path)
    ends = "\r\n" if "\r\n" in text[:100_000] else "\n"
    if kind == "jsonl":
        return (
            None,
            ([_document(path, n, line)] for n, line in enumerate(text.split("\n"), 1) if line.strip()),
            codec,
            ends,
        )
    delimiter = "\t" if kind == "tsv" else ","
    rows = _table(path, csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True))
    return next(rows, []), rows, codec, ends


def _table(path: Path, reader: Any) -> Iterator[list[str]]:
    try:
        yield from reader
    except csv.Error as error:
        raise SodateError(
            tr(
                f"{path}:{reader.line_num} is not CSV: {error}.",
                f"{path}:{reader.line_num} は CSV ではありません: {error}",
            ),
            code="damaged", param="data", file=path, line=reader.line_num,
        ) from None  # fmt: skip


def _document(path: Path, number: int, line: str) -> Any:
    try:
        return json.loads(line)
    except (ValueError, RecursionError) as error:
        raise SodateError(
            tr(f"{path}:{number} is not JSON: {error}.", f"{path}:{number} は JSON ではありません: {error}"),
            code="damaged", param="data", file=path, line=number,
        ) from None  # fmt: skip


def _text(path: Path) -> tuple[str, str]:
    """The text of a file and the codec to write it by again: with the mark if it had one."""
    data = path.read_bytes()
    codec = encodings.detect(data[: encodings.SAMPLE])
    if codec == "utf-8" and data.startswith(encodings.UTF8_BOM):
        codec = "utf-8-sig"
    try:
        return data.decode(codec), codec
    except UnicodeDecodeError as error:
        place = error.start + 1
    # A short table may not show by itself what it is in; what is nowhere UTF-8 is what Japanese spreadsheets write.
    shown = data.decode("utf-8", "replace")
    if codec == "utf-8" and 2 * shown.count("\ufffd") > sum(not char.isascii() for char in shown):
        with contextlib.suppress(UnicodeDecodeError):
            return data.decode("cp932"), "cp932"
    raise SodateError(
        tr(f"{path} is not {codec} throughout (byte {place}).",
           f"{path} に {codec} として読めない箇所があります（{place} バイト目）。"),
        tr("Save it again as UTF-8.", "UTF-8 で保存し直してください。"),
        code="bad_encoding", param="data", file=path,
    )  # fmt: skip


def _is_one(path: Path) -> bool:
    """Whether a JSON file is one document rather than a list of them."""
    return not _text(path)[0].lstrip().startswith("[")


def _cell(value: Any) -> str:
    if value is None or isinstance(value, str):
        return value or ""
    return json.dumps(value, ensure_ascii=False) if isinstance(value, dict | list) else str(value)


def _flat(documents: Iterable[list[Any]]) -> Iterator[list[str]]:
    """Documents as a table of their keys; what is nested stays JSON."""
    rows = [one[0] if isinstance(one[0], dict) else {"value": one[0]} for one in documents]
    header = list(dict.fromkeys(key for row in rows for key in row))
    yield header
    for row in rows:
        yield [_cell(row.get(key)) for key in header]
