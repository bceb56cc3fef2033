"""Datasets as versions: add to one, list, show, compare, tell what happened to it. They are kept by `data.datasets`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from sodate.core.errors import UsageError
from sodate.core.text import tr
from sodate.data import adding, datasets
from sodate.data.adding import Added, Origin, Role
from sodate.data.datasets import Dataset


def add(
    files: Sequence[str | Path] | str | Path,
    name: str,
    *,
    role: Role | None = None,
    by: str = "",
    licence: str | None = None,
    consent: str | None = None,
    note: str | None = None,
    reviewer: str | None = None,
    unreviewed: bool = False,
    columns: Mapping[str, str] | None = None,
    encoding: str | None = None,
) -> Added:
    """Adds rows to a dataset, as `sodate.data.adding.add` says; where nothing is new there is no new version."""
    paths = [files] if isinstance(files, str | Path) else files
    return adding.add(
        [datasets.located(path) for path in paths], name, role=role, unreviewed=unreviewed, columns=columns,
        encoding=encoding, origin=Origin(by, licence, consent, note, reviewer),
    )  # fmt: skip


def remove(
    name: str, *, rows: Iterable[str] = (), exchanges: Iterable[str] = (), by: str = "", note: str = ""
) -> Added:
    """The next version of a dataset without these rows, or without what was made of these exchanges."""
    return adding.remove(name, rows, exchanges, by=by, note=note)


def delete(reference: str) -> str:
    """Deletes the rows of `name@N`, said whole; what its manifest says stays."""
    if "@" not in reference:
        raise UsageError(
            tr(f"{reference!r} does not say which version.", f"{reference!r} では、どのバージョンか分かりません。"),
            tr("Write NAME@N.", "名前@番号 の形で指定してください。"),
            code="bad_value", param="dataset",
        )  # fmt: skip
    found = datasets.find(reference)
    datasets.delete(found)
    return found.id


def list_datasets() -> list[dict[str, Any]]:
    """Every version of every dataset."""
    found = [one for newest in datasets.newest() for one in datasets.versions(newest.name)]
    return [_line(one) for one in found]


def _line(one: Dataset) -> dict[str, Any]:
    about = one.manifest
    return {
        "dataset": one.id, "role": about["role"], "rows": about["rows"], "added": about["added"],
        "changed": about["changed"], "removed": about["removed"], "created_at": about["created_at"], "by": about["by"],
    }  # fmt: skip


def show(reference: str) -> dict[str, Any]:
    """What is known of a version, with the file of its rows; of a held-out one also how worn it is."""
    found = datasets.find(reference)
    wear = {"wear": datasets.wear(found)} if found.held_out else {}
    return {**found.manifest, "file": str(datasets.located(found.id)), **wear}


def diff(old: str, new: str | None = None) -> dict[str, Any]:
    """Which rows came, went and changed between two versions; without `new`, since the one before `old`.

    Of a first version every row is added."""
    last = datasets.find(old)
    if new is not None:
        return adding.differences(last, datasets.find(new))
    parent = last.manifest["parent"]
    if parent is None:
        rows = [data["origin"]["row"] for data in last.each()]
        return {"from": None, "to": last.id, "added": rows, "removed": [], "changed": [], "same": 0}
    return adding.differences(datasets.find(parent), last)


def row_ids(reference: str) -> list[str]:
    """The ids of a version's rows, in the order of its file."""
    return [data["origin"]["row"] for data in datasets.find(reference).each()]


def log(reference: str) -> dict[str, Any]:
    """What happened to a dataset: its versions up to this one, oldest first, and every use of a held-out one."""
    found = datasets.find(reference)
    versions = [one for one in datasets.versions(found.name) if one.number <= found.number]
    keys = ("note", "parent", "rows_in", "set_aside", "licences", "consents", "sources", "content")
    lines = [{**_line(one), **{key: one.manifest.get(key) for key in keys}} for one in versions]
    uses = [{key: value for key, value in use.items() if key != "schema_version"} for use in datasets.uses(found.name)]
    return {"dataset": found.id, "versions": lines, "uses": uses}


def made_from(exchanges: Iterable[str]) -> list[str]:
    """The versions of datasets that have rows of these exchanges."""
    return adding.made_from(set(exchanges))
