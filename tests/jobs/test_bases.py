"""What a job may begin with, or its grader ask: what the project sees, and nothing by any other name of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from sodate.api.grading import settled
from sodate.core.errors import UsageError
from sodate.jobs import bases
from sodate.library.sources import pull
from sodate.release.registry import register
from tests.tiny import llama_folder


@pytest.fixture
def base(home: Path, tmp_path: Path) -> str:
    """A home with a base model, and a version that the command line made over it."""
    entry = pull(str(llama_folder(tmp_path / "tiny")))

    def save(folder: Path) -> None:
        (folder / "adapter").mkdir()
        (folder / "adapter" / "adapter_config.json").write_text("{}")

    register("orders", {"base": entry.id, "recipe": {"method": "sft"}, "data": {"rows_used": 3}}, "x", save)
    return entry.id


@pytest.mark.parametrize("name", ["orders", "orders@1"])
def test_a_version_of_the_house_is_not_there_for_another_project(base: str, name: str) -> None:
    assert bases.find(name, "default", {}) == "orders@1"
    with pytest.raises(UsageError) as refused:
        bases.find(name, "shop", {})
    with pytest.raises(UsageError) as unknown:
        bases.find("nothing", "shop", {})
    assert refused.value.code == unknown.value.code == "model_not_available"
    assert str(refused.value) == str(unknown.value).replace("nothing", name)


def test_base_models_are_for_all(base: str) -> None:
    assert bases.find("tiny", "shop", {}) == bases.find("tiny", "default", {}) == base


def test_the_models_that_a_grader_asks_are_those_of_the_project(base: str) -> None:
    judge = {"type": "score_model", "name": "j", "model": "tiny", "input": []}
    check = {"type": "string_check", "name": "c", "input": "a", "reference": "b", "operation": "eq"}
    multi = {"type": "multi", "name": "m", "graders": {"a": check, "b": judge}, "calculate_output": "a + b"}
    found = settled(multi, lambda model: bases.find(model, "shop", {}))
    assert found == {**multi, "graders": {"a": check, "b": {**judge, "model": base}}}
    assert settled({**multi, "graders": judge}, lambda model: "x")["graders"]["model"] == "x"
    with pytest.raises(UsageError):
        settled({**judge, "model": "orders"}, lambda model: bases.find(model, "shop", {}))
