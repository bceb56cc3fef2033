"""What is asked of a recipe, its data and a run before training begins."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from sodate.core import home
from sodate.core.errors import SodateError, UsageError
from sodate.core.recipe import Recipe, RolloutRecipe
from sodate.core.runs import RunFolder
from sodate.core.text import en, ja, tr
from sodate.data.check import stamp_of
from sodate.data.datasets import located, referred
from sodate.library.store import find
from sodate.library.wheels import BUILT_IN
from sodate.release import aliases


def absolute(recipe: Recipe) -> Recipe:
    """The recipe with absolute paths, so that a run can be resumed from any folder. Datasets keep their names."""
    paths: dict[str, Any] = {"data": tuple(map(_absolute, recipe.data))}
    for key in ("eval", "init_adapter"):
        if (value := getattr(recipe, key)) is not None:
            paths[key] = _absolute(value) if key == "eval" else str(Path(value).absolute())
    if recipe.template is not None and recipe.template.endswith(".jinja"):
        paths["template"] = str(Path(recipe.template).absolute())
    if isinstance(recipe, RolloutRecipe):
        paths["rewards_from"] = str(Path(recipe.rewards_from or "").absolute())
    return recipe.model_copy(update=paths)


def _absolute(file: str) -> str:
    return file if referred(file) is not None else str(Path(file).absolute())


def check_name(name: str) -> None:
    """A version's name is a plain name, and neither a model's nor an alias: those must go on meaning what they do."""
    home.checked_name(name, "name")
    if aliases.moves(name):
        raise UsageError(
            tr(f"name = {name!r} is an alias.", f"name = {name!r} はエイリアスです。"),
            tr("Choose another name for the version.", "バージョンには別の名前を付けてください。"),
            code="bad_name",
            param="name",
        )
    if name in BUILT_IN or find(name) is not None:
        raise UsageError(
            tr(f"name = {name!r} is the name of a base model.", f"name = {name!r} はベースモデルの名前です。"),
            tr("Choose another name for the version.", "バージョンには別の名前を付けてください。"),
            code="bad_name",
            param="name",
        )


def there(files: Iterable[str | Path | None]) -> None:
    """UsageError for a file of rows, or a dataset, that is not there."""
    for file in files:
        if file is not None:
            stamp_of(located(file))


def refuse_recipe(recipe: Recipe) -> None:
    """UsageError for what is wrong with a recipe and can be said before its model is fetched."""
    if recipe.name is not None:
        check_name(recipe.name)
    there((*recipe.data, recipe.eval))


def refuse_measuring(graders: Iterable[str], models: Iterable[str], files: Iterable[str | Path | None]) -> None:
    """The same of an evaluation."""
    from sodate.api.judging import LocalJudges
    from sodate.api.models import refuse_unknown
    from sodate.grade import parse_grader

    there(files)
    for one in graders:
        parse_grader(one, judges=LocalJudges())
    refuse_unknown(models)


def refuse_changes(run: RunFolder, about: dict[str, Any]) -> None:
    """A resumed run must see the same data, model and template, or it would not be the same run."""
    manifest: Mapping[str, Any] = run.manifest
    for key, what in (("data", tr("training data", "学習データ")), ("eval", tr("held-out data", "検証データ")),
                      ("base", tr("base model", "ベースモデル")), ("start", tr("initial adapter", "初期アダプター")),
                      ("renderer", tr("template or tokenizer", "テンプレートまたはトークナイザー"))):  # fmt: skip
        if manifest[key] != about[key]:
            raise SodateError(
                tr(
                    f"The {en(what)} changed since run {run.name} began.",
                    f"実行 {run.name} の開始後に{ja(what)}が変わりました。",
                ),
                tr(
                    "Start a new run; resuming would mix two datasets in one result.",
                    "新しく実行してください。再開すると異なる内容が混ざります。",
                ),
                code="changed",
                param=key,
            )


def nothing_to_train(method: str, wants: str, files: tuple[str, ...], checked: Any) -> SodateError:
    """Why no row of these files is one that `method` learns from; `wants` says what it does learn from."""
    if checked.ledger.rows_used:
        return SodateError(
            tr(f"The rows of {', '.join(files)} are {checked.format}; method={method} needs {en(wants)}.",
               f"{', '.join(files)} の行は {checked.format} です。method={method} には{ja(wants)}が必要です。"),
            _other_method(method, checked.format),
            code="wrong_rows", param="data", file=files[0],
        )  # fmt: skip
    first = next(iter(checked.ledger.set_aside), None)
    reason = f" {first.file}:{first.line}: " + first.message if first else ""
    return SodateError(
        tr(
            f"Every row of {', '.join(files)} is set aside.{en(reason)}",
            f"{', '.join(files)} の全行が除外されました。{ja(reason)}",
        ),
        tr("`sodate data check` lists all reasons.", "`sodate data check` ですべての理由を確認できます。"),
        code="no_rows",
        param="data",
        file=first.file if first else None,
        line=first.line if first else None,
    )


def _other_method(method: str, found: str) -> str:
    """The way out for rows of the format `found`: a method that takes them, or columns that make them fit."""
    if found == "preference-unpaired":
        return tr("Replies labelled true or false are for method=kto.",
                  "true / false の付いた返答には method=kto を使ってください。")  # fmt: skip
    if found == "preference-ranking" and method != "sft":
        return tr("No two of the replies were ranked one above the other.", "上下の順位が付いた返答の組がありません。")
    if found.startswith("preference"):
        return tr("Preference pairs are for method=dpo.", "選好データには method=dpo を使ってください。")
    return tr("If a column holds the reply, name it: --columns prompt=COLUMN,completion=COLUMN.",
              "返答の列があれば指定してください: --columns prompt=列,completion=列")  # fmt: skip
