"""`train_seeds`: the same recipe with several seeds, so that luck can be told from gain."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sodate.api.training import Listener, train
from sodate.core.errors import UsageError
from sodate.core.recipe import Recipe, load_recipe
from sodate.core.text import tr

SHOWN = ("best_eval_loss", "final_loss")


def train_seeds(
    recipe: Recipe | str | Path | None = None, *, seeds: int, on_event: Listener = lambda kind, data: None, **keys: Any
) -> dict[str, Any]:
    """Trains `seeds` versions by a recipe whose seeds follow each other, from its own on, and says how far they spread.

    The result is that of the seed whose loss is the median one, with `versions`, `seeds` and `results` of all and the
    `spread` (mean, standard deviation, all values) of their losses. `sodate eval` of all these versions tells luck of
    the seed from gain. Raises as `train` does, and UsageError for fewer than two seeds.
    """
    if seeds < 2:
        raise UsageError(
            tr("Spread takes two seeds at least.", "ばらつきを見るには、シードが 2 つ以上必要です。"),
            code="bad_value", param="seeds",
        )  # fmt: skip
    own = recipe if isinstance(recipe, Recipe) else load_recipe(Path(recipe) if recipe else None, keys)
    used = [own.seed + n for n in range(seeds)]
    results = [train(own.model_copy(update={"seed": seed}), on_event=on_event) for seed in used]
    spread = {key: _spread([float(one[key]) for one in results]) for key in SHOWN if results[0].get(key) is not None}
    ranked = sorted(results, key=lambda one: float(one[next(iter(spread))]))
    versions = [one["version"] for one in results if one["version"] is not None]
    median = ranked[(seeds - 1) // 2]
    return {**median, "versions": versions, "seeds": used, "spread": spread, "results": results}


def _spread(values: Sequence[float]) -> dict[str, Any]:
    return {"mean": statistics.fmean(values), "sd": statistics.stdev(values), "values": list(values)}
