"""Documents of many kinds as sections: text with the headings above it and the place where it stands.

Markdown, text, HTML, CSV and TSV, JSON lines, PDF (pypdf) and Word (python-docx). A table is a section of its own, with
its header in every row. What cannot be read is refused by name; nothing is silently empty.
"""

from __future__ import annotations

import contextlib
import importlib
import logging
import re
import warnings
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from sodate.core.errors import SodateError
from sodate.core.limited import limited
from sodate.core.paths import refusal
from sodate.core.text import en, ja, tr
from sodate.data.encodings import NAMES, SAMPLE, detect
from sodate.data.read import RawRow, read_rows
from sodate.retrieve.hypertext import Page
from sodate.retrieve.sections import Section

KINDS = (".md", ".markdown", ".txt", ".html", ".htm", ".csv", ".tsv", ".jsonl", ".pdf", ".docx")
SOURCES = (
    *(".c", ".cpp", ".cs", ".css", ".go", ".java", ".js", ".json"),
    *(".php", ".py", ".rb", ".sh", ".tex", ".ts", ".yaml", ".yml"),
)
"""Read as text where one is named itself; in a folder of documents they are left out."""
_BY_OTHERS = (".pdf", ".docx", ".html", ".htm")
LARGEST = 200 << 20  # bytes of a document
SECONDS = 120.0  # that reading one may take
MEMORY = 4 << 30  # bytes, beyond what the process has
TITLES = ("title", "タイトル", "題名", "件名", "question", "質問")
TEXTS = ("text", "content", "body", "本文", "内容", "answer", "回答")
EXTRA = tr(
    "Install the extra: pip install 'sodate[documents]'", "追加機能を入れてください: pip install 'sodate[documents]'"
)


Note = Callable[[str, str], None]
"""Told a code and a sentence of what was left out of a document."""


def read_document(path: Path, note: Note) -> list[Section]:
    """Its sections, at least one; SodateError says why a document has none."""
    read = _READERS.get(path.suffix.lower())
    if read is None:
        raise _refused(
            path,
            f"is not of a kind that is read ({', '.join(KINDS)})",
            f"は読める形式ではありません ({', '.join(KINDS)})",
            code="unknown_document",
        )
    try:
        if path.stat().st_size > LARGEST:
            raise _refused(
                path, f"is larger than {LARGEST >> 20} MiB", f"が {LARGEST >> 20} MiB を超えています", code="too_large"
            )
        sections = [section for section in read(path, note) if section.text.strip()]
    except OSError as error:
        why = refusal(error)
        raise _refused(path, f"can't be read: {en(why)}", f"を読めません: {ja(why)}", code="file_missing") from None
    if not sections:
        raise _refused(path, "has no text", "に文字がありません", code="empty_document")
    return sections


def read_apart(path: Path, note: Note) -> list[Section]:
    """As `read_document`. What others' libraries read (PDF, Word, HTML) is read by a child process with limits: what
    makes them run without end, or out of memory, is refused."""
    if path.suffix.lower() not in _BY_OTHERS:
        return read_document(path, note)
    import_readers()

    def work() -> list[Any]:
        notes: list[tuple[str, str, str]] = []
        sections = read_document(path, lambda code, said: notes.append((code, en(said), ja(said))))
        return [[asdict(section) for section in sections], notes]

    found, notes = limited(work, path.name, seconds=SECONDS, memory=MEMORY, output=LARGEST)
    for code, english, japanese in notes:
        note(code, tr(english, japanese))
    return [Section(**(one | {key: tuple(one[key]) for key in ("titles", "lines")})) for one in found]


def import_readers() -> None:
    """What a child needs of packages is imported before it is forked. Without one, files of its kind are refused."""
    for module in ("pypdf", "docx"):
        with contextlib.suppress(ImportError):
            importlib.import_module(module)


def _refused(path: Path, english: str, japanese: str, fix: str = "", *, code: str) -> SodateError:
    return SodateError(tr(f"{path.name} {english}.", f"{path.name} {japanese}。"), fix, code=code, file=path)


# ── text ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


def _text(path: Path) -> str:
    data = path.read_bytes()
    codec = detect(data[:SAMPLE])
    try:
        return data.decode("utf-8-sig" if codec == "utf-8" else codec).replace("\r\n", "\n").replace("\r", "\n")
    except UnicodeDecodeError:
        raise _refused(
            path, "is in no encoding that is read", "の文字コードを判別できません", code="bad_encoding"
        ) from None


_HEADING = re.compile(r"(#{1,6})\s+(\S.*)")
_FENCE = re.compile(r"\s*(```|~~~)")
_TABLE_LINE = re.compile(r"\s*\|.*\|\s*$")
_TABLE_RULE = re.compile(r"[\s|:-]+$")


def _markdown(path: Path, note: Note) -> Iterator[Section]:
    titles: list[tuple[int, str]] = []
    lines: list[str] = []
    began, fenced = 1, False
    text = _text(path).split("\n")

    def section() -> Iterator[Section]:
        yield from _with_tables(lines, began, tuple(title for _, title in titles))

    for number, line in enumerate(text, 1):
        fenced ^= bool(_FENCE.match(line))
        heading = None if fenced else _HEADING.match(line)
        if heading is None:
            lines.append(line)
            continue
        yield from section()
        lines, began, level = [], number + 1, len(heading[1])
        titles = [*[one for one in titles if one[0] < level], (level, heading[2].rstrip().rstrip("#").rstrip() or "#")]
    yield from section()


def _with_tables(lines: list[str], began: int, titles: tuple[str, ...]) -> Iterator[Section]:
    """Paragraphs, and tables row by row under their header."""
    at = 0
    while at < len(lines):
        table = _TABLE_LINE.match(lines[at]) is not None
        end = at
        while end < len(lines) and (_TABLE_LINE.match(lines[end]) is not None) == table:
            end += 1
        if not table:
            first = next((n for n in range(at, end) if lines[n].strip()), at)
            own = range(began + first, began + end)
            yield Section("\n".join(lines[first:end]), f"line {began + first}", titles, lines=own)
        else:
            kept = [n for n in range(at, end) if not _TABLE_RULE.match(lines[n])]
            text = "\n".join(lines[n] for n in kept)
            yield Section(text, f"line {began + at}", titles, whole=True, lines=[began + n for n in kept])
        at = end


# A heading as Japanese texts mark it: ■ 返品, 【返品】, 第3条 (返品). A sentence is none.
_MARKED = re.compile(
    r"\s*(?:[■□◆◇▼]\s*([^。]{1,40})|【([^】。]{1,40})】|(第[0-9０-９一二三四五六七八九十百]+[章節条][^。]{0,40}))\s*$"
)


def _plain(path: Path, note: Note) -> Iterator[Section]:
    """Paragraphs, under the heading above them. What is marked and has no text below it is text."""
    lines = _text(path).split("\n")
    marked = [_MARKED.match(line) for line in lines]
    below = False  # whether the next line with something on it is text
    for number in range(len(lines) - 1, -1, -1):
        if marked[number] is not None:
            marked[number], below = (marked[number] if below else None), False
        elif lines[number].strip():
            below = True
    part: list[str] = []
    titles: tuple[str, ...] = ()
    for number, (line, heading) in enumerate(zip([*lines, ""], [*marked, None], strict=True), 1):
        if heading is None and line.strip():
            part.append(line)
            continue
        if part:
            own = range(number - len(part), number)
            yield Section("\n".join(part), f"line {own[0]}", titles, lines=own)
            part = []
        if heading is not None:
            titles = (next(filter(None, heading.groups())).strip(),)


def _html(path: Path, note: Note) -> Iterator[Section]:
    page = Page()
    page.feed(_text(path))
    page.close()
    page.flush()
    yield from page.sections


# ── rows ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


def _rows(path: Path, note: Note) -> Iterator[Section]:
    """Each row a section: its title and text where columns say so, else all its cells by name."""
    with path.open("rb") as stream:
        codec = detect(stream.read(SAMPLE))
    for row in read_rows(path, None if codec == "utf-8" else NAMES[codec]):
        if not isinstance(row, RawRow):
            if row.code == "bom":  # as Excel writes it: nothing is lost
                continue
            note(row.code, f"{path.name}:{row.line}: {row.message}")
            continue
        cells = {key: str(value) for key, value in row.data.items() if isinstance(value, str | int | float)}
        cells = {key: value for key, value in cells.items() if value.strip()}
        own = cells.pop("id", "")
        title = next((cells.pop(key) for key in TITLES if key in cells), "")
        named = next((key for key in TEXTS if key in cells), None)
        text = cells[named] if named else "\n".join(f"{key}: {value}" for key, value in cells.items())
        if not text.strip():
            said = tr(f"{path.name}:{row.line} has no text.", f"{path.name}:{row.line} に文字がありません。")
            note("empty_document", said)
            continue
        yield Section(text, f"line {row.line}", (title,) if title else (), whole=named is None, id=own)


# ── PDF, Word ────────────────────────────────────────────────────────────────────────────────────────────────────────


def _pdf(path: Path, note: Note) -> Iterator[Section]:
    try:
        import pypdf
    except ImportError:
        raise _refused(path, "needs pypdf", "には pypdf が必要です", EXTRA, code="extra_missing") from None
    logging.getLogger("pypdf").setLevel(logging.CRITICAL)  # what it says there is said here of the whole file
    empty: list[int] = []
    broken: list[int] = []
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            reader = pypdf.PdfReader(path)
            if reader.is_encrypted and not reader.decrypt(""):
                raise _refused(
                    path,
                    "is encrypted",
                    "は暗号化されています",
                    tr("Save it without a password.", "パスワードなしで保存し直してください。"),
                    code="encrypted_document",
                )
            for number, page in enumerate(reader.pages, 1):
                try:
                    text = page.extract_text() or ""
                except Exception:  # as below: the other pages may be whole
                    broken.append(number)
                    continue
                if text.strip():
                    yield Section(re.sub(r"[ \t]+", " ", text), f"page {number}")
                else:
                    empty.append(number)
    except SodateError:
        raise
    except Exception as error:  # pypdf raises what it meets in a broken file
        raise _refused(
            path,
            f"can't be read as PDF: {type(error).__name__}",
            f"を PDF として読めません: {type(error).__name__}",
            code="damaged",
        ) from None
    if broken:
        note("damaged", _pages(path, broken, "pages that can't be read", "読めない"))
    if empty and len(empty) == len(reader.pages):
        raise _refused(
            path,
            "has pictures of pages and no text",
            "は画像だけで文字がありません",
            tr("Run text recognition (OCR) over it first.", "先に文字認識 (OCR) をかけてください。"),
            code="scanned_document",
        )
    if empty:
        note("scanned_document", _pages(path, empty, "pages without text", "文字のない"))


def _pages(path: Path, numbers: list[int], english: str, japanese: str) -> str:
    some = ", ".join(map(str, numbers[:10])) + ("…" if len(numbers) > 10 else "")
    return tr(f"{path.name} has {english} ({len(numbers)}): {some}",
              f"{path.name}: {japanese}ページが {len(numbers)} あります: {some}")  # fmt: skip


def _docx(path: Path, note: Note) -> Iterator[Section]:
    try:
        import docx
    except ImportError:
        raise _refused(path, "needs python-docx", "には python-docx が必要です", EXTRA, code="extra_missing") from None
    try:
        with zipfile.ZipFile(path) as packed:
            size = sum(part.file_size for part in packed.infolist())
        if size > LARGEST:  # what a part claims is the most that is ever unpacked of it
            raise _refused(path, f"would be {size >> 20} MiB unpacked", f"は展開すると {size >> 20} MiB になります",
                           code="too_large")  # fmt: skip
        document: Any = docx.Document(str(path))
        content = list(document.iter_inner_content())
    except SodateError:
        raise
    except Exception as error:
        raise _refused(
            path,
            f"can't be read as a Word document: {type(error).__name__}",
            f"を Word 文書として読めません: {type(error).__name__}",
            code="damaged",
        ) from None
    titles: list[tuple[int, str]] = []
    for number, block in enumerate(content, 1):
        above = tuple(title for _, title in titles)
        if hasattr(block, "rows"):
            rows = [" | ".join(cell.text.strip() for cell in row.cells) for row in block.rows]
            yield Section("\n".join(rows), f"paragraph {number}", above, whole=True)
            continue
        level = None
        with contextlib.suppress(AttributeError, TypeError):
            level = re.fullmatch(r"Heading (\d)|Title", block.style.name)
        if level and block.text.strip():
            depth = int(level[1] or 0)
            titles = [*[one for one in titles if one[0] < depth], (depth, block.text.strip())]
        else:
            yield Section(block.text, f"paragraph {number}", above)


_READERS: dict[str, Callable[[Path, Note], Iterator[Section]]] = {
    ".md": _markdown,
    ".markdown": _markdown,
    ".txt": _plain,
    ".html": _html,
    ".htm": _html,
    ".csv": _rows,
    ".tsv": _rows,
    ".jsonl": _rows,
    ".pdf": _pdf,
    ".docx": _docx,
    **dict.fromkeys(SOURCES, _plain),
}
