"""Direct preference optimisation: replies people preferred become likelier than those they did not, measured against
the model before training. The reward of a reply is β · log π/π_ref."""

from __future__ import annotations

from sodate.core.recipe import DPORecipe
from sodate.losses import preference
from sodate.train import cached_reference, pairs
from sodate.train.methods import Setup, TrainingMethod, one_by_one
from sodate.train.pairs import Batch, PairLoss, PairLosses


def pair_loss(recipe: DPORecipe) -> PairLoss:
    """The loss of each pair under the recipe's `loss`, `beta` and `label_smoothing`."""

    def losses(batch: Batch, price: float) -> PairLosses:
        beta = price * recipe.beta
        loss = preference.dpo(
            batch.chosen, batch.rejected, batch.reference_chosen, batch.reference_rejected,
            beta=beta, kind=recipe.loss, label_smoothing=recipe.label_smoothing,
            chosen_tokens=batch.chosen_tokens, rejected_tokens=batch.rejected_tokens,
        )  # fmt: skip
        return PairLosses(
            loss,
            beta * (batch.chosen - batch.reference_chosen),
            beta * (batch.rejected - batch.reference_rejected),
        )

    return losses


def _build(setup: Setup) -> pairs.Pairs:
    recipe = setup.recipe
    assert isinstance(recipe, DPORecipe)
    start = cached_reference.start_of(setup.run.manifest)
    return pairs.build(setup, pair_loss(recipe), start=start, likelihood_weight=recipe.sft_weight)


METHOD = TrainingMethod(
    takes=pairs.takes,
    wants=pairs.wants,
    render=one_by_one(pairs.render),
    build=_build,
    report=pairs.report,
)
