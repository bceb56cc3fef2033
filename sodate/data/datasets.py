"""Datasets are versions: immutable folders datasets/<name>/<N>, each with rows, a ledger and where each row is from.

    datasets/support/7/
      dataset.json     role, rows, what came, went and changed since 6, by whom, licences, hash of the rows
      rows.jsonl       a row a line, as `sodate train` reads it; `origin` says where it comes from and has its `row` id
      ledger.jsonl     the rows that were given and not taken, each with its reason
    datasets/support/uses.jsonl     of a held-out dataset: every time something was measured with it
    datasets/support/lock           one adder at a time

A dataset is for training or held out, from its first version on. Wherever a file of rows is read, `support@7` may
stand instead.
Of a deleted version dataset.json stays, as deleted.json: its number is never given to other rows.
"""

from __future__ import annotations

import functools
import json
import math
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sodate.core import home
from sodate.core.errors import SodateError, UsageError
from sodate.core.files import fsync_dir, full_disk, full_disk_said, sha256_file
from sodate.core.manifests import SCHEMA_VERSION, DatasetManifest, DatasetUse, read_manifest
from sodate.core.runs import now
from sodate.core.text import json_text, tr

WORN = 50  # uses: by luck alone the best of so many looks 2.8 standard errors better, the least that shows 4 times in 5
DISCORDANT = 0.2  # of rows about which two models differ, as `sodate.evaluate` assumes before it knows


@dataclass(frozen=True, slots=True)
class Dataset:
    """An immutable `name@N` on disk."""

    name: str
    number: int
    path: Path

    @property
    def id(self) -> str:
        return f"{self.name}@{self.number}"

    @property
    def rows(self) -> Path:
        return self.path / "rows.jsonl"

    @property
    def manifest(self) -> DatasetManifest:
        value: DatasetManifest = read_manifest(self.path / "dataset.json")
        return value

    @property
    def held_out(self) -> bool:
        return self.manifest["role"] == "held-out"

    def each(self) -> Iterator[dict[str, Any]]:
        """Its rows, one at a time."""
        with self.rows.open(encoding="utf-8") as lines:
            for line in lines:
                yield json.loads(line)


def folder(name: str) -> Path:
    """Where the versions of a name lie. UsageError for what can't be a name."""
    return home.datasets_dir() / home.checked_name(name, tr("Dataset", "データセット"))


def versions(name: str) -> list[Dataset]:
    """The versions of a name that are there, oldest first."""
    found = [Dataset(name, number, path) for number, path in numbers(folder(name))]
    return sorted((one for one in found if (one.path / "dataset.json").exists()), key=lambda one: one.number)


def numbers(root: Path) -> list[tuple[int, Path]]:
    """Every number that was given, to versions that were deleted since, too."""
    return [(int(path.name), path) for path in root.iterdir() if path.name.isdecimal()] if root.is_dir() else []


def newest() -> list[Dataset]:
    """The newest version of every name."""
    root = home.datasets_dir()
    names = sorted(path.name for path in root.iterdir() if home.NAME.fullmatch(path.name)) if root.is_dir() else []
    return [found[-1] for name in names if (found := versions(name))]


def find(reference: str) -> Dataset:
    """`name@N`, or the newest of `name`; UsageError where there is none."""
    name, _, number = reference.partition("@")
    there = versions(name)
    found = [one for one in there if not number or str(one.number) == number]
    if not found:
        known = ", ".join(one.id for one in there or newest())
        others = tr(f"There are: {known}.", f"あるもの: {known}")
        raise UsageError(
            tr(f"There is no dataset {reference}.", f"データセット {reference} はありません。"),
            others if known else tr("There is no dataset yet.", "データセットはまだありません。"),
            code="dataset_not_found", param="data",
        )  # fmt: skip
    return found[-1]


def meant(file: str | Path) -> str:
    """What to write where a file is not there: the dataset of that name, or which datasets there are."""
    there, name = newest(), Path(file).name
    if (same := next((one for one in there if one.name == name), None)) is not None:
        return tr(f"The newest version of the dataset is written {same.id}.",
                  f"データセットの最新バージョンは {same.id} と書きます。")  # fmt: skip
    if there and home.NAME.fullmatch(name) and not Path(name).suffix:
        known = ", ".join(one.id for one in there)
        return tr(f"Check the path. Datasets: {known}.", f"パスを確かめてください。データセット: {known}")
    return tr("Check the path.", "パスを確かめてください。")


def fill() -> str:
    """What to do about a file without rows."""
    return tr("Write rows into it: an object a line (JSONL), or column names and then a line for each row (CSV).",
              "行を書いてください。JSONL なら 1 行に 1 オブジェクト、CSV なら列名の下に 1 件 1 行です。")  # fmt: skip


def referred(file: str | Path) -> Dataset | None:
    """The dataset that `name@N` names where rows are asked for; None for a file of that name or any other."""
    return None if home.dataset_rows(str(file)) is None else find(str(file))


def located(file: str | Path) -> Path:
    """Where the rows are that a file's name or `name@N` means. SodateError where they are not what was added."""
    found = referred(file)
    if found is None:
        return Path(file)
    status = found.rows.stat()
    _verify(found.rows, found.manifest["sha256"], status.st_size, status.st_mtime_ns)
    return found.rows


def to_train_on(file: str | Path) -> Path:
    """As `located`, but UsageError for held-out rows, named as a dataset or by their file."""
    found = referred(file) or _of(Path(file))
    if found is not None and found.held_out:
        raise UsageError(
            tr(f"{found.id} is held out: what is measured with is never trained on.",
               f"{found.id} は評価用です。測定に使う行は学習に使えません。"),
            code="held_out_data", param="data", file=found.rows,
        )  # fmt: skip
    return located(file)


def _of(file: Path) -> Dataset | None:
    """The dataset that a file is of."""
    root, file = home.datasets_dir(), file.absolute()
    parts = file.relative_to(root).parts if file.is_relative_to(root) else ()
    return find(f"{parts[0]}@{parts[1]}") if len(parts) == 3 and home.DATASET.fullmatch("@".join(parts[:2])) else None


@functools.lru_cache(64)
def _verify(path: Path, sha256: str, size: int, changed: int) -> None:
    if sha256_file(path) != sha256:
        raise SodateError(
            tr(f"{path} is not what was added.", f"{path} の内容が追加時と違います。"), code="damaged", file=path
        )


def delete(found: Dataset) -> None:
    """Deletes a version's rows for good; what its manifest says stays, as deleted.json."""
    (found.path / "dataset.json").rename(found.path / "deleted.json")
    fsync_dir(found.path)
    for path in found.path.iterdir():
        if path.name != "deleted.json":
            path.unlink()


# ── uses ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


def count_use(file: str | Path, what: str, about: str) -> dict[str, Any] | None:
    """Notes that something was measured with a held-out dataset, and says how worn it is; None for any other file.

    `what` is evaluation, validation or calibration; `about` the report or run.
    """
    found = referred(file) or _of(Path(file))
    if found is None or not found.held_out:
        return None
    line: DatasetUse = {
        "schema_version": SCHEMA_VERSION,
        "at": now(),
        "dataset": found.id,
        "what": what,
        "about": about,
    }
    path = folder(found.name) / "uses.jsonl"
    data = (json_text(line) + "\n").encode()
    with full_disk_said(path):
        log = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            if os.write(log, data) != len(data):
                raise full_disk(path)
            os.fsync(log)
        finally:
            os.close(log)
    return wear(found)


def uses(name: str) -> list[DatasetUse]:
    """Every use of a held-out dataset, oldest first. A line that a full disk cut off is none."""
    try:
        lines = (folder(name) / "uses.jsonl").read_text("utf-8").splitlines(keepends=True)
    except FileNotFoundError:
        return []
    return [json.loads(line) for line in lines if line.endswith("\n")]


def wear(found: Dataset) -> dict[str, Any]:
    """How often a held-out dataset was used, and what the best of so many candidates gains by luck alone.

    Of k candidates that are all equal the best looks better by √(2 ln k) standard errors; of a paired difference over n
    rows, a fifth of which differ, that error is √(0.2 / n). `worn` from 50 uses on.
    """
    count, rows = len(uses(found.name)), found.manifest["rows"]
    luck = math.sqrt(DISCORDANT / max(rows, 1)) * math.sqrt(2 * math.log(max(count, 1)))
    return {"dataset": found.id, "uses": count, "luck": round(luck, 4), "worn": count >= WORN}


def wear_said(about: dict[str, Any]) -> str:
    """The sentence about that."""
    name, count, points = about["dataset"], about["uses"], f"{100 * about['luck']:.1f}"
    if about["worn"]:
        return tr(
            f"{name} was used {count} times and is worn out: luck alone makes the best of so many candidates look "
            f"{points} points better. Add fresh held-out rows, or begin another.",
            f"{name} は {count} 回使われ、使い古されています。これだけの候補を比べると、最良のものは偶然だけで "
            f"{points} ポイント良く見えます。新しい評価用の行を加えるか、別のものを用意してください。",
        )
    return tr(
        f"{name} was used {count} times; luck alone makes the best of so many look {points} points better.",
        f"{name} の使用は {count} 回目です。これだけ比べると、最良のものは偶然だけで {points} ポイント良く見えます。",
    )
