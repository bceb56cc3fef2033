"""Documents become an index. A new build of a name takes over the passages of every file that has not changed."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sodate.core import home, progress
from sodate.core.errors import SodateError, UsageError
from sodate.core.files import atomic_folder, sha256_file, write_json
from sodate.core.manifests import SCHEMA_VERSION, IndexManifest
from sodate.core.paths import refusal
from sodate.core.runs import now
from sodate.core.text import en, ja, tr
from sodate.data import pii
from sodate.data.similar import NearIndex
from sodate.retrieve import postings, store, vectors
from sodate.retrieve.catalogue import next_number, readable, verify
from sodate.retrieve.documents import KINDS, read_apart
from sodate.retrieve.index import Index, Weights
from sodate.retrieve.passages import Passage, passages
from sodate.retrieve.vectors import Encode

READER = 5  # raised when documents become other passages, or at other places, than before
NEAR = 0.95  # Jaccard similarity from which a passage is one that is there already
TOGETHER = 256  # passages that are looked up among the others at once
ENCODED = 32  # passages that are made vectors of at once


@dataclass(slots=True)
class Built:
    """What a build found: what was set aside, and how much was there already. `unchanged`: all of it was, and `index`
    is the one that was there."""

    index: Index = field(init=False)
    unchanged: bool = False
    set_aside: list[dict[str, str]] = field(default_factory=list)
    duplicates: int = 0
    reused: int = 0  # files whose passages were taken over
    personal: Counter[str] = field(default_factory=Counter)


def build(paths: Iterable[Path], name: str, encode: Encode | None = None) -> Built:
    """Makes the next `name@N` from files and folders of them, or finds that the newest is of the same ones. All or
    nothing; SodateError where no passage is left.

    The weights of the version before it stay. `encode` makes vectors of passages, where that one has any.
    """
    home.checked_name(name, tr("Index name", "索引名"))
    files, others = _files(paths)
    seen = {shown: _hash_of(path) for shown, path in files}
    before = readable(name)
    whole = before if before and _is_whole(before) else None
    if whole is not None and (same := _the_same(whole, seen, others)) is not None:
        return same
    known = _known(whole) if whole else {}
    weights = Weights(**before.manifest["weights"]) if before else Weights()
    built, sources = Built(set_aside=list(others)), []

    def read() -> Iterator[Passage]:
        for done, (shown, path) in enumerate(files):
            progress.report("documents", done, len(files), name)
            source: dict[str, Any] = {"file": shown, "path": str(path), "passages": 0}
            try:
                source["sha256"] = seen[shown] or sha256_file(path)  # which says why it can't be read
                same = known.get((shown, source["sha256"]))
                built.reused += same is not None
                if same is not None and whole is not None:
                    found: Iterable[Passage] = map(whole.passages.__getitem__, same)
                    built.set_aside += [one for one in whole.manifest.get("set_aside", []) if one["file"] == shown]
                else:
                    found = list(passages(shown, read_apart(path, _noting(built, shown))))
            except SodateError as error:
                built.set_aside.append({"file": shown, "code": error.code, "message": str(error.message)})
                continue
            except OSError as error:
                why = refusal(error)
                message = tr(f"{shown} can't be read: {en(why)}.", f"{shown} を読めません: {ja(why)}")
                built.set_aside.append({"file": shown, "code": "file_missing", "message": str(message)})
                continue
            for passage in found:
                source["passages"] += 1
                yield passage
            sources.append(source)
        progress.report("documents", len(files), len(files), name)

    def all_terms(folder: Path) -> Iterator[Counter[str]]:
        for passage in store.write(folder, _once(read(), built)):
            built.personal.update(finding.kind for finding in pii.find(passage.text))
            yield weights.terms_of(passage)

    while True:
        number = next_number(name)
        path = home.indexes_dir() / name / str(number)
        try:
            with atomic_folder(path) as stage:
                count = postings.write(stage, all_terms(stage), k1=weights.k1, b=weights.b)
                if not count:
                    raise _nothing(built)
                kept = _kept_of(before)
                if "encoder" in kept:
                    assert encode is not None, "where the version before has vectors, passages are encoded"
                    encoded(store.Passages(stage, count), stage, kept["encoder"]["name"], encode, whole)
                about: IndexManifest = {
                    "schema_version": SCHEMA_VERSION, "index": f"{name}@{number}", "created_at": now(),
                    "reader": READER, "sources": sources, "seen": seen, "passages": count,
                    "duplicates": built.duplicates,
                    "set_aside": built.set_aside, "personal": dict(built.personal),
                    "weights": asdict(weights), "files": _hashed(stage), **kept,
                }  # fmt: skip
                write_json(stage / "index.json", about)
            built.index = Index(name, number, path)
            return built
        except FileExistsError:  # another process took this number
            built, sources = Built(set_aside=list(others)), []


def _whole(passage: Passage) -> str:
    return "\n".join((*passage.titles, passage.text))


def _noting(built: Built, file: str) -> Callable[[str, str], None]:
    def note(code: str, message: str) -> None:
        built.set_aside.append({"file": file, "code": code, "message": str(message)})

    return note


def _nothing(built: Built) -> SodateError:
    why = "\n  ".join(one["message"] for one in built.set_aside[:5])
    return SodateError(
        tr("No passage is left of these documents.", "索引にできる文章がありません。"), why, code="no_passages"
    )


def _files(paths: Iterable[Path]) -> tuple[list[tuple[str, Path]], list[dict[str, str]]]:
    """(name that is shown, path) of every document, and the files in folders that are of no kind we read, as they are
    set aside. Hidden files and links in folders are neither."""
    found: dict[str, Path] = {}
    others: list[dict[str, str]] = []
    kinds = ", ".join(KINDS)
    for path in paths:
        if path.is_dir():
            inside = [(f.relative_to(path), f) for f in sorted(path.rglob("*")) if f.is_file() and not f.is_symlink()]
            visible = [(at.as_posix(), f) for at, f in inside if not any(part.startswith(".") for part in at.parts)]
            own = [(shown, f) for shown, f in visible if f.suffix.lower() in KINDS]
            if not own:
                raise UsageError(
                    tr(f"No document in {path}.", f"{path} に文書がありません。"),
                    tr(f"Documents are {kinds}.", f"読める形式: {kinds}"),
                    code="file_missing",
                    file=path,
                )
            for shown, f in visible:
                if f.suffix.lower() not in KINDS:
                    message = tr(f"{shown} is not of a kind that is read ({kinds}).",
                                 f"{shown} は読める形式ではありません ({kinds})。")  # fmt: skip
                    others.append({"file": shown, "code": "unknown_document", "message": str(message)})
        elif path.is_file():
            own = [(path.name, path)]
        else:
            raise UsageError(tr(f"{path} does not exist.", f"{path} がありません。"), code="file_missing", file=path)
        for shown, file in own:
            found[shown if shown not in found else str(file)] = file
    return list(found.items()), others


def _hash_of(path: Path) -> str | None:
    """None where it can't be read."""
    try:
        return sha256_file(path)
    except OSError:
        return None


def _is_whole(index: Index) -> bool:
    """Whether its files are as they were built: nothing is taken over from damaged ones."""
    try:
        verify(index)
    except SodateError:
        return False
    return True


def _the_same(before: Index, seen: Mapping[str, str | None], others: list[dict[str, str]]) -> Built | None:
    """What an index says of itself that was built of exactly these files; None where it wasn't, or where it would be
    read otherwise now: by another reader, or with a package that was missing."""
    about = before.manifest
    aside = about.get("set_aside", [])
    known = [one["file"] for one in aside if one["code"] == "unknown_document" and one["file"] not in seen]
    if about["reader"] != READER or about.get("seen") != seen or None in seen.values():
        return None
    if any(one["code"] == "extra_missing" for one in aside) or known != [one["file"] for one in others]:
        return None
    personal = Counter(about.get("personal", {}))
    built = Built(True, list(aside), about.get("duplicates", 0), len(about["sources"]), personal)
    built.index = before
    return built


def _known(before: Index) -> dict[tuple[str, str], range]:
    """The numbers of the passages of each source of an earlier build, by name and hash, where documents are still read
    so. Sources of which a passage was left out as a duplicate are read anew: the other one may be gone."""
    about = before.manifest
    if about["reader"] != READER:
        return {}
    held: dict[str, range] = {}
    for file, same in groupby(enumerate(before.passages), lambda one: one[1].file):  # a file's stand together
        numbers = [number for number, _ in same]
        held[file] = range(numbers[0], numbers[-1] + 1)
    return {
        (source["file"], source["sha256"]): held[source["file"]]
        for source in about["sources"]
        if len(held.get(source["file"], ())) == source["passages"]
    }


def _once(found: Iterable[Passage], built: Built) -> Iterator[Passage]:
    """Each passage but exact and near duplicates of an earlier one."""
    near, waiting = NearIndex(NEAR), []
    numbers = 0

    def look(some: list[Passage]) -> Iterator[Passage]:
        nonlocal numbers
        answers = near.query_add(range(numbers, numbers + len(some)), [_whole(one) for one in some])
        numbers += len(some)
        for passage, same in zip(some, answers, strict=True):
            built.duplicates += same is not None
            if same is None:
                yield passage

    try:
        for passage in found:
            waiting.append(passage)
            if len(waiting) == TOGETHER:
                yield from look(waiting)
                waiting = []
        if waiting:
            yield from look(waiting)
    finally:
        near.close()


def _kept_of(before: Index | None) -> IndexManifest:
    """What tuning has found out and the next version keeps."""
    about: Any = before.manifest if before else {}
    found: Any = {key: about[key] for key in ("encoder", "sure") if key in about}
    return found  # type: ignore[no-any-return]


def _hashed(folder: Path) -> dict[str, str]:
    names = (*postings.FILES, *store.FILES, *vectors.FILES)
    return {name: sha256_file(folder / name) for name in names if (folder / name).exists()}


def encoded(held: Iterable[Passage], folder: Path, name: str, encode: Encode, before: Index | None = None) -> int:
    """Writes the vectors of passages into a folder; returns their width. Those that an index before it has are taken
    from there. `name` is that of what makes them."""
    old = before.vectors if before else None
    known = {} if old is None or before is None else {_whole(one): n for n, one in enumerate(before.passages)}
    texts = [_whole(one) for one in held]

    def some() -> Iterator[NDArray[np.float32]]:
        for start in range(0, len(texts), ENCODED):
            progress.report("vectors", start, len(texts), name)
            own = texts[start : start + ENCODED]
            new = [text for text in own if text not in known]
            fresh = iter(encode(new)) if new else iter(())
            yield np.stack([next(fresh) if old is None or text not in known else old.rows[known[text]] for text in own])
        progress.report("vectors", len(texts), len(texts), name)

    return vectors.write(folder, some())


def kept_as(index: Index, weights: Weights, changes: Mapping[str, Any], made: Path | None = None) -> Index:
    """The same passages under other weights, with other entries of the manifest, as the next version of the name.
    `made` is a folder with their vectors."""
    while True:
        number = next_number(index.name)
        path = home.indexes_dir() / index.name / str(number)
        try:
            with atomic_folder(path) as stage:
                reweighted(index, weights, stage)
                if made is not None:
                    for file in vectors.FILES:
                        shutil.copyfile(made / file, stage / file)
                about: Any = {key: value for key, value in index.manifest.items() if key not in ("encoder", "sure")}
                about |= {"index": f"{index.name}@{number}", "created_at": now(), "weights": asdict(weights), **changes}
                write_json(stage / "index.json", {**about, "files": _hashed(stage)})
            return Index(index.name, number, path, index.encode)
        except FileExistsError:
            continue  # another process took this number


def reweighted(index: Index, weights: Weights, folder: Path) -> Index:
    """The same passages under other weights, written to a folder, to be measured."""
    for file in store.FILES:
        shutil.copyfile(index.path / file, folder / file)
    postings.write(folder, (weights.terms_of(one) for one in index.passages), k1=weights.k1, b=weights.b)
    about: Any = {"schema_version": SCHEMA_VERSION, "index": index.id, "reader": READER, "sources": [], "files": {},
                  "passages": index.manifest["passages"], "weights": asdict(weights)}  # fmt: skip
    write_json(folder / "index.json", about)
    return Index(index.name, index.number, folder)
