"""From a name to files: a version (`orders@1`, `orders` for its newest, or an alias) or a base model in the store.

A name never does anything: looking one up fetches nothing, converts nothing and touches no path outside SODATE_HOME,
so that it may come from a request or from somebody else's recipe. `sodate.pull` is the act that fetches.
"""

from __future__ import annotations

import datetime
import difflib

from sodate.core.errors import SodateError, UsageError
from sodate.core.files import sha256_json
from sodate.core.text import en, ja, tr
from sodate.core.types import ModelFiles
from sodate.library.recorded import check_recorded
from sodate.library.store import MANIFEST, find, list_models
from sodate.library.wheels import BUILT_IN
from sodate.release.registry import find_version


def is_known(name: str) -> bool:
    """Whether the name means a version or a model that is in the store."""
    return find_version(name) is not None or find(name) is not None


def identity(name: str) -> str:
    """What a version or model is, as one hash: of the recorded hashes of its files and of the weights below it.

    SodateError or UsageError for what is not known.
    """
    version = find_version(name)
    if version is not None:
        below = None if version.adapter is None else identity(version.manifest["base"])
        return sha256_json({"files": version.manifest["files"], "base": below})
    entry = find(name)
    if entry is None:
        raise _not_here(name)
    return sha256_json(dict(entry.sha256))


def look_up(name: str) -> ModelFiles:
    """Resolves a reference, its files checked against their recorded hashes.

    Raises SodateError or UsageError saying what is known, or which file was changed.
    """
    version = find_version(name)
    if version is None:
        entry = find(name)
        if entry is None:
            raise _not_here(name)
        check_recorded(entry.path, entry.sha256, MANIFEST)
        return ModelFiles(name, entry.id, entry.path, None, None)
    check_recorded(version.path, version.manifest["files"], "version.json")
    base = version.manifest["base"]
    template = (version.path / "template.jinja").read_text("utf-8")
    # A version from before days were pinned was made on the day it was trained, or on the next.
    date = datetime.date.fromisoformat(version.manifest.get("date") or version.manifest["created_at"][:10])
    if version.adapter is None:
        return ModelFiles(version.id, version.id, version.path / "model", None, template, date=date)
    quantised = version.manifest.get("adapter") == "qlora"
    entry = find(base)
    if entry is not None:
        check_recorded(entry.path, entry.sha256, MANIFEST)
        return ModelFiles(version.id, base, entry.path, version.adapter, template, quantised, date)
    if find_version(base) is not None:  # an adapter over a version with all weights
        return ModelFiles(version.id, base, look_up(base).folder, version.adapter, template, quantised, date)
    raise SodateError(
        tr(f"{version.id} needs the base model {base}, which is not here.",
           f"{version.id} に必要なベースモデル {base} がありません。"),
        f"sodate models pull {base.rpartition('@')[0]}",
        code="model_not_found", param="model",
    )  # fmt: skip


def _not_here(name: str) -> SodateError:
    if name in BUILT_IN:
        return SodateError(
            tr(f"The model {name} has not been pulled yet.", f"モデル {name} はまだ取り込まれていません。"),
            f"sodate models pull {name}",
            code="model_not_pulled",
            param="model",
        )
    near = difflib.get_close_matches(name, [*BUILT_IN, *(entry.name for entry in list_models())], 1)
    meant = tr(f" Did you mean {near[0]}?", f"{near[0]} のことですか?") if near else tr("", "")
    return UsageError(
        tr(f"{name!r} is neither a version nor a model that was pulled.{en(meant)}",
           f"{name!r} はバージョンでも、取り込み済みのモデルでもありません。{ja(meant)}"),
        tr("A hub id, a model folder or a .gguf file is pulled first: sodate models pull NAME. It then goes by "
           "the name that this prints.",
           "ハブの ID、モデルのフォルダー、.gguf ファイルは先に取り込みます: sodate models pull 名前。"
           "以後は、そこで表示された名前で使えます。"),
        code="model_not_found", param="model",
    )  # fmt: skip
