"""On-policy distillation (GKD, arXiv 2306.13649, algorithm 1): a student learns its teacher's distribution over every
token of replies that are partly its own.

    loss of a step = Σ over supervised tokens of D_β(teacher ‖ student) / their number

Of a row, `on_policy` is the chance that the student writes the reply itself, at temperature 1; else it is the row's. No
gradient goes through the sampling. Both models run over the same trie, and of neither are all logits ever held.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from sodate.core.engine import Sampling
from sodate.core.errors import SodateError
from sodate.core.recipe import DistillRecipe
from sodate.core.text import tr
from sodate.generate.decoding import frozen
from sodate.generate.engine import generate
from sodate.losses.distill import generalised_jsd
from sodate.model import attention
from sodate.model.forward import head, prediction_states
from sodate.model.head import Head
from sodate.render import trie
from sodate.render.renderer import Rendered
from sodate.train import sft
from sodate.train.loop import MicroBatchLoss, Update, Validation
from sodate.train.methods import Setup, TrainingMethod

SLOTS = 64  # replies decoded at once
TILE = 64  # predictions whose logits are held at once: 64 · 50,000 · 4 bytes are 13 MB


@dataclass(frozen=True, slots=True)
class DistillSettings:
    """The numbers of the loss and of the student's own replies."""

    on_policy: float
    beta: float
    temperature: float
    max_new_tokens: int
    seed: int


class Distill(sft.SFT):
    """The method. A row is a conversation; `teacher` is a model with the same tokenizer, and is not trained."""

    def __init__(
        self, model: Any, teacher: Any, train: Sequence[list[Rendered]], held_out: Sequence[list[Rendered]], *,
        settings: DistillSettings, stop_ids: Sequence[int], names: Sequence[str], micro_tokens: int,
    ) -> None:  # fmt: skip
        super().__init__(model, train, held_out, names=names, micro_tokens=micro_tokens)
        self.teacher = teacher
        self.settings = settings
        self.stop_ids = stop_ids

    def length(self, row: int) -> int:
        return max(super().length(row), len(prompt_of(self.train[row][-1])) + self.settings.max_new_tokens)

    def updates(self, step: int, rows: Sequence[int]) -> Iterator[Update]:
        draws = np.random.Generator(np.random.Philox([self.settings.seed, step, 2])).random(len(rows))
        own = [row for row, draw in zip(rows, draws, strict=True) if draw < self.settings.on_policy]
        given = [sequence for row, draw in zip(rows, draws, strict=True) if draw >= self.settings.on_policy
                 for sequence in self.train[row]]  # fmt: skip
        written, metrics = self._written(own, step)
        sequences = [*given, *written]
        yield Update(sum(sft.supervised(s) for s in sequences), self._parts(sequences), metrics)

    def _written(self, rows: Sequence[int], step: int) -> tuple[list[Rendered], dict[str, float]]:
        """The student's replies to the prompts of these rows' last sequences, and what is told of them."""
        if not rows:
            return [], {}
        prompts = [prompt_of(self.train[row][-1]) for row in rows]
        sampling = Sampling(self.settings.max_new_tokens, 1.0, seed=(self.settings.seed << 64) + ((step + 1) << 16))
        with frozen(self.model):
            replies = generate(self.model, prompts, self.stop_ids, sampling, batch_size=SLOTS)
        made = [Rendered([*prompt, *reply.ids], [0.0] * len(prompt) + [1.0] * len(reply.ids))
                for prompt, reply in zip(prompts, replies, strict=True)]  # fmt: skip
        return made, {
            "completion_length": sum(len(reply.ids) for reply in replies) / len(replies),
            "finished": sum(reply.finish == "stop" for reply in replies) / len(replies),
        }

    def _part(self, group: list[Rendered], batch: trie.Trie) -> MicroBatchLoss:
        loss, right = self._divergence(batch)
        return MicroBatchLoss(
            loss,
            tokens=sum(len(s.ids) for s in group),
            supervised_tokens=len(batch.entry_row),
            computed_tokens=batch.computed,
            sums={"accuracy": right},
        )

    def validate(self) -> Validation | None:
        """The divergence on the replies of held-out rows."""
        sequences = [s for row in self.held_out for s in row]
        if not sequences:
            return None
        total = right = weight = 0.0
        with torch.inference_mode():
            for _, batch in self._packed(sequences):
                loss, hits = self._divergence(batch)
                total, right, weight = total + loss.item(), right + hits, weight + float(batch.weight.sum())
        return Validation(total / weight, {"eval_accuracy": right / weight})

    def _divergence(self, batch: trie.Trie) -> tuple[Tensor, float]:
        """(Σ weight · divergence, Σ weight of predictions whose target the student finds likeliest)."""
        states = prediction_states(self.model, batch)
        with torch.no_grad():
            taught = prediction_states(self.teacher, batch)
        mine, theirs = head(self.model), head(self.teacher)
        weight = torch.as_tensor(batch.weight, dtype=torch.float32, device=states.device)
        target = torch.as_tensor(batch.target, device=states.device)
        loss, right = states.new_zeros((), dtype=torch.float32), 0.0
        for start in range(0, len(states), TILE):
            here = slice(start, start + TILE)
            part, hits = checkpoint(
                self._tile, mine, theirs, states[here], taught[here].to(states.device), target[here], weight[here],
                use_reentrant=False,
            )  # fmt: skip
            loss, right = loss + part, right + float(hits)
        return loss, right

    def _tile(
        self, mine: Head, theirs: Head, states: Tensor, taught: Tensor, target: Tensor, weight: Tensor
    ) -> tuple[Tensor, Tensor]:
        student = mine.differentiable(states)
        with torch.no_grad():
            teacher = theirs.differentiable(taught)
        words = min(student.shape[-1], teacher.shape[-1])  # one of them may be padded
        heat = self.settings.temperature
        divergence = generalised_jsd(
            (student[:, :words] / heat).log_softmax(-1), (teacher[:, :words] / heat).log_softmax(-1), self.settings.beta
        )
        hits = (weight * (student.argmax(-1) == target)).sum().detach()
        return (weight * divergence).sum(), hits


def prompt_of(sequence: Rendered) -> list[int]:
    """The tokens before the last reply of a sequence."""
    end = max(i for i, weight in enumerate(sequence.weights) if weight > 0)
    start = end
    while start > 0 and sequence.weights[start - 1] > 0:
        start -= 1
    return sequence.ids[:start]


def _build(setup: Setup) -> Distill:
    recipe, rows = setup.recipe, setup.train
    assert isinstance(recipe, DistillRecipe) and setup.teacher is not None
    limit = attention.context_length(setup.model.config)
    for sequences, name in zip(rows.sequences, rows.names, strict=True):
        if recipe.on_policy and len(prompt_of(sequences[-1])) + recipe.max_new_tokens > limit:
            raise SodateError(
                tr(f"{name}: its prompt and {recipe.max_new_tokens} new tokens are more than the model's {limit}.",
                   f"{name}: プロンプトと返答 {recipe.max_new_tokens} トークンが、モデルの上限 {limit} を超えます。"),
                tr("Lower max_new_tokens, or set max_length to leave long rows aside.",
                   "max_new_tokens を下げるか、max_length で長い行を除いてください。"),
                code="too_long", param="max_new_tokens",
            )  # fmt: skip
    settings = DistillSettings(recipe.on_policy, recipe.beta, recipe.temperature, recipe.max_new_tokens, recipe.seed)
    return Distill(
        setup.model, setup.teacher(recipe.teacher), rows.sequences, setup.held_out.sequences, settings=settings,
        stop_ids=setup.renderer().stop_ids, names=rows.names, micro_tokens=setup.micro_tokens,
    )  # fmt: skip


METHOD = TrainingMethod(takes=sft.takes, wants=sft.METHOD.wants, render=sft.render, build=_build)
