"""`sodate data check --for grpo --model VERSION`: what the model can do already, before a run is paid for.

Only tasks whose replies earn different rewards teach anything: where all are right nothing is left to gain, and where
all are wrong nothing is tried that could be rewarded.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from sodate.core import progress
from sodate.core.errors import UsageError
from sodate.core.intervals import wilson
from sodate.core.recipe import METHODS, RolloutRecipe, validated
from sodate.core.text import en, ja, tr
from sodate.data.check import Checked

if TYPE_CHECKING:
    from sodate.train.rollout import Rollouts

TASKS = 64  # tried, evenly spread over the file
AT_ONCE = 16  # tasks sampled at a time, to tell how far it is
RIGHT = 0.999  # a reward from which on nothing is left
WORTH = 0.2  # share of tasks in between below which it is little: as a run says before its first step

Verdict = Literal["worth training", "little to learn here", "nothing to learn here"]


def teaching(
    checked: Checked, model: str, method: str, rewards: Sequence[str] | str, keys: Mapping[str, Any]
) -> dict[str, Any]:
    """Scores `samples` replies of the model to each of up to TASKS of the tasks; returns shares with their intervals.

    `keys` are those of the method's recipe (samples, batch_size, max_new_tokens, …).
    """
    from sodate.data import known
    from sodate.train.resolve import auto_batch
    from sodate.train.rollout import flat_groups
    from sodate.train.rollout_setup import takes, wants

    recipe = _recipe(model, method, rewards, keys)
    keys_asked = [known.asked_key(task) for example in checked.iter_examples() for task in takes(example)]
    count = len(keys_asked)
    if not count:
        raise UsageError(
            tr(f"No row is for {method}: it takes {en(wants())}.", f"{method} 用の行がありません: {ja(wants())}"),
            code="wrong_rows", param="data",
        )  # fmt: skip
    found = (task for example in checked.iter_examples() for task in takes(example))
    chosen = list(itertools.islice(found, 0, None, math.ceil(count / TASKS)))
    rollouts = _rollouts(recipe, chosen)
    samples = []
    for start in range(0, len(chosen), AT_ONCE):
        progress.report("replies", start * recipe.samples, len(chosen) * recipe.samples, model)
        samples += rollouts.draw(rollouts.tasks[start : start + AT_ONCE], -1, start)
    earned, flat = flat_groups(samples, recipe.samples)
    right = flat & (earned[:, 0] >= RIGHT)
    n = len(chosen)
    counts = {
        "always_right": int(right.sum()), "always_wrong": int((flat & ~right).sum()), "in_between": int((~flat).sum()),
    }  # fmt: skip
    batch = auto_batch(count) if recipe.batch_size == "auto" else recipe.batch_size
    share = counts["in_between"] / n
    seen = _known(keys_asked, model)
    return {
        "method": method, "model": model, "rewards": list(recipe.rewards), "tasks": count, "tried": n,
        "samples": recipe.samples, "reward_mean": float(earned.mean()),
        **{key: {"share": one / n, "ci": list(wilson(one, n)), "count": one} for key, one in counts.items()},
        "known": seen, "batch_size": batch, "steps": math.ceil(share * count / batch),
        "verdict": _verdict(share),
    }  # fmt: skip


def _verdict(share: float) -> Verdict:
    if not share:
        return "nothing to learn here"
    return "little to learn here" if share < WORTH else "worth training"


def _known(asked: Sequence[int], model: str) -> int | None:
    """How many rows ask what the model was trained on; None where that was not kept."""
    import numpy as np

    from sodate.api.training_data import known_to
    from sodate.data import known
    from sodate.release.lookup import look_up

    versions = known_to(look_up(model))
    if not versions:
        return None
    keys = np.asarray(asked, dtype=np.uint64)
    return int(np.any([known.among(keys, one) for one in versions.values()], axis=0).sum())


def _recipe(model: str, method: str, rewards: Sequence[str] | str, keys: Mapping[str, Any]) -> RolloutRecipe:
    kind = METHODS.get(method)
    if kind is None or not issubclass(kind, RolloutRecipe):
        names = ", ".join(name for name, one in METHODS.items() if issubclass(one, RolloutRecipe))
        raise UsageError(
            tr(f"--for takes a method that learns from rewards: {names}.",
               f"--for には報酬から学ぶ手法を指定してください: {names}"),
            code="bad_value", param="for",
        )  # fmt: skip
    given = rewards if isinstance(rewards, str) else tuple(rewards)
    found = validated(kind, {"method": method, "model": model, "data": ("-",), "rewards": given, **keys}, "")
    assert isinstance(found, RolloutRecipe)
    return found


def _rollouts(recipe: RolloutRecipe, examples: Sequence[Any]) -> Rollouts:
    """The model with its adapter as a run begins with them, and these tasks."""
    from sodate.adapt import adapters
    from sodate.adapt import files as adapter_files
    from sodate.api.judging import LocalJudges
    from sodate.api.loading import renderer_of, with_adapter
    from sodate.api.rewards import load_reward
    from sodate.core.runs import ReadOnlyRun
    from sodate.model import fused
    from sodate.release.lookup import look_up
    from sodate.train import rollout_setup
    from sodate.train.methods import Setup
    from sodate.train.rows import Rows

    files = look_up(recipe.model)
    renderer = renderer_of(files)
    sequences = [rollout_setup.render(renderer, one) for one in examples]
    rows = Rows(examples, sequences, [one.source or str(number) for number, one in enumerate(examples)])
    model, config = with_adapter(files, recipe.device, "float32")
    if config is not None and adapter_files.merges(config):
        adapters.merge(model)
    fused.replace_modules(model, model.get_input_embeddings().weight.dtype)
    return rollout_setup.rollouts(
        Setup(
            recipe, model, lambda: renderer, ReadOnlyRun(Path()), rows, Rows([], [], []), 2048, lambda text: None,
            lambda name: load_reward(name).score, LocalJudges(),
        ),
        recipe,
    )  # fmt: skip
