"""Replies without options: confidence from tokens, calibrated with the version, field by field where they are JSON."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import sodate
from sodate.api import calibrating, generated
from sodate.api.asked import read_rows
from sodate.api.generated import Known, Said
from sodate.api.loading import load
from sodate.api.releasing import promote
from sodate.core.engine import Sampling
from sodate.core.errors import SodateError, UsageError
from sodate.core.files import write_json
from tests import farm as farms
from tests import worker


@pytest.fixture(scope="module")
def farm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[farms.Farm]:
    planted = farms.plant(tmp_path_factory.mktemp("farm"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SODATE_HOME", str(planted.home))
        patch.setenv("SODATE_LANG", "en")
        for _ in range(2):
            sodate.train(model=planted.model, data=[str(planted.train)], name="orders", max_steps=1)
        yield planted


def rows(path: Path, count: int) -> Path:
    return farms.write_rows(path, [farms.order(n) for n in range(count)])


def made_up(rng: Any) -> Any:
    """A model that is right on every second row and sure of it, less so elsewhere; of the product it is always sure."""

    def replies(loaded: Any, asked: list[Any], schema: Any = None) -> list[Said]:
        found = []
        for n, row in enumerate(asked):
            right = json.loads(row.answer)
            if n % 2 and rng.uniform() < 0.9:
                right = {**right, "quantity": right["quantity"] + 1}
            raw = float(rng.uniform(0.3, 0.6) if n % 2 else rng.uniform(0.6, 0.9))
            found.append(Said(json.dumps(right), raw, {"product": 0.9, "quantity": raw}))
        return found

    return replies


def test_a_promise_for_replies_and_one_for_each_field(
    farm: farms.Farm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(generated, "replies", made_up(np.random.default_rng(0)))
    data, cal = rows(tmp_path / "data.jsonl", 300), rows(tmp_path / "cal.jsonl", 400)
    done = sodate.decide("orders@1", data, generate=True, calibrate=cal)
    assert done["promise"] == 0.95 and done["calibrated"] and 0.4 < done["coverage"] < 0.6
    kept = [one for one in done["results"] if not one["handed_over"]]
    assert all(one["confidence"] >= done["threshold"] for one in kept)
    assert done["answered_right"] >= 0.95 and done["ece"] < 0.15 and 0.45 < done["accuracy"] < 0.65
    assert done["calibration"]["map"] in calibrating.KINDS and done["calibration"]["n"] == 400
    first = done["results"][1]
    assert first["fields"]["product"]["calibrated"] and not first["fields"]["product"]["handed_over"]
    assert first["fields"]["product"]["confidence"] > 0.95  # always right, and now it says so
    assert first["fields"]["quantity"]["handed_over"] and first["handed_over"]
    again = sodate.decide("orders@1", data, generate=True)
    assert again["threshold"] == done["threshold"] and again["promise"] == 0.95
    with pytest.raises(UsageError) as caught:
        sodate.decide("orders@1", data, generate=True, promise=0.99)
    assert caught.value.code == "not_calibrated"
    with pytest.raises(SodateError, match="takes 59 calibration rows"):
        sodate.decide("orders@1", data, generate=True, calibrate=rows(tmp_path / "few.jsonl", 20))


def test_calibration_moves_with_the_alias_and_a_schema_has_its_own(farm: farms.Farm) -> None:
    def about(level: float) -> dict[str, Any]:
        knots = {"kind": "isotonic", "x": [0.0, 1.0], "y": [level, level]}
        return {"temperature": 1.0, "promise": 0.95, "threshold": 0.9, "map": knots, "about": {}}

    for number, level in ((1, 0.7), (2, 0.8)):
        folder = farm.home / "versions" / "orders" / str(number) / "calibration"
        write_json(folder / f"{generated.key(None)}.json", {"reply": about(level), "fields": {"n": about(level)}})
    assert generated.key({"type": "object"}) != generated.key(None)
    assert Known.of("orders@2", {"type": "object"}).reply is None
    promote("orders@1", "live", override="the first", by="a test")
    assert Known.of("live").confidence(0.2) == pytest.approx(0.7)
    promote("orders@2", "live", override="the next", by="a test")
    assert Known.of("live").confidence(0.2) == pytest.approx(0.8)
    told = generated.told("orders@2", [b'{"n": ', b"1}"], [-0.1, -0.3], Sampling())
    assert told == {
        "value": pytest.approx(0.8), "calibrated": True,
        "fields": {"n": {"value": pytest.approx(0.8), "calibrated": True}},
    }  # fmt: skip
    drawn = generated.told("orders@2", [b"a"], [-0.1], Sampling(temperature=0.5))
    assert drawn is not None and not drawn["calibrated"]
    assert generated.told("orders@2", [b"a"], [None], Sampling()) is None  # an engine that tells no probabilities


def test_confidence_is_that_of_the_tokens_of_the_reply(farm: farms.Farm, tmp_path: Path) -> None:
    data = rows(tmp_path / "data.jsonl", 2)
    printed = worker.run("decide", farm.model, "--data", str(data), "--generate", "--json", home=farm.home)
    assert printed.code == 0, printed.err
    document = json.loads(printed.out)
    assert document["threshold"] is None and not document["calibrated"]
    assert {"n", "threshold", "coverage", "ece", "brier", "results"} <= set(document)
    model = load(farm.model)
    said = generated.replies(model, read_rows(data))
    assert [one["confidence"] for one in document["results"]] == pytest.approx([s.confidence for s in said], rel=1e-3)
    assert [one["answer"] for one in document["results"]] == [one.text for one in said]
