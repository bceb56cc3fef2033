"""Sheets that people fill in: CSV as spreadsheets write and read it, or xlsx."""

from __future__ import annotations

import csv
import io
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

from sodate.core.errors import SodateError, UsageError
from sodate.core.files import write_bytes
from sodate.core.paths import no_file, refusal
from sodate.core.text import en, ja, tr
from sodate.data.mask import column_kind

ID = "id"
MAX_CELL = 32_767  # characters of a cell, beyond which a spreadsheet refuses the file
MAX_UNPACKED = 200 << 20  # bytes of a workbook's parts
MAX_CELLS = 5_000_000
FORMULAS = ("=", "+", "-", "@", "\t", "\r")  # what a cell that would be a formula begins with
Encoding = Literal["utf-8", "cp932"]
ENDINGS = (".csv", ".xlsx")  # what is written, by the name of the file


def check_ending(path: Path, endings: Sequence[str] = ENDINGS) -> None:
    """UsageError for a file whose name does not say in which of these forms it is to be written, SodateError where the
    package for that is not installed: before the work whose result it is."""
    if path.suffix.lower() == ".xlsx":
        _openpyxl()
    if path.suffix.lower() not in endings:
        raise UsageError(
            tr(f"{path} does not say what is to be written: a name ends in {', '.join(endings)}.",
               f"{path} では書き出す形式が分かりません。名前の末尾は {'、'.join(endings)} のどれかです。"),
            tr(f"For example {path.stem}{endings[0]}.", f"例: {path.stem}{endings[0]}"),
            code="bad_value", param="out", file=path,
        )  # fmt: skip


def named(encoding: str) -> Encoding:
    """The encoding of a CSV sheet by its name. UsageError for one that sheets are not written in."""
    plain = encoding.lower().replace("_", "-")
    if plain in ("utf-8", "utf8", "utf-8-sig"):
        return "utf-8"
    if plain in ("cp932", "shift-jis", "sjis", "windows-31j", "ms932"):
        return "cp932"
    raise UsageError(
        tr(f"A sheet is not written in {encoding}.", f"シートを {encoding} では書き出せません。"),
        tr("Use utf-8 or cp932.", "utf-8 か cp932 を指定してください。"),
        code="bad_value", param="sheet_encoding",
    )  # fmt: skip


def write(path: Path, header: Sequence[str], rows: Sequence[Sequence[str]], encoding: Encoding = "utf-8") -> int:
    """A sheet: .xlsx, or CSV in UTF-8 with the mark by which spreadsheets know it, or in CP932. No cell is a formula.

    How many characters CP932 does not have, and 〓 stands for, is the answer.
    """
    if path.suffix.lower() == ".xlsx":
        write_book(path, {"Sheet": [header, *rows]})
        return 0
    text = io.StringIO()
    # What begins like a formula would be one.
    safe = [[f"'{cell}" if cell[:1] in FORMULAS else cell for cell in row] for row in rows]
    csv.writer(text).writerows([header, *safe])
    if encoding == "utf-8":
        write_bytes(path, text.getvalue().encode("utf-8-sig", "replace"))
        return 0
    # What a keyboard has and CP932 has not, in the form that it has.
    written = text.getvalue().translate({0x2212: "－", 0x301C: "～", 0x2013: "-", 0x2014: "―", 0xA0: " ", 0x2016: "∥"})
    kept = "".join(one if one.isascii() or _in_cp932(one) else _GETA for one in written)
    write_bytes(path, kept.encode("cp932"))
    return sum(old != new for old, new in zip(written, kept, strict=True))


_GETA = "〓"  # what printers put where a letter is missing


def _in_cp932(character: str) -> bool:
    try:
        character.encode("cp932")
    except UnicodeEncodeError:
        return False
    return True


def read(path: Path) -> list[tuple[int, dict[str, str]]]:
    """(row number from 1, cells of every column) of every row that is not empty. SodateError without a column `id`."""
    if not path.is_file():
        raise UsageError(no_file(path), code="bad_sheet", param="sheet", file=path)
    table = _read_xlsx(path) if path.suffix.lower() == ".xlsx" else _read_csv(path)
    header = [cell.strip() for cell in table[0]] if table else []
    if ID not in header:
        raise wrong(path, None, tr(f"there is no column {ID}.", f"{ID} の列がありません。"))
    return [
        (number, dict.fromkeys(header, "") | {name: cell.strip() for name, cell in zip(header, row, strict=False)})
        for number, row in enumerate(table[1:], 2)
        if any(cell.strip() for cell in row)
    ]


def wrong(path: Path, line: int | None, why: str) -> SodateError:
    """A sheet that can't be taken as it is: which file, which row, why."""
    place = str(path) if line is None else f"{path}:{line}"
    return SodateError(
        tr(f"{place}: {en(why)}", f"{place}: {ja(why)}"),
        tr("Mend the sheet and import it again.", "シートを直して、もう一度取り込んでください。"),
        code="bad_sheet", param="sheet", file=path, line=line,
    )  # fmt: skip


def _read_csv(path: Path) -> list[list[str]]:
    try:
        data = path.read_bytes()
    except OSError as error:
        why = refusal(error)
        raise wrong(path, None, tr(f"it cannot be read: {en(why)}.", f"読めません: {ja(why)}")) from None
    for encoding in ("utf-8-sig", "cp932"):
        try:
            text = data.decode(encoding)
        except UnicodeDecodeError:
            continue
        return list(csv.reader(io.StringIO(text, newline="")))
    raise wrong(path, None, tr("it is neither UTF-8 nor CP932.", "UTF-8 でも CP932 でもありません。"))


def _openpyxl() -> Any:
    if find_spec("openpyxl") is None:
        raise SodateError(
            tr("xlsx needs a package that is not installed: openpyxl.",
               "xlsx に必要なパッケージがありません: openpyxl"),
            tr('pip install "sodate[xlsx]", or name a .csv file.', 'pip install "sodate[xlsx]"、または .csv を指定。'),
            code="extra_missing",
        )  # fmt: skip
    import openpyxl

    return openpyxl


def write_book(path: Path, tables: Mapping[str, Sequence[Sequence[str]]]) -> None:
    """An .xlsx of several sheets by their names, each cell as text, whatever it begins with."""
    book = _openpyxl().Workbook()
    from openpyxl.cell.cell import ILLEGAL_CHARACTERS_RE as UNWRITABLE

    book.remove(book.active)
    for name, rows in tables.items():
        sheet = book.create_sheet(name)
        for y, row in enumerate(rows, 1):
            for x, value in enumerate(row, 1):
                cell = sheet.cell(y, x, UNWRITABLE.sub("\ufffd", value)[:MAX_CELL])
                cell.data_type = "s"
    out = io.BytesIO()
    book.save(out)
    write_bytes(path, out.getvalue())


def plain(text: str) -> str:
    """A cell without the mark that keeps a spreadsheet from reading it as a formula."""
    return text[1:] if text[:1] == "'" and text[1:2] in FORMULAS else text


def table(path: Path) -> list[list[str]]:
    """Every row of a workbook's sheets as text, those of one sheet after the other."""
    try:
        book = _book(path, read_only=True, data_only=True)
        rows = list(_rows(path, book.worksheets))
        book.close()
    except SodateError:
        raise
    except Exception as error:  # a stranger's file, read by a library that raises what it likes
        raise _no_workbook(path, error) from None
    return rows


def _book(path: Path, **how: bool) -> Any:
    """A workbook, opened. SodateError for one that unpacks to more than MAX_UNPACKED bytes: what a part of the archive
    claims is the most that is ever unpacked of it."""
    openpyxl = _openpyxl()
    with zipfile.ZipFile(path) as packed:
        unpacked = sum(part.file_size for part in packed.infolist())
    if unpacked > MAX_UNPACKED:
        raise _too_large(
            path, tr(f"unpacked it would be {unpacked >> 20} MiB", f"展開すると {unpacked >> 20} MiB になります")
        )
    return openpyxl.load_workbook(path, **how)


def _rows(path: Path, sheets: Iterable[Any]) -> Iterator[list[str]]:
    """The rows of sheets as text. What a sheet says of its own size is not believed, but counted: formats down to the
    last row make it a million rows long. SodateError beyond MAX_CELLS."""
    count = 0
    for sheet in sheets:
        sheet.reset_dimensions()
        blank = 0  # rows without anything, which count only where something comes after them
        for row in sheet.iter_rows(values_only=True):
            count += len(row) + 1
            if count > MAX_CELLS:
                raise _too_many_cells(path)
            if all(cell is None for cell in row):
                blank += 1
                continue
            yield from ([] for _ in range(blank))
            blank = 0
            yield ["" if cell is None else str(cell) for cell in row]


def _too_many_cells(path: Path) -> SodateError:
    return _too_large(path, tr(f"it has more than {MAX_CELLS:,} cells", f"セルが {MAX_CELLS:,} 個を超えています"))


def _too_large(path: Path, why: str) -> SodateError:
    return SodateError(
        tr(f"{path} is too large a workbook: {en(why)}.", f"{path} は大きすぎます: {ja(why)}。"),
        tr("Delete empty rows and columns at its end, or save the sheet as CSV.",
           "末尾の空の行と列を削除するか、シートを CSV で保存してください。"),
        code="too_large", param="data", file=path,
    )  # fmt: skip


def _no_workbook(path: Path, error: Exception) -> SodateError:
    return SodateError(
        tr(f"{path} can't be read as xlsx: {error}.", f"{path} を xlsx として読めません: {error}"),
        code="damaged", param="data", file=path,
    )  # fmt: skip


def rewrite(
    source: Path, target: Path, change: Callable[[Sequence[tuple[str, Any]]], list[Any]], before: Callable[[], None]
) -> int:
    """A workbook with every row as `change` makes it of its cells, each given with the name of its column: the last
    row above that names columns of personal data, else the first. Comments, titles of sheets, headers, links and the
    authors' names are changed or left out, too. How many rows there are below the first.
    """
    try:
        book = _book(source)
        if sum(sheet.max_row * sheet.max_column for sheet in book.worksheets) > MAX_CELLS:
            raise _too_many_cells(source)  # to look at a cell is to make it
    except SodateError:
        raise
    except Exception as error:
        raise _no_workbook(source, error) from None

    def plain(text: str) -> str:
        return str(change([("", text)])[0])

    count = 0
    for sheet in book.worksheets:
        labels: list[str] = []
        for number, row in enumerate(sheet.iter_rows()):
            cells = [cell for cell in row if cell.value is not None]
            names = ["" if cell.value is None else str(cell.value) for cell in row]
            if number == 0 or sum(column_kind(name) is not None for name in names) > 1:
                labels = names
            count += bool(number and cells)
            given = [("" if labels == names else labels[cell.column - 1], _plain(cell)) for cell in cells]
            for cell, (_, old), new in zip(cells, given, change(given) if given else (), strict=True):
                if new != old:
                    cell.value = new
                    cell.data_type = "s"
                    cell.hyperlink = None
            for cell in row:
                if getattr(cell, "comment", None) is not None:
                    cell.comment.text, cell.comment.author = plain(cell.comment.text), "-"
                if getattr(cell, "hyperlink", None) is not None and cell.hyperlink.target:
                    cell.hyperlink.target = plain(cell.hyperlink.target)
        for part in (
            sheet.oddHeader,
            sheet.oddFooter,
            sheet.evenHeader,
            sheet.evenFooter,
            sheet.firstHeader,
            sheet.firstFooter,
        ):
            for side in (part.left, part.center, part.right):
                side.text = plain(side.text) if side.text else side.text
        sheet.title = plain(sheet.title)[:31]
    about = book.properties
    about.creator, about.lastModifiedBy = "sodate", None
    for key in ("title", "subject", "description", "keywords", "category"):
        if value := getattr(about, key):
            setattr(about, key, plain(value))
    out = io.BytesIO()
    book.save(out)
    before()
    write_bytes(target, out.getvalue())
    return count


def _plain(cell: Any) -> Any:
    """A cell's value; a day as its date, so that a date of birth is read as one."""
    value = cell.value
    return str(value.date()) if hasattr(value, "date") and hasattr(value, "hour") else value


def _read_xlsx(path: Path) -> list[list[str]]:
    try:
        book = _book(path, read_only=True, data_only=True)
        rows = list(_rows(path, [book.active]))
        book.close()
    except SodateError:
        raise
    except Exception as error:  # a stranger's file, read by a library that raises what it likes
        raise wrong(
            path, None, tr(f"it is no xlsx file: {error}.", f"xlsx ファイルとして読めません: {error}")
        ) from None
    return rows
