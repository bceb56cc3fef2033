"""A tiny model in a store and a few order mails: all that a training run needs, ready in a second."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests import tiny


@dataclass(frozen=True, slots=True)
class Farm:
    """`model` is the name in the store at `home`; `folder` is where it was pulled from."""

    home: Path
    model: str
    folder: Path
    train: Path
    held: Path

    def new_home(self, path: Path) -> Path:
        """An empty SODATE_HOME that has the model."""
        path.mkdir(parents=True)
        (path / "models").symlink_to(self.home / "models")
        return path


def order(number: int) -> dict[str, Any]:
    product = ("apples", "pears", "boxes")[number % 3]
    said = f"Dear shop, please send {number} {product} to our office."
    reply = json.dumps({"product": product, "quantity": number})
    return {"messages": [{"role": "user", "content": said}, {"role": "assistant", "content": reply}]}


def write_rows(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), "utf-8")
    return path


def plant(root: Path, **config: object) -> Farm:
    """Makes model and data under `root` and pulls the model into `root`/home."""
    from sodate.library.sources import pull

    folder = tiny.llama_folder(root / "seedling", **config)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SODATE_HOME", str(root / "home"))
        entry = pull(str(folder))
    train = write_rows(root / "orders.jsonl", [order(n) for n in range(11, 25)])
    held = write_rows(root / "held.jsonl", [order(n) for n in range(71, 75)])
    return Farm(root / "home", entry.name, folder, train, held)


def adapter_bytes(home: Path, version: str = "orders@1") -> bytes:
    name, _, number = version.partition("@")
    return (home / "versions" / name / number / "adapter" / "adapter_model.safetensors").read_bytes()


def curve(home: Path) -> list[dict[str, Any]]:
    """metrics.jsonl of the only run in `home`, without what the clock says."""
    (file,) = (home / "runs").glob("*/metrics.jsonl")
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    return [{key: value for key, value in line.items() if key != "seconds"} for line in lines]


def events(home: Path) -> list[dict[str, Any]]:
    (file,) = (home / "runs").glob("*/events.jsonl")
    return [json.loads(line) for line in file.read_text().splitlines()]


def the_run(home: Path) -> str:
    (file,) = (home / "runs").glob("*/run.json")
    return file.parent.name
