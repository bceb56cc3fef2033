"""SimPO: as DPO, but without a reference: the mean log-probability of a reply's tokens is its reward, so that a longer
reply is worth no more, and the chosen one must lead by γ."""

from __future__ import annotations

from sodate.core.recipe import SimPORecipe
from sodate.losses import preference
from sodate.train import pairs
from sodate.train.methods import Setup, TrainingMethod, one_by_one
from sodate.train.pairs import Batch, PairLoss, PairLosses


def pair_loss(recipe: SimPORecipe) -> PairLoss:
    """The loss of each pair under the recipe's `beta` and `gamma`."""

    def losses(batch: Batch, _price: float) -> PairLosses:
        loss = preference.simpo(
            batch.chosen, batch.rejected, batch.chosen_tokens, batch.rejected_tokens,
            beta=recipe.beta, gamma=recipe.gamma,
        )  # fmt: skip
        return PairLosses(
            loss,
            recipe.beta * batch.chosen / batch.chosen_tokens,
            recipe.beta * batch.rejected / batch.rejected_tokens,
        )

    return losses


def _build(setup: Setup) -> pairs.Pairs:
    assert isinstance(setup.recipe, SimPORecipe)
    return pairs.build(setup, pair_loss(setup.recipe))


METHOD = TrainingMethod(
    takes=pairs.takes, wants=pairs.wants, render=one_by_one(pairs.render), build=_build, report=pairs.report
)
