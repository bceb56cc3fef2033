"""`merge`: the adapter of a version becomes part of its weights, and what that changes is measured."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sodate.api.checks import check_name
from sodate.api.loading import with_adapter
from sodate.core import progress
from sodate.core.errors import SodateError, UsageError
from sodate.core.text import tr
from sodate.core.types import Conversation
from sodate.release.lookup import look_up
from sodate.release.registry import Version, find_version, register

if TYPE_CHECKING:
    from sodate.render.renderer import Rendered, Renderer

ROWS = 32  # compared


def merge(
    name: str, *, into: str | None = None, data: str | Path | None = None, dtype: str = "auto", device: str = "auto"
) -> dict[str, Any]:
    """Makes a version with whole weights of one with an adapter; returns its id and how its logits differ.

    Weights in 4 bits are dequantised once. `into` names the new version (default: the next of the same name); `dtype`
    is what it is kept in (default: as its base). The logits of the first rows of `data` are compared: by default of the
    files it was watched or trained on. Raises UsageError for a version without an adapter that can be merged.
    """
    from sodate.adapt import adapters, bottleneck
    from sodate.adapt import files as adapter_files
    from sodate.model import load, stream
    from sodate.model.difference import difference, view
    from sodate.render.renderer import Renderer

    version = find_version(name)
    if version is None or version.adapter is None:
        raise UsageError(
            tr(f"{name} is not a version with an adapter.", f"{name} はアダプター付きのバージョンではありません。"),
            tr("`sodate versions list` shows them all.", "`sodate versions list` で一覧を見られます。"),
            code="wrong_model",
            param="version",
        )
    if version.head is not None:
        raise UsageError(
            tr(f"{version.id} is a reward model; it scores with its adapter as it is.",
               f"{version.id} は報酬モデルです。アダプターのまま採点に使えます。"),
            tr("Merge a version that answers.", "応答するバージョンを指定してください。"),
            code="wrong_model", param="version",
        )  # fmt: skip
    if into is not None:
        check_name(into)
    config = adapter_files.read_adapter(version.adapter)
    if not adapter_files.merges(config):
        raise bottleneck.unmergeable()
    files = look_up(version.id)
    renderer = Renderer.from_folder(files.folder, files.template, date=files.date)
    rows = list(_rows(version, renderer, data))
    kept_in = stream.stored_dtype(files.folder) if dtype == "auto" else load.pick_dtype(dtype, load.pick_device(device))
    model, _ = with_adapter(files, device, "float32")
    progress.report("merge", 0, 1)
    before = view(model, rows)
    adapters.merge(model)
    load.round_weights(model, kept_in)
    gap = difference(before, view(model, rows))

    def write_weights(folder: Path) -> None:
        (folder / "model").mkdir()
        load.save_full(model, files.folder, folder / "model", kept_in)

    about = {
        k: v
        for k, v in version.manifest.items()
        if k not in ("schema_version", "version", "created_at", "code", "files")
    }
    merged = {"from": version.id, "dtype": str(kept_in).removeprefix("torch."), "rows": len(rows), "difference": gap}
    merged_version = register(into or version.name, about | {"merged": merged}, renderer.template, write_weights)
    progress.report("merge", 1, 1)
    return {"version": merged_version.id, "path": str(merged_version.path), **merged}


def _rows(version: Version, renderer: Renderer, data: str | Path | None) -> Iterator[Rendered]:
    """The first sequences of the first of the files that is there."""
    from sodate.data.check import check
    from sodate.data.datasets import located, referred

    recipe = version.manifest["recipe"]
    wanted = [data] if data else [recipe.get("eval"), *recipe["data"]]
    file = next((located(w) for w in wanted if w and (data or referred(w) or Path(w).is_file())), None)
    if file is None:
        raise UsageError(
            tr(f"The files {version.id} was trained on are gone.", f"{version.id} の学習ファイルが見つかりません。"),
            tr("Give rows to compare logits on: --data FILE.", "比較用の行を指定してください: --data FILE"),
            code="file_missing",
            param="data",
        )
    given = {"columns": recipe.get("columns") or None, "encoding": recipe.get("encoding")} if not data else {}
    checked = check([file], renderer=renderer, **given)
    examples = [e for _, e in zip(range(ROWS), checked.iter_examples(), strict=False) if isinstance(e, Conversation)]
    if not examples:
        raise SodateError(
            tr(f"{file} has no conversation to compare logits on.", f"{file} に比較できる会話がありません。"),
            tr("Give another file: --data FILE.", "別のファイルを指定してください: --data FILE"),
            code="wrong_rows",
            param="data",
            file=file,
        )
    for example in examples:
        yield from renderer.render(example)
