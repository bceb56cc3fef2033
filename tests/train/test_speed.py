"""The type, the library and the threads of a run: decided once, kept with the run, and kept to when it is resumed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

import sodate
from sodate.core.errors import SodateError
from sodate.core.recipe import SFTRecipe
from sodate.core.runs import RunFolder
from sodate.kernels import machine, products
from sodate.kernels.machine import ProductKind, SpeedChoice
from sodate.release.lookup import look_up
from sodate.train import speed
from tests.farm import Farm, plant

CPU = torch.device("cpu")
FAST = SpeedChoice(ProductKind("float32", "mkl", 1), {"float32 mkl 1": 120.0, "bfloat16 onednn 2": 90.0})


@pytest.fixture(scope="module")
def farm(tmp_path_factory: pytest.TempPathFactory) -> Farm:
    return plant(tmp_path_factory.mktemp("speed"))


@pytest.fixture(autouse=True)
def threads() -> Any:
    before = ProductKind("float32", products.library(), torch.get_num_threads())
    yield
    machine.use(before)


def chosen(farm: Farm, began: dict[str, Any], **keys: Any) -> SpeedChoice:
    recipe = SFTRecipe(model=farm.model, data=(str(farm.train),), **keys)
    return speed.choose(recipe, look_up(farm.model), CPU, began, whole=False, quantised=False)


def test_a_resumed_run_keeps_what_it_began_with(farm: Farm, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SODATE_HOME", str(farm.home))
    monkeypatch.setattr(machine, "try_training", lambda *_: pytest.fail("tried again"))
    began = {"dtype": "bfloat16", "products": "onednn", "threads": 3, "processes": 1, "rates": {"float32 mkl 2": 9.0}}
    assert chosen(farm, began) == SpeedChoice(ProductKind("bfloat16", "onednn", 3), {"float32 mkl 2": 9.0})
    assert chosen(farm, began | {"processes": 2}).kind.threads == torch.get_num_threads()
    del began["products"], began["rates"]  # a run of an earlier version
    assert chosen(farm, began).kind.library == machine.usual(1).library


def test_a_type_that_the_recipe_names_is_not_tried(farm: Farm, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SODATE_HOME", str(farm.home))
    monkeypatch.setattr(machine, "try_training", lambda *_: pytest.fail("tried"))
    assert chosen(farm, {}, dtype="bfloat16").kind.dtype == "bfloat16"


def test_memory_may_choose_bfloat16_and_says_so(farm: Farm, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SODATE_HOME", str(farm.home))
    monkeypatch.setattr(machine, "try_training", lambda *_: FAST)

    def refuse(recipe: Any, files: Any, device: Any, dtype: torch.dtype, quantised: bool) -> None:
        if dtype == torch.float32:
            raise SodateError("too large")

    assert chosen(farm, {}) == FAST
    monkeypatch.setattr(speed, "refuse_too_large", refuse)
    choice = chosen(farm, {})
    assert choice.kind == ProductKind("bfloat16", "onednn", 1) and choice.by_memory
    (dtype, *_) = speed.decisions(choice, "bfloat16")
    assert "fit in memory" in dtype.reason


def test_what_was_measured_is_shown_and_kept_with_the_run(
    farm: Farm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SODATE_HOME", str(farm.new_home(tmp_path / "home")))
    monkeypatch.setattr(machine, "try_training", lambda *_: FAST)
    told: list[Any] = []
    result = sodate.train(model=farm.model, data=str(farm.train), max_steps=1,
                          on_event=lambda kind, data: told.extend(data if kind == "decisions" else ()))  # fmt: skip
    manifest = RunFolder.find(result["run"]).manifest
    for kept in (result, manifest, manifest["result"]):
        assert (kept["dtype"], kept["threads"], kept["rates"]) == ("float32", 1, FAST.rates)
    assert manifest["products"] == "mkl" and torch.get_num_threads() == 1
    said = {one.key: one for one in told}
    assert said["threads"].value == 1
    assert said["products"].reason.endswith("float32 by mkl on 1: 120, bfloat16 by onednn on 2: 90")
    json.dumps(result)
