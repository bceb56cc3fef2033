"""A reward model: one score per reply, so that a reply people ranked higher scores higher.

A row is the k replies to one prompt, which is computed once. Each row counts the same, however many replies it has: the
pairs of a row hang together (arXiv 2203.02155, § 3.5). Ties and replies that nobody ranked make no pair.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from sodate.core.recipe import RewardRecipe
from sodate.core.types import Example, Preference, Ranking
from sodate.losses import reward
from sodate.model import scalar_head
from sodate.render import trie
from sodate.render.renderer import Rendered, Renderer
from sodate.train import pairs
from sodate.train.loop import MicroBatchLoss, Update, Validation
from sodate.train.methods import Setup, TrainingMethod, one_by_one
from sodate.train.reward_report import ScoredReplies, report
from sodate.train.rows import Rows


@dataclass(frozen=True, slots=True)
class Compared:
    """The replies to one prompt as sequences that end where the head reads; ranks; tokens of each reply; margin."""

    sequences: Sequence[Rendered]
    ranks: Sequence[int | None]
    lengths: Sequence[int]
    margin: float


def takes(example: Example) -> Sequence[Example]:
    """A pair, or a ranking in which at least one pair is decided."""
    return (example,) if isinstance(example, Preference) or (isinstance(example, Ranking) and example.pairs()) else ()


def render(renderer: Renderer, example: Example) -> list[Rendered]:
    """A sequence for each reply."""
    assert isinstance(example, Preference | Ranking)
    replies = example.replies if isinstance(example, Ranking) else (example.chosen, example.rejected)
    return renderer.render_replies(example.prompt, replies, example.tools)


def compared(example: Example, sequences: Sequence[Rendered]) -> Compared:
    """What `render` made of the example, ready to be scored."""
    assert isinstance(example, Preference | Ranking)
    ranks, margin = (example.ranks, 0.0) if isinstance(example, Ranking) else ((1, 2), example.margin)
    lengths = [sum(weight > 0 for weight in sequence.weights) for sequence in sequences]
    return Compared([scalar_head.at_the_end(sequence) for sequence in sequences], ranks, lengths, margin)


class Reward:
    """The method of the loop. The model carries its adapter and a scalar head."""

    def __init__(
        self,
        model: Any,
        train: Sequence[Compared],
        held_out: Sequence[Compared],
        recipe: RewardRecipe,
        *,
        names: Sequence[str],
        micro_tokens: int,
    ) -> None:
        self.model = model
        self.train = train
        self.held_out = held_out
        self.recipe = recipe
        self.names = names
        self.rows = len(train)
        self.micro_tokens = micro_tokens
        self.memory: dict[str, float] = {}

    def length(self, row: int) -> int:
        """Tokens of all replies with their prompt."""
        return sum(len(sequence.ids) for sequence in self.train[row].sequences)

    def updates(self, step: int, rows: Sequence[int]) -> Iterator[Update]:
        metrics: dict[str, float] = {}
        yield Update(len(rows), self._parts([self.train[r] for r in rows], metrics), metrics)

    def heaviest(self, steps: Iterator[Sequence[int]]) -> tuple[int, Callable[[], MicroBatchLoss]]:
        """The computed tokens of the largest micro-batch of these steps' rows, and what computes it."""
        sequences = [row.sequences for row in self.train]
        computed, rows = trie.heaviest(steps, sequences, self.micro_tokens)
        return computed, lambda: next(self._parts([self.train[r] for r in rows], {}))

    def validate(self) -> Validation | None:
        if not self.held_out:
            return None
        metrics: dict[str, float] = {}
        with torch.inference_mode():
            loss = sum(part.loss.item() for part in self._parts(self.held_out, metrics)) / len(self.held_out)
        return Validation(loss, {f"eval_{key}": value for key, value in metrics.items()})

    def report(self) -> dict[str, Any]:
        """What the scores are worth on the held-out rows; without any, nothing is known and nothing is trusted."""
        if not self.held_out:
            return {"reward_model": {"prompts": 0, "trustworthy": False}}
        rows: list[ScoredReplies] = []
        with torch.inference_mode():
            for _, group, scores in self._scored(self.held_out):
                rows += [
                    ScoredReplies(s.tolist(), row.lengths, row.ranks) for row, s in zip(group, scores, strict=True)
                ]
        return {"reward_model": report(rows)}

    def _parts(self, rows: Sequence[Compared], metrics: dict[str, float]) -> Iterator[MicroBatchLoss]:
        """The micro-batches. Behind the last one, `metrics` holds the means over the decided pairs."""
        better: list[Tensor] = []
        worse: list[Tensor] = []
        for packed, group, scores in self._scored(rows):
            losses = []
            for row, score in zip(group, scores, strict=True):
                decided = list(ScoredReplies((), (), row.ranks).decided())
                above, below = (score[[pair[side] for pair in decided]] for side in (0, 1))
                losses.append(self._loss(row, score, above, below))
                better.append(above.detach())
                worse.append(below.detach())
            sequences = [sequence for row in group for sequence in row.sequences]
            yield MicroBatchLoss(
                torch.stack(losses).sum(),
                tokens=sum(len(s.ids) - 1 for s in sequences),
                supervised_tokens=len(sequences),
                computed_tokens=packed.computed,
            )
        chosen, rejected = torch.cat(better), torch.cat(worse)
        margin = chosen - rejected
        metrics["rewards/chosen"] = chosen.mean().item()
        metrics["rewards/rejected"] = rejected.mean().item()
        metrics["margin"] = margin.mean().item()
        metrics["accuracy"] = ((margin.sign() + 1) / 2).mean().item()

    def _loss(self, row: Compared, scores: Tensor, above: Tensor, below: Tensor) -> Tensor:
        if self.recipe.ranking_loss == "listwise" and not row.margin:
            ranked = [number for number, rank in enumerate(row.ranks) if rank is not None]
            ranks = torch.tensor([row.ranks[number] for number in ranked], device=scores.device)
            return reward.plackett_luce(scores[ranked], ranks)
        return reward.bradley_terry(above, below, row.margin).mean()

    def _scored(self, rows: Sequence[Compared]) -> Iterator[tuple[trie.Trie, list[Compared], list[Tensor]]]:
        """Micro-batches: the trie, its rows and each row's scores."""
        for numbers in trie.pack_rows([row.sequences for row in rows], self.micro_tokens):
            group = [rows[n] for n in numbers]
            packed = trie.build([sequence for row in group for sequence in row.sequences])
            scores = scalar_head.row_scores(self.model, packed)
            yield packed, group, list(scores.split([len(row.sequences) for row in group]))


def _build(setup: Setup) -> Reward:
    assert isinstance(setup.recipe, RewardRecipe)
    scalar_head.add(setup.model)
    train, held_out = _compared(setup.train), _compared(setup.held_out)
    return Reward(
        setup.model, train, held_out, setup.recipe, names=setup.train.names, micro_tokens=setup.micro_tokens
    )  # fmt: skip


def _compared(rows: Rows) -> list[Compared]:
    return [compared(example, s) for example, s in zip(rows.examples, rows.sequences, strict=True)]


METHOD = TrainingMethod(
    takes=takes,
    wants=pairs.wants,
    render=one_by_one(render),
    build=_build,
    report=Reward.report,
    keeps_head=True,
)
