"""CYCLE.yaml: what one improvement cycle works on, read once and kept with it.

name: orders                    # of the versions that come out
alias: orders@production        # what is compared with, and moved
recipe: recipe.yaml             # how to train, with the base as its model; data and name are the cycle's to set
dataset: orders                 # what is trained on, a version more with each cycle
held_out: orders-test           # what is measured with, on a road of its own
graders: [fields]               # the first one decides which candidate is the better one
gate: {target: [fields], guard: {json: 0.02}, blocking: []}    # or a file; without it nothing is ever promoted
project: default                # whose reviewed exchanges become rows; left out: none
new: [corrected.jsonl]          # more rows that people wrote or reviewed
held_out_share: 0.2             # of new rows that go to the held-out side
unreviewed: false               # whether rows that no person reviewed are trained on
continuation: true              # whether the version in production is also trained further
promote: true                   # false: stop when the gate has spoken
prices: prices.yaml             # what tokens and hours cost, for the page
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from sodate.api.grading import check_specs
from sodate.core import home
from sodate.core.errors import UsageError
from sodate.core.paths import is_file, refusal
from sodate.core.recipe import load_recipe
from sodate.core.text import en, ja, said_by, tr
from sodate.core.yaml_files import keyless, yaml_value


@dataclass(frozen=True, slots=True)
class CycleFile:
    """The settings of a cycle. Files are absolute."""

    path: Path
    name: str
    alias: str
    recipe: Path
    dataset: str
    held_out: str
    graders: tuple[str, ...]
    gate: Mapping[str, Any]
    project: str | None = None
    new: tuple[Path, ...] = ()
    held_out_share: float = 0.2
    unreviewed: bool = False
    continuation: bool = True
    promote: bool = True
    prices: Path | None = None


KEYS = tuple(one for one in CycleFile.__dataclass_fields__ if one != "path")
_NEEDED = ("name", "alias", "recipe", "dataset", "held_out", "graders", "gate")
_TIERS = ("blocking", "target", "guard")


def read_cycle(path: str | Path) -> CycleFile:
    """The settings of a file. UsageError names the key that is missing, unknown, or of another kind."""
    file = Path(path).absolute()
    given = _mapping(file)
    if unknown := [key for key in given if key not in KEYS]:
        raise _refused(file, str(unknown[0]), tr("there is no such key", "そのようなキーはありません"))
    if missing := [key for key in _NEEDED if given.get(key) is None]:
        raise _refused(file, missing[0], tr("it is missing", "ありません"))

    def text(key: str, default: str | None = None) -> Any:
        value = given.get(key, default)
        if value is not None and not isinstance(value, str):
            raise _refused(file, key, tr("it is a text", "文字列にしてください"))
        return value

    def switch(key: str, default: bool) -> bool:
        value = given.get(key, default)
        if not isinstance(value, bool):
            raise _refused(file, key, tr("it is true or false", "true か false にしてください"))
        return value

    def there(key: str, name: str) -> Path:
        found = file.parent / name
        if not is_file(found):
            raise _refused(file, key, tr(f"there is no file {found}", f"ファイル {found} がありません"))
        return found

    share = given.get("held_out_share", 0.2)
    if isinstance(share, bool) or not isinstance(share, int | float) or not 0 <= share < 1:
        raise _refused(file, "held_out_share", tr("it lies from 0 to below 1", "0 以上 1 未満にしてください"))
    graders = tuple(_grader(file, one) for one in _texts(file, given, "graders"))
    if not graders:
        raise _refused(file, "graders", tr("it is a list of graders", "採点方法のリストにしてください"))
    if given["dataset"] == given["held_out"]:
        raise _refused(file, "held_out", tr("it is the training dataset", "学習用のデータセットと同じです"))
    recipe, gate = there("recipe", text("recipe")), _gate(file, given["gate"])
    # What would stop a later step stops the first one: until then rows have been added, and hours trained.
    load_recipe(recipe, {"data": ["-"]})
    check_specs([*graders, *gate["blocking"], *gate["target"], *gate["guard"]])
    return CycleFile(
        file, home.checked_name(text("name"), tr("The name of a cycle", "サイクルの名前")), text("alias"),
        recipe, text("dataset"), text("held_out"), graders, gate,
        text("project"), tuple(there("new", one) for one in _texts(file, given, "new")), float(share),
        switch("unreviewed", False), switch("continuation", True), switch("promote", True),
        there("prices", text("prices")) if given.get("prices") else None,
    )  # fmt: skip


def _mapping(file: Path) -> dict[str, Any]:
    try:
        given = yaml_value(file.read_text("utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        why = refusal(error)
        raise UsageError(
            tr(f"{file} can't be read: {en(why)}.", f"{file} を読めません: {ja(why)}"),
            code="file_missing", param="cycle", file=file,
        ) from None  # fmt: skip
    except yaml.YAMLError as error:
        fault = said_by(error)
        raise _refused(file, "", tr(f"it is not YAML: {en(fault)}", f"YAML として読めません: {ja(fault)}")) from None
    if not isinstance(given, dict):
        raise _refused(file, "", keyless(given))
    return given


def _texts(file: Path, given: Mapping[str, Any], key: str) -> list[str]:
    value = given.get(key, [])
    listed = [value] if isinstance(value, str) else value
    if not isinstance(listed, list) or not all(isinstance(one, str) for one in listed):
        raise _refused(file, key, tr("it is a list of texts", "文字列のリストにしてください"))
    return listed


def _grader(file: Path, spec: str) -> str:
    """A grader's spec whose file is found from every folder."""
    kind, colon, rest = spec.partition(":")
    beside = file.parent / rest
    return f"{kind}:{beside}" if colon and rest and is_file(beside) else spec


def _gate(file: Path, given: Any) -> Mapping[str, Any]:
    """What the gate asks for: keys of `release.gate`, of which baseline and data are the cycle's."""
    where = file.parent / given if isinstance(given, str) else file
    if not is_file(where):
        raise _refused(file, "gate", tr(f"there is no file {where}", f"ファイル {where} がありません"))
    own = _mapping(where) if isinstance(given, str) else given
    if not isinstance(own, dict) or not any(own.get(tier) for tier in _TIERS):
        raise _refused(file, "gate", tr("it asks for nothing", "条件が一つもありません"))
    asked: dict[str, Any] = {tier: [_grader(where, one) for one in _texts(where, own, tier)] for tier in _TIERS[:2]}
    margins = own.get("guard") or {}
    if not isinstance(margins, dict):
        raise _refused(where, "guard", tr("it is a margin for each grader", "採点ごとの許容幅を書いてください"))
    for one, margin in margins.items():
        if isinstance(margin, bool) or not isinstance(margin, int | float) or not 0 <= margin <= 1:
            raise _refused(where, "guard", tr(f"the margin of {one} lies from 0 to 1",
                                              f"{one} の許容幅は 0 以上 1 以下にしてください"))  # fmt: skip
    return {**asked, "guard": {_grader(where, str(one)): margin for one, margin in margins.items()}}


def _refused(file: Path, key: str, why: str) -> UsageError:
    at = f"{file}: {key}" if key else str(file)
    return UsageError(
        tr(f"{at}: {en(why)}.", f"{at}: {ja(why)}。"),
        tr(f"Keys: {', '.join(KEYS)}.", f"使えるキー: {', '.join(KEYS)}"),
        code="bad_cycle", param=key or "cycle", file=file,
    )  # fmt: skip
