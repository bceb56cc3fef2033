"""`check`: files in, a ledger out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from sodate.data.check import Checked
from sodate.data.check import check as check_files


def check(
    files: Sequence[str | Path] | str | Path,
    *,
    against: str | Path | None = None,
    model: str | None = None,
    columns: Mapping[str, str] | None = None,
    encoding: str | None = None,
    max_length: int | None = None,
) -> Checked:
    """Checks training files, with token counts and control tokens when a model is named.

    `against` is a held-out file that must stay unknown to training; `max_length` is in tokens.
    """
    paths = [files] if isinstance(files, (str, Path)) else files
    renderer = None
    if model is not None:
        from sodate.api.loading import refer
        from sodate.render.renderer import Renderer

        reference = refer(model)
        renderer = Renderer.from_folder(reference.folder, reference.template)
    return check_files(
        [Path(p) for p in paths], against=Path(against) if against else None, renderer=renderer, columns=columns,
        encoding=encoding, max_length=max_length,
    )  # fmt: skip
