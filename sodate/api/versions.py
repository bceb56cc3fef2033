"""Versions: which there are, and everything known of one."""

from __future__ import annotations

from typing import Any

from sodate.core.errors import UsageError
from sodate.core.manifests import read_kept
from sodate.core.text import tr
from sodate.release import aliases, registry
from sodate.release.registry import Version, list_versions, verify
from sodate.release.registry import find_version as find_version


def versions() -> list[dict[str, Any]]:
    """Every version by name and number: its base, method, rows, day and folder."""
    rows = []
    for version in list_versions():
        about = read_kept(version.path / "version.json")
        kept = {"base": about["base"], "method": about["recipe"]["method"], "rows": about["data"]["rows_used"]}
        rows.append({"version": version.id, **kept, "created_at": about["created_at"], "path": str(version.path)})
    return rows


def version(name: str, check: bool = True) -> dict[str, Any]:
    """The manifest of `name@N`, or of the newest of `name`, with its folder, the reports that measured it, how good
    they found it (`quality`), its last gate record, and the aliases that mean it or would after a rollback.

    Raises UsageError where there is none, SodateError where a file of it is not what was registered (with `check`).
    """
    from sodate.api.evaluation import reports_about
    from sodate.api.releasing import last_record
    from sodate.api.reports import measured

    found = _found(name)
    if check:
        verify(found)
    return {
        **found.manifest, "path": str(found.path), "reports": reports_about(found.id), "quality": measured(found.id),
        "gate": last_record(found), "aliases": aliases.leading_to(found.id),
    }  # fmt: skip


def trained_on() -> dict[str, list[str]]:
    """The data that each version's recipe names, its held-out file included."""
    found = {}
    for version in list_versions():
        recipe = version.manifest["recipe"]
        data = recipe.get("data") or ()
        held_out = [recipe["eval"]] if recipe.get("eval") else []
        found[version.id] = [str(one) for one in [*([data] if isinstance(data, str) else data), *held_out]]
    return found


def delete_version(name: str) -> str:
    """Deletes `name@N`, which has to be said whole, and returns its id; what its manifest says stays.

    SodateError `in_use` while it is served, or where another version is an adapter over it.
    """
    if "@" not in name:
        raise UsageError(
            tr(f"{name!r} does not say which version.", f"{name!r} では、どのバージョンか分かりません。"),
            tr("Write NAME@N.", "名前@番号 の形で指定してください。"),
            code="bad_value",
            param="version",
        )
    found = _found(name)
    registry.delete(found)
    return found.id


def _found(name: str) -> Version:
    found = find_version(name)
    if found is None:
        raise UsageError(
            tr(f"There is no version {name!r}.", f"バージョン {name!r} はありません。"),
            "sodate versions list",
            code="version_not_found",
            param="version",
        )
    return found
