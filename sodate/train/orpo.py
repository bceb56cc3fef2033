"""ORPO: supervised fine-tuning on the chosen replies with a penalty where the rejected one has the better odds. No
reference, and no supervised run before it. The reward of a reply is β · mean log-probability of its tokens."""

from __future__ import annotations

from sodate.core.recipe import ORPORecipe
from sodate.losses import preference
from sodate.train import pairs
from sodate.train.methods import Setup, TrainingMethod, one_by_one
from sodate.train.pairs import Batch, PairLoss, PairLosses


def pair_loss(recipe: ORPORecipe) -> PairLoss:
    """β times the odds-ratio loss of each pair; the likelihood of the chosen replies is added by `Pairs`."""

    def losses(batch: Batch, _price: float) -> PairLosses:
        loss = preference.orpo(batch.chosen, batch.rejected, batch.chosen_tokens, batch.rejected_tokens)
        return PairLosses(
            recipe.beta * loss,
            recipe.beta * batch.chosen / batch.chosen_tokens,
            recipe.beta * batch.rejected / batch.rejected_tokens,
        )

    return losses


def _build(setup: Setup) -> pairs.Pairs:
    assert isinstance(setup.recipe, ORPORecipe)
    return pairs.build(setup, pair_loss(setup.recipe), likelihood_weight=1.0)


METHOD = TrainingMethod(
    takes=pairs.takes, wants=pairs.wants, render=one_by_one(pairs.render), build=_build, report=pairs.report
)
