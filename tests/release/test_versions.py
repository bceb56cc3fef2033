"""What can be built on a version, and what may not take a model's name."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

import sodate
from sodate.api.evaluation import reports_about
from sodate.core.errors import UsageError
from sodate.library.store import MANIFEST
from sodate.release.lookup import look_up
from sodate.release.registry import find_version, verify
from tests import farm as farming


@pytest.fixture(scope="module")
def farm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[farming.Farm]:
    planted = farming.plant(tmp_path_factory.mktemp("farm"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SODATE_HOME", str(planted.home))
        yield planted


def test_an_adapter_over_a_fully_tuned_version_runs_on_its_weights_not_on_the_base(farm: farming.Farm) -> None:
    keys = {"data": [str(farm.train)], "max_steps": 1, "lr": 0.01}
    full = sodate.train(model=farm.model, name="whole", adapter="full", **keys)
    assert full["version"] == "whole@1"
    assert sodate.train(model="whole@1", name="thin", **keys)["version"] == "thin@1"
    reference = look_up("thin")
    version = find_version("whole@1")
    assert version is not None
    assert reference.base == "whole@1"
    assert reference.folder == version.path / "model"
    assert reference.adapter is not None
    assert sodate.load("thin").reply("hello", max_new_tokens=3).role == "assistant"


def test_whole_weights_keep_the_licence_of_their_base_and_not_the_stores_manifest(farm: farming.Farm) -> None:
    texts = {"LICENSE": b"Use it", "NOTICE.md": b"Made by", "TERMS.html": b"<p>Terms"}
    store = look_up(farm.model).folder
    for name, text in texts.items():
        (store / name).write_bytes(text)
    data = [str(farm.train)]
    sodate.train(model=farm.model, name="owned", adapter="full", data=data, max_steps=1)
    sodate.train(model="owned@1", name="owned", data=data, max_steps=1)
    assert sodate.merge("owned@2", data=farm.held)["version"] == "owned@3"
    there = {file.name for file in store.iterdir()}
    assert MANIFEST in there
    for version in ("owned@1", "owned@3"):
        found = find_version(version)
        assert found is not None
        verify(found)
        assert {file.name for file in (found.path / "model").iterdir()} == there - {MANIFEST}
        assert all((found.path / "model" / name).read_bytes() == text for name, text in texts.items())


def test_training_goes_on_from_a_versions_adapter(farm: farming.Farm) -> None:
    keys = {"data": [str(farm.train)], "shuffle": False, "batch_size": 4}
    first = sodate.train(model=farm.model, name="first", epochs=2, lr=0.01, **keys)
    second = sodate.train(model="first@1", name="second", max_steps=1, lr=1e-9, **keys)
    assert second["first_loss"] < first["first_loss"]
    assert look_up("second").base == look_up("first").base


def test_a_version_may_not_take_a_models_name(farm: farming.Farm) -> None:
    for name in (farm.model, "smollm2-135m"):
        with pytest.raises(UsageError, match="name of a base model"):
            sodate.train(model=farm.model, data=[str(farm.train)], name=name, max_steps=1)


def test_a_version_knows_its_training_report_and_the_reports_it_was_measured_in(farm: farming.Farm) -> None:
    trained = sodate.train(model=farm.model, data=[str(farm.train)], name="judged", max_steps=2)
    version = find_version(trained["version"])
    assert version is not None
    assert version.manifest["report"]["final_loss"] == trained["final_loss"]
    done = sodate.evaluate("judged", farm.held, "exact", baseline=farm.model, max_new_tokens=4)
    assert reports_about("judged@1") == [str(done.report)]
    assert reports_about("judged@2") == []
    assert Path(done.report).read_text("utf-8").count("judged") > 0
