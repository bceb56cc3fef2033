"""Held-out rows where the recipe names none: how many, and which, by the hashes of what they ask.

The choice depends on the prompts and the seed alone, so that a resumed run holds the same rows out. Rows that ask the
same stand on one side.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from sodate.core.recipe import PolishRecipe, RolloutRecipe
from sodate.train.resolve import auto_batch, looks, openai_epochs

SHARE = 0.2  # of the rows, at most
MOST = 200
FEWEST = 16  # held-out rows; fewer could hardly show anything, so that a file of less than 5 × 16 rows gives none
BUDGET = 0.1  # of what the run computes, for all looks together
# What a look at one row costs, to what a step computes for one: a pair goes forward once, and not back; a task gets one
# greedy reply, and not `samples` of them with gradients, twice, and those of prompts that others take the place of
# (docs/lab/rewards.md: looks at 76 rows took 3 to 5 % of a run of 24 steps, where 1.0 had reckoned with 10).
PAIR, REPLIES = 1 / 3, 0.65


def count(recipe: PolishRecipe, rows: int) -> int:
    """How many of these rows are held out; 0 where there are too few."""
    if recipe.hold_out != "auto":
        return min(recipe.hold_out, rows - 1)
    most = min(MOST, math.floor(SHARE * rows))
    if most < FEWEST:
        return 0
    batch = auto_batch(rows) if recipe.batch_size == "auto" else recipe.batch_size
    epochs = openai_epochs(rows) if recipe.epochs == "auto" else recipe.epochs
    steps = math.ceil(epochs * rows / batch) if recipe.max_steps is None else recipe.max_steps
    cost = REPLIES / recipe.samples if isinstance(recipe, RolloutRecipe) else PAIR
    return max(FEWEST, min(most, math.floor(BUDGET * steps * batch / ((1 + looks(steps)) * cost))))


def choose(keys: Sequence[int], known: NDArray[np.bool_], wanted: int, seed: int) -> NDArray[np.bool_]:
    """(rows,) which are held out: about `wanted`, rows of one key together, never all.

    Rows that the model was not trained on come first, where at least twice as many of them are there: on the others a
    gain would say little.
    """
    rows = np.asarray(keys, dtype=np.uint64)
    fresh = ~known
    pool = fresh if fresh.sum() >= 2 * wanted else np.ones(len(rows), dtype=np.bool_)
    order = sorted(set(rows[pool].tolist()), key=lambda key: _rank(key, seed))
    held = np.zeros(len(rows), dtype=np.bool_)
    for key in order:
        if held.sum() >= wanted:
            break
        held |= rows == np.uint64(key)
    return held if not held.all() else np.zeros(len(rows), dtype=np.bool_)


def _rank(key: int, seed: int) -> bytes:
    return hashlib.blake2b(f"{seed}\x1f{key}".encode(), digest_size=8).digest()
