"""The files of a recipe as rows to train on and rows held out: checked, rendered, kept in the token cache."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sodate.api.checks import nothing_to_train
from sodate.core.recipe import PolishRecipe, Recipe
from sodate.core.text import en, ja, tr
from sodate.core.types import Example, ModelFiles
from sodate.release.registry import find_version

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from sodate.data.known import Keys
    from sodate.data.tokenise import TokenisedData
    from sodate.render.renderer import Renderer
    from sodate.train.methods import TrainingMethod
    from sodate.train.rows import Rows

NAMED = 20  # known rows that the run's events name


@dataclass(frozen=True, slots=True)
class TrainingData:
    """What the files of a recipe became. The renderer that made it is not held: it is 0.1 GB for 262,144 tokens."""

    rows: Rows
    held_out: Rows
    template: str
    about: dict[str, Any]  # for the run's manifest
    examples: Callable[[], Iterator[Example]]  # of the used rows, read again
    events: tuple[dict[str, Any], ...] = ()  # to be kept with the run
    notes: tuple[str, ...] = ()  # to be said to the person


def read_data(
    recipe: Recipe, files: ModelFiles, renderer: Renderer, on_event: Callable[[str, Any], None]
) -> TrainingData:
    """Checks, renders and caches the rows to train on and those held out; raises SodateError where none are left."""
    from sodate.data.datasets import located, to_train_on
    from sodate.data.tokenise import tokenise
    from sodate.train.methods import named
    from sodate.train.rows import measure, rows_of

    method = named(recipe.method)
    held_out_file = located(recipe.eval) if recipe.eval else None
    unseen = held_out_file if recipe.leaks == "aside" else None
    shared: dict[str, Any] = {
        "renderer": renderer,
        "columns": recipe.columns or None,
        "encoding": recipe.encoding,
        "max_length": context_length(files.folder) if recipe.max_length == "auto" else recipe.max_length,
        "measure": measure(method, renderer),
        "method": recipe.method,
    }
    tokenised = tokenise([to_train_on(p) for p in recipe.data], against=unseen, **shared)
    checked = tokenised.checked
    on_event("checked", checked)
    if checked.ledger.counts["tool-form"]:
        why = renderer.why_no_tool_form
        english = f"Tool calls are written as text, not in the form of the chat template: {en(why)}."
        on_event("warning", tr(english, f"ツール呼び出しは、テンプレートの形式ではなく文字列で書きます: {ja(why)}"))
    rows = rows_of(method, tokenised)
    if not rows.sequences:
        raise nothing_to_train(recipe.method, method.wants(), recipe.data, checked)
    watched = tokenise([held_out_file], **shared) if held_out_file else None
    if watched and watched.checked.ledger.set_aside:
        on_event("checked", watched.checked)
    held_out = rows_of(method, watched)
    if watched and not held_out.sequences:
        raise nothing_to_train(recipe.method, method.wants(), (str(held_out_file),), watched.checked)
    about: dict[str, Any] = {
        "renderer": renderer.digest,
        "template_source": renderer.source,
        "template": renderer.about,
        "date": renderer.date.isoformat() if renderer.date else None,
        "data": {
            "sha256": tokenised.sha256,
            "rows_in": checked.ledger.rows_in,
            "rows_used": checked.ledger.rows_used,
        },
        "eval": {"sha256": watched.sha256, "rows_used": watched.checked.ledger.rows_used} if watched else None,
    }
    data = TrainingData(rows, held_out, renderer.template, about, checked.iter_examples)
    if isinstance(recipe, PolishRecipe):
        return _polished(recipe, files, method, tokenised, watched, data)
    return data


def known_to(files: ModelFiles) -> dict[str, Keys]:
    """What each version that led to this model was trained on, by its name; those that kept nothing are left out."""
    from sodate.data import known

    found: dict[str, Keys] = {}
    version = find_version(files.name)
    while version is not None and version.id not in found:
        sha256 = (version.manifest.get("data") or {}).get("sha256")
        keys = known.read(sha256) if sha256 else None
        if keys is not None:
            found[version.id] = keys
        start = version.manifest.get("start") or {}
        version = find_version(str(start["model"])) if start.get("model") else None
    return found


def _polished(
    recipe: PolishRecipe,
    files: ModelFiles,
    method: TrainingMethod,
    tokenised: TokenisedData,
    watched: TokenisedData | None,
    data: TrainingData,
) -> TrainingData:
    """Holds rows out where the recipe names none, and says which rows the model was trained on already."""
    import numpy as np

    from sodate.data import known
    from sodate.train import hold_out
    from sodate.train.rows import apart

    versions = known_to(files)

    def keys_of(source: TokenisedData) -> tuple[list[int], NDArray[np.bool_]]:
        """Of each row what it asks, and whether one of the versions was trained on it."""
        keys = [k for e in source.checked.iter_examples() for k in [known.asked_key(e)] * len(method.takes(e))]
        asked = np.asarray(keys, dtype=np.uint64)
        found = np.zeros(len(keys), dtype=np.bool_)
        for one in versions.values():
            found |= known.among(asked, one)
        return keys, found

    rows, held_out, about = data.rows, data.held_out, dict(data.about)
    keys, seen = keys_of(tokenised)
    seen_out = int(keys_of(watched)[1].sum()) if watched else 0
    events: list[dict[str, Any]] = []
    notes: list[str] = []
    kept = np.ones(len(keys), dtype=np.bool_)
    if recipe.eval is None:
        wanted = hold_out.count(recipe, len(keys))
        held = hold_out.choose(keys, seen, wanted, recipe.seed)
        kept = ~held
        if held.any():
            rows, held_out = apart(rows, held)
            seen_out = int((held & seen).sum())
            about["eval"] = {"held_out": int(held.sum()), "known": seen_out}
            events.append({"kind": "held out", "rows": list(held_out.names)})
            notes.append(tr(
                f"{int(held.sum())} of {len(keys)} rows are held out, to see whether training gains anything "
                "(eval=FILE names others, hold_out=0 none).",
                f"{len(keys)} 行のうち {int(held.sum())} 行を、学習の効果を確かめるために取り分けます "
                "(eval=ファイル で指定、hold_out=0 でなし)。",
            ))  # fmt: skip
        elif recipe.hold_out == "auto":
            notes.append(tr(
                "No row is held out: nothing will say whether training gained anything. Name a file with eval.",
                "検証用の行がないため、学習の効果を確かめられません。eval でファイルを指定してください。",
            ))  # fmt: skip
    again = seen & kept
    about["data"] = {**about["data"], "known": int(again.sum()), "trained_on": int(kept.sum())}
    if again.any():
        places = np.flatnonzero(again)
        names = [data.rows.names[int(place)] for place in places[:NAMED]]
        events.append({"kind": "known rows", "count": int(again.sum()), "versions": [*versions], "rows": names})
        notes.append(_known_note(int(again.sum()), int(kept.sum()), seen_out, [*versions], names))
    return TrainingData(rows, held_out, data.template, about, data.examples, tuple(events), tuple(notes))


def _known_note(again: int, trained: int, held: int, versions: list[str], names: list[str]) -> str:
    by, some = ", ".join(versions), ", ".join(names[:3])
    english = (
        f"{again} of {trained} rows ask what {by} was trained on already ({some}{', …' if again > 3 else ''}). It may "
        "know their answers by heart: then its replies hardly differ and teach little."
    )
    japanese = (
        f"{trained} 行のうち {again} 行は {by} の学習で使われた質問です ({some}{' など' if again > 3 else ''})。"
        "答えを暗記していると返答がほとんど変わらず、学べるものがわずかです。"
    )
    if held:
        english += f" So do {held} of the held-out rows: what is gained on them may not be gained on new ones."
        japanese += f"検証用の {held} 行も同様で、そこでの改善が新しい質問にも通じるとは限りません。"
    return tr(english + " New rows are worth more.", japanese + "新しい行の方が役立ちます。")


def context_length(folder: Path) -> int:
    """Tokens that the model in this folder takes at most."""
    from sodate.library.config import folder_config
    from sodate.model import attention

    return attention.context_length(folder_config(folder))
