"""Two months of use, reviewed and learnt from, killed (SIGKILL) at writes all along the way: they end as if nothing had
happened."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from safetensors.torch import load_file

import sodate
from sodate.api import datasets as verbs
from sodate.api.releasing import meaning
from sodate.api.versions import versions
from sodate.core import home as homes
from sodate.core.manifests import read_manifest
from sodate.data import datasets
from sodate.learn import review
from tests import worker
from tests.learn.made import DAY, TODAY, exchange, keep
from tests.learn.test_cycle import rows, write

MONTHS = ("2024-10", "2024-11")
KILLS = (3, 9, 18, 32)  # at these writes of one attempt after the other, in each month


def place(root: Path, folder: Path, patch: pytest.MonkeyPatch) -> tuple[Path, Path]:
    """A home with a model and two datasets, and the cycle's file."""
    home = root / "home"
    home.mkdir(parents=True)
    (home / "exchanges.key").write_text("42" * 32)
    patch.setenv("SODATE_HOME", str(home))
    model = sodate.pull(str(folder)).name
    verbs.add(write(root / "train.jsonl", rows(16, 0, "yes")), "orders")
    verbs.add(write(root / "test.jsonl", rows(24, 100, "yes")), "orders-test", role="held-out")
    recipe = {"model": model, "data": "-", "adapter": "full", "lr": 0.01, "epochs": 4, "batch_size": 8, "save_every": 1}
    (root / "recipe.yaml").write_text(yaml.safe_dump(recipe), "utf-8")
    about = {"name": "orders", "alias": "orders@production", "recipe": "recipe.yaml", "dataset": "orders",
             "held_out": "orders-test", "graders": ["exact"], "gate": {"target": ["exact"]}, "project": "default",
             "continuation": False}  # fmt: skip
    (root / "cycle.yaml").write_text(yaml.safe_dump(about), "utf-8")
    return home, root / "cycle.yaml"


def use(first: int, day: int) -> None:
    """Twelve exchanges of a day (from TODAY), each corrected by a reviewer."""
    for number, row in enumerate(rows(12, first, "yes"), first):
        keep(exchange(f"chatcmpl-{number}", row["prompt"], "no", created_at=TODAY + day * DAY))
        review.decide(f"chatcmpl-{number}", "aoki", "correct", correction="yes", drawn="random")


def ended(home: Path, patch: pytest.MonkeyPatch) -> dict[str, Any]:
    """All that came of it, but for times and places."""
    patch.setenv("SODATE_HOME", str(home))
    made = [one["version"] for one in versions()]
    months = {}
    for month in MONTHS:
        told = read_manifest(homes.cycles_dir() / "orders" / month / "cycle.json")
        months[month] = {key: told.get(key) for key in ("candidate", "verdict", "promoted", "stock", "new", "dataset")}
        months[month]["steps"] = [(one["name"], one["status"], one["why"]) for one in told["steps"]]
        months[month]["scores"] = (told.get("measured") or {}).get("models")
    return {
        "months": months,
        "datasets": {one.id: one.manifest["content"] for newest in datasets.newest()
                     for one in datasets.versions(newest.name)},
        "versions": made,
        "production": meaning("orders@production")["version"],
        "runs": len(list(homes.runs_dir().iterdir())),
    }  # fmt: skip


def test_months_killed_at_any_write_end_as_those_that_were_not(
    tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = []
    for name, kills in (("whole", ()), ("killed", KILLS)):
        home, file = place(tmp_path / name, folder, monkeypatch)
        for number, month in enumerate(MONTHS):
            use(300 + 40 * number, 31 * number)
            died = 0
            for kill in itertools.chain(kills, [None]):
                done = worker.run("cycle", str(file), "--month", month, "--json", home=home, kill_at_write=kill)
                if done.code == 0:
                    break
                assert done.code == -9, done.err
                died += 1
            assert done.code == 0 and died >= min(3, len(kills)), (done.err, died)
            assert json.loads(done.out)["month"] == month
        found.append(ended(home, monkeypatch))
    assert found[0] == found[1]
    assert found[0]["months"]["2024-10"]["promoted"] and found[0]["versions"] == ["orders@1", "orders@2"]
    first, second = (weights(tmp_path / name / "home") for name in ("whole", "killed"))
    assert first.keys() == second.keys() and first
    assert [name for name, tensor in first.items() if not torch.equal(tensor, second[name])] == []


def weights(home: Path) -> dict[str, torch.Tensor]:
    """All weights of all versions."""
    files = sorted((home / "versions").rglob("*.safetensors"))
    return {f"{file.relative_to(home)} {name}": tensor for file in files for name, tensor in load_file(file).items()}
