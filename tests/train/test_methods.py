"""Every method that a recipe can name registers itself in a file of that name."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from sodate.core.errors import SodateError
from sodate.core.recipe import METHODS
from sodate.core.types import Conversation, Message
from sodate.render.renderer import Rendered
from sodate.train import methods

FOLDER = Path(methods.__file__).parent


def registers(file: Path) -> bool:
    """Whether the file assigns METHOD at its top."""
    body = ast.parse(file.read_text("utf-8")).body
    targets = [target for node in body if isinstance(node, ast.Assign) for target in node.targets]
    return any(isinstance(target, ast.Name) and target.id == "METHOD" for target in targets)


def test_the_files_that_register_a_method_are_those_that_recipes_name() -> None:
    assert {file.stem for file in FOLDER.glob("*.py") if registers(file)} == set(METHODS)


@pytest.mark.parametrize("name", METHODS)
def test_a_method_is_found_by_the_name_that_recipes_use(name: str) -> None:
    method = methods.named(name)
    assert isinstance(method, methods.TrainingMethod) and method.build.__module__ == f"sodate.train.{name}"
    assert method.wants().strip()


def test_a_row_that_cannot_be_rendered_gives_its_error_and_leaves_the_others_alone() -> None:
    rows = [Conversation((Message("user", text),)) for text in ("one", "bad", "three")]

    def render(renderer: object, row: object) -> list[Rendered]:
        text = row.messages[0].content  # type: ignore[attr-defined]
        if text == "bad":
            raise SodateError("no")
        return [Rendered([len(text)], [1.0])]

    first, second, third = methods.one_by_one(render)(None, rows)  # type: ignore[arg-type]
    assert (first, third) == ([Rendered([3], [1.0])], [Rendered([5], [1.0])]) and isinstance(second, SodateError)
