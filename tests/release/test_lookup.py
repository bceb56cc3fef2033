"""Looking a name up does nothing: no download, no conversion, no path outside the store, whoever names what."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

import sodate
from sodate.core.errors import SodateError
from sodate.library import sources
from sodate.release.lookup import look_up
from tests import worker
from tests.farm import Farm, plant


@pytest.fixture(scope="module")
def farm(tmp_path_factory: pytest.TempPathFactory) -> Farm:
    return plant(tmp_path_factory.mktemp("farm"))


def names(farm: Farm) -> list[str]:
    """What could be fetched, converted or read, if a name did anything."""
    return ["smollm2-135m", "org/name", str(farm.folder), f"{farm.folder}/../seedling", os.path.relpath(farm.folder)]


def test_no_name_does_anything_where_it_is_only_named(
    farm: Farm, home: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(sources, "pull", lambda *rest, **more: pytest.fail("pulled"))
    recipe = tmp_path / "recipe.yaml"
    for name in names(farm):
        recipe.write_text(json.dumps({"model": name, "data": str(farm.train)}))
        for act in (
            lambda name=name: look_up(name),
            lambda name=name: sodate.load(name),
            lambda name=name: sodate.check(farm.train, model=name),
            lambda name=name: sodate.train(model=name, data=str(farm.train)),
            lambda: sodate.train(recipe),
            lambda name=name: sodate.evaluate([name], farm.held, ["exact"]),
        ):
            with pytest.raises(SodateError, match="sodate models pull"):
                act()
    assert not (home / "models").exists()


def test_the_answer_does_not_tell_whether_there_is_such_a_path(farm: Farm, home: Path) -> None:
    said = []
    for name in (str(farm.folder), f"{farm.folder}x"):
        with pytest.raises(SodateError) as caught:
            look_up(name)
        said.append(str(caught.value).replace(name, "NAME"))
    assert said[0] == said[1]


def test_a_folder_named_on_the_command_line_is_pulled_and_said(farm: Farm, home: Path, tmp_path: Path) -> None:
    home.mkdir()
    words = ["--data", str(farm.train), "--name", "mails", "max_steps=1", "--json"]
    done = worker.run("train", "--model", str(farm.folder), *words, home=home)
    assert done.code == 0 and "is not among the models here yet: pulling it" in done.err, done.err
    run = json.loads((Path(json.loads(done.out)["run_dir"]) / "run.json").read_text())
    assert run["recipe"]["model"] == "seedling" and run["base"].startswith("seedling@")
    again = worker.run("train", f"model={farm.folder}", *words, home=home)
    assert again.code == 0 and len(list((home / "models").glob("seedling@*"))) == 1
    done = worker.run("generate", str(farm.folder), "--prompt", "Hi", "--max-tokens", "2", "--json", home=home)
    assert done.code == 0, done.err


def test_a_recipe_file_names_no_folder_even_on_the_command_line(farm: Farm, home: Path) -> None:
    home.mkdir()
    recipe = farm.folder.parent / "recipe.yaml"
    for name in (str(farm.folder), "seedling"):
        recipe.write_text(json.dumps({"model": name, "data": str(farm.train)}))
        done = worker.run("train", str(recipe), home=home)
        assert done.code == 2 and "sodate models pull" in done.err, done.err
        assert not (home / "models").exists()


def test_a_built_in_model_comes_with_the_verb_that_names_it(farm: Farm, home: Path, monkeypatch: Any) -> None:
    from sodate.cli.at_hand import at_hand

    asked: list[str] = []

    def pull(name: str, *rest: object, **more: object) -> Any:
        asked.append(name)
        return type("Entry", (), {"name": name, "id": f"{name}@1"})()

    monkeypatch.setattr(sources, "pull", pull)
    assert at_hand("smollm2-135m") in ("smollm2-135m", "smollm2-135m@1") and asked == ["smollm2-135m"]
    assert at_hand("org/name") == "org/name" and at_hand("nothing") == "nothing" and len(asked) == 1


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("train --model smollm2-135m --data FARM/nosuch.jsonl --name mails", "nosuch.jsonl is not there"),
        ("train --model smollm2-135m --data ROWS --eval FARM/nosuch.jsonl", "nosuch.jsonl is not there"),
        ("train --model smollm2-135m --data ROWS --name a/b", "not a usable name"),
        ("train --model smollm2-135m --data ROWS --name gemma3-270m", "the name of a base model"),
        ("eval smollm2-135m --data FARM/nosuch.jsonl --grader exact", "nosuch.jsonl is not there"),
        ("eval smollm2-135m --data ROWS --grader exat", "Did you mean exact?"),
        ("eval mails --baseline smollm2-135m --data ROWS --grader exact", "'mails' is neither a version"),
        ("eval smollm2-135m --data ROWS --grader exact --shots FARM/nosuch.jsonl", "nosuch.jsonl is not there"),
        ("data check FARM/nosuch.jsonl --model smollm2-135m", "nosuch.jsonl is not there"),
        ("data show FARM/nosuch.jsonl", "nosuch.jsonl is not there"),
    ],
)
def test_what_is_wrong_with_a_command_is_said_before_a_model_is_fetched(
    words: str, said: str, farm: Farm, home: Path
) -> None:
    home.mkdir()
    at = [word.replace("FARM", str(farm.folder.parent)).replace("ROWS", str(farm.train)) for word in words.split()]
    done = worker.run(*at, home=home)
    assert done.code == 2 and said in done.err and "pulling" not in done.err, done.err
    assert not (home / "models").exists()
