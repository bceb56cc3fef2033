"""Which indexes there are, and whether they are as they were built."""

from __future__ import annotations

import contextlib

from sodate.core import home
from sodate.core.errors import SodateError
from sodate.core.files import sha256_file
from sodate.core.text import tr
from sodate.retrieve import postings, store
from sodate.retrieve.index import Index


def list_indexes(name: str | None = None) -> list[Index]:
    """All indexes, or those of a name, oldest first."""
    root = home.indexes_dir()
    names = [name] if name else sorted(f.name for f in root.iterdir() if f.is_dir()) if root.exists() else []
    found = []
    for one in names:
        folders = (root / one).iterdir() if (root / one).is_dir() else ()
        numbers = sorted(int(f.name) for f in folders if f.name.isdecimal() and (f / "index.json").exists())
        found += [Index(one, number, root / one / str(number)) for number in numbers]
    return found


def readable(name: str) -> Index | None:
    """The newest of a name whose index.json can be read: one that was damaged by hand keeps nobody from building."""
    for one in list_indexes(name)[::-1]:
        with contextlib.suppress(SodateError):
            return one if one.manifest else None
    return None


def next_number(name: str) -> int:
    """Above every folder of the name, also one without an index.json."""
    root = home.indexes_dir() / name
    numbers = [int(f.name) for f in root.iterdir() if f.name.isdecimal()] if root.is_dir() else []
    return max(numbers, default=0) + 1


def find(reference: str) -> Index:
    """`name` (the newest) or `name@N`; SodateError where there is none."""
    name, _, number = reference.partition("@")
    home.checked_name(name, tr("Index name", "索引名"))
    there = list_indexes(name)
    wanted = [one for one in there if not number or str(one.number) == number]
    if not wanted:
        known = ", ".join(one.id for one in there or list_indexes())
        raise SodateError(
            tr(f"There is no index {reference}.", f"索引 {reference} がありません。"),
            tr(f"There are: {known}.", f"次があります: {known}") if known
            else tr("Make one: sodate index build DOCS --name NAME", "作るには: sodate index build 文書 --name 名前"),
            code="index_missing",
        )  # fmt: skip
    return wanted[-1]


def verify(index: Index) -> None:
    """SodateError if a file of the index is not the one that was built."""
    about = index.manifest
    digests = about["files"]
    for file in dict.fromkeys((*digests, *postings.FILES, *store.FILES)):
        path = index.path / file
        if not path.is_file() or sha256_file(path) != digests.get(file):
            raise _damaged(index, file)
    if store.blocks(index.path) != -(-about["passages"] // store.BLOCK):
        raise _damaged(index, "index.json")


def _damaged(index: Index, file: str) -> SodateError:
    return SodateError(
        tr(f"{file} of index {index.id} was changed or is gone.",
           f"索引 {index.id} の {file} が変更または削除されています。"),
        tr("Build it again from its documents.", "文書から作り直してください。"),
        code="damaged", file=index.path / file,
    )  # fmt: skip


def difference(old: Index, new: Index) -> dict[str, list[str]]:
    """Files that are new, gone and changed between two indexes."""
    a, b = ({source["file"]: source["sha256"] for source in one.manifest["sources"]} for one in (old, new))
    return {
        "added": sorted(b.keys() - a.keys()),
        "removed": sorted(a.keys() - b.keys()),
        "changed": sorted(file for file in a.keys() & b.keys() if a[file] != b[file]),
    }
