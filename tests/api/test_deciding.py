"""Decisions between options: probabilities that are exact, and a promise that is kept with the version."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import sodate
from sodate.api import deciding
from sodate.api.loading import load
from sodate.core.errors import SodateError, UsageError
from sodate.core.types import Message
from sodate.generate import branches
from sodate.kernels.threads import Watch
from sodate.library.store import find
from sodate.release.registry import find_version, register, verify
from tests import farm as farms
from tests import worker
from tests.generate.test_versions import ALL, LoraConfig
from tests.generate.test_versions import plant as plant_adapter

OPTIONS = ["apples", "pears", "boxes of pears"]


@pytest.fixture(scope="module")
def farm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[farms.Farm]:
    planted = farms.plant(tmp_path_factory.mktemp("farm"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SODATE_HOME", str(planted.home))
        patch.setenv("SODATE_LANG", "en")
        entry = find(planted.model)
        assert entry is not None
        about: dict[str, Any] = {"base": entry.id, "recipe": {"method": "sft"}, "data": {"rows_used": 3}}
        made = plant_adapter(planted.folder, LoraConfig(4, 12.0, ALL), 0)
        template = load(planted.model).renderer.template
        register("orders", about, template, lambda folder: shutil.copytree(made, folder / "adapter"))
        yield planted


def rows(path: Path, count: int, answers: list[str] | None = None) -> Path:
    lines: list[dict[str, Any]] = [{"prompt": f"Dear shop, {n} please."} for n in range(count)]
    for n, line in enumerate(lines):
        if answers:
            line["reference_answer"] = answers[n % len(answers)]
    return farms.write_rows(path, lines)


def test_probabilities_are_those_of_the_whole_replies(farm: farms.Farm, tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM

    done = sodate.decide(farm.model, rows(tmp_path / "data.jsonl", 3, OPTIONS), options=OPTIONS)
    assert (done["n"], done["threshold"], done["coverage"], done["promise"]) == (3, None, 1.0, None)
    renderer, model = load(farm.model).renderer, AutoModelForCausalLM.from_pretrained(farm.folder).eval()
    for n, one in enumerate(done["results"]):
        prompt = renderer.prompt([Message("user", f"Dear shop, {n} please.")])
        sums = []
        for option in OPTIONS:
            ids = renderer.reply(Message("assistant", option))
            with torch.no_grad():
                logp = torch.log_softmax(model(input_ids=torch.tensor([prompt + ids])).logits[0].double(), -1)
            sums.append(sum(float(logp[len(prompt) - 1 + k, token]) for k, token in enumerate(ids)))
        expected = np.exp(np.array(sums) - max(sums))
        expected /= expected.sum()
        assert list(one["probabilities"]) == OPTIONS
        assert list(one["probabilities"].values()) == pytest.approx(expected.tolist(), abs=2e-3)
        assert one["answer"] == OPTIONS[int(expected.argmax())] and one["line"] == n + 1
        assert one["confidence"] == max(one["probabilities"].values()) and not one["handed_over"]


def test_beside_a_busy_program_a_decision_takes_the_threads_that_have_a_core(
    farm: farms.Farm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    had: list[int] = []
    whole, before = branches.likelihoods, torch.get_num_threads()

    def seen(*given: Any) -> Any:
        had.append(torch.get_num_threads())
        return whole(*given)

    monkeypatch.setattr(branches, "likelihoods", seen)
    monkeypatch.setattr(Watch, "adapt", lambda watch: torch.set_num_threads(1))  # as if all others were taken
    torch.set_num_threads(2)
    try:
        sodate.decide(farm.model, rows(tmp_path / "data.jsonl", 1, OPTIONS), options=OPTIONS)
        assert had == [1] and torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def test_too_few_rows_say_how_many_it_takes(farm: farms.Farm, tmp_path: Path) -> None:
    data = rows(tmp_path / "data.jsonl", 3)
    with pytest.raises(SodateError, match="takes 59 calibration rows at least; there are 58") as caught:
        sodate.decide("orders", data, calibrate=rows(tmp_path / "cal.jsonl", 58, OPTIONS))
    assert caught.value.code == "too_few_rows" and caught.value.exit_code == 1
    with pytest.raises(UsageError, match="two options or more"):
        sodate.decide("orders", data, options="one")
    assert deciding._options("配送、返金，故障", ()) == ["配送", "返金", "故障"]
    assert deciding._options("A、B,C", ()) == ["A、B", "C"]
    (tmp_path / "options.txt").write_bytes("料金\n返品\n".encode("cp932"))
    with pytest.raises(UsageError, match=r"options\.txt is not UTF-8"):
        sodate.decide("orders", data, options=str(tmp_path / "options.txt"))
    with pytest.raises(UsageError, match="two options or more; there is none"):
        sodate.decide("orders", data)
    with pytest.raises(UsageError, match="Line 1 of the calibration file has no answer"):
        sodate.decide("orders", data, options=OPTIONS, calibrate=data)
    with pytest.raises(UsageError, match="None of the calibration's answers is one of the options"):
        sodate.decide("orders", data, options="red,blue", calibrate=rows(tmp_path / "cal.jsonl", 60, OPTIONS))


def test_a_promise_is_fitted_kept_with_the_version_and_used_again(
    farm: farms.Farm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The model is made up: it is right where it is sure, and guesses elsewhere; and it is twice as sure as it may."""
    rng = np.random.default_rng(0)
    data, cal = rows(tmp_path / "data.jsonl", 200, OPTIONS), rows(tmp_path / "cal.jsonl", 300, OPTIONS)

    def made_up(loaded: Any, asked: list[Any], chosen: list[str]) -> tuple[Any, Any]:
        table = np.full((len(asked), len(chosen)), 0.005)
        for n, one in enumerate(asked):
            if n % 2:
                table[n, chosen.index(one.answer)] = 0.99
            else:
                table[n] = rng.dirichlet([4.0] * len(chosen))
        return 2 * np.log(table), np.ones(table.shape, dtype=bool)

    monkeypatch.setattr(deciding, "log_probabilities", made_up)
    done = sodate.decide("orders", data, calibrate=cal)
    assert done["options"] == sorted(OPTIONS) and done["promise"] == 0.95
    assert 0.45 <= done["coverage"] <= 0.56
    kept = [one for one in done["results"] if not one["handed_over"]]
    assert all(one["confidence"] >= done["threshold"] for one in kept)
    assert done["answered_right"] >= 0.95
    assert done["calibration"]["n"] == 300
    assert 1 < done["temperature"] < 4 and done["ece"] < 0.12 and done["calibration"]["ece_ci"][0] <= done["ece"]
    again = sodate.decide("orders", data, options=OPTIONS)  # in another order
    assert (again["threshold"], again["promise"]) == (done["threshold"], 0.95)
    with pytest.raises(UsageError, match="99 % yet") as caught:
        sodate.decide("orders", data, promise=0.99)
    assert caught.value.code == "not_calibrated"
    version = find_version("orders@1")
    assert version is not None and len([*(version.path / "calibration").iterdir()]) == 1
    verify(version)
    load("orders")  # what lies beside is no change of the version

    # Nothing is sure: nothing can be promised, and everything is handed over.
    def unsure(loaded: Any, asked: list[Any], chosen: list[str]) -> tuple[Any, Any]:
        return rng.normal(0, 1, (len(asked), 3)), np.ones((len(asked), 3), dtype=bool)

    monkeypatch.setattr(deciding, "log_probabilities", unsure)
    none = sodate.decide("orders", data, calibrate=cal)
    assert none["threshold"] is None and none["coverage"] == 0 and all(one["handed_over"] for one in none["results"])


def test_the_command_prints_the_contract(farm: farms.Farm, tmp_path: Path) -> None:
    data, options = rows(tmp_path / "data.jsonl", 4, OPTIONS), tmp_path / "options.txt"
    options.write_text("\n".join(OPTIONS))
    done = worker.run("decide", farm.model, "--data", str(data), "--options", str(options), "--json", home=farm.home)
    assert done.code == 0, done.err
    document = json.loads(done.out)
    assert {"n", "threshold", "coverage", "ece", "brier", "results"} <= set(document)
    assert {"line", "answer", "probabilities", "confidence", "handed_over"} <= set(document["results"][0])
    assert document["ece"] is not None and 0 <= document["brier"] <= 1
