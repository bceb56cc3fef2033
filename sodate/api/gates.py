"""Gates that are kept under a name, so that version after version is held against the same one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from sodate.core import home
from sodate.core.errors import UsageError
from sodate.core.files import write_text
from sodate.core.text import tr
from sodate.release.gate import Gate, parsed, read_gate


def gates() -> list[dict[str, Any]]:
    """Every gate that is kept: its name, what it compares with, its data, and what each tier asks."""
    return [{"gate": path.stem, **_told(read_gate(path))} for path in sorted(home.gates_dir().glob("*.yaml"))]


def located(gate: str | Path) -> Path:
    """The file of a gate, or of the one that is kept under this name."""
    name = str(gate)
    kept = home.gates_dir() / f"{name}.yaml"
    return kept if not Path(gate).exists() and home.NAME.fullmatch(name) and kept.exists() else Path(gate)


def spoken(path: str) -> str:
    """How a person calls the gate at `path`: by its name where it is kept under one."""
    return Path(path).stem if Path(path).parent == home.gates_dir() else path


def keep_gate(
    name: str, *, data: str, baseline: str = "", blocking: Sequence[str] = (), target: Sequence[str] = (),
    guard: Mapping[str, float] | None = None,
) -> dict[str, Any]:  # fmt: skip
    """Keeps a gate under a name that no other has: who passed it is not to be asked which. `data` is a file of
    held-out rows or a dataset. UsageError for what is no gate, naming why."""
    path = home.gates_dir() / f"{home.checked_name(name, tr('Gate', 'ゲート'))}.yaml"
    tiers = {"blocking": list(blocking), "target": list(target), "guard": dict(guard or {})}
    asked = {key: value for key, value in {"baseline": baseline, "data": data, **tiers}.items() if value}
    told = _told(parsed(asked, path))
    about = yaml.safe_dump(asked, allow_unicode=True, sort_keys=False)
    if path.exists() and path.read_text("utf-8") != about:
        raise UsageError(
            tr(f"There is a gate {name} already.", f"ゲート {name} はすでにあります。"),
            tr("Choose another name.", "別の名前を付けてください。"),
            code="bad_name", param="name",
        )  # fmt: skip
    write_text(path, about)
    return {"gate": name, **told}


def _told(gate: Gate) -> dict[str, Any]:
    return {"baseline": gate.baseline, "data": None if gate.data is None else str(gate.data),
            "blocking": list(gate.blocking), "target": list(gate.target), "guard": dict(gate.guard)}  # fmt: skip
