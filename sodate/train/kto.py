"""Kahneman-Tversky optimisation: single replies, each wanted or unwanted, no pairs needed.

A reply is judged against z, an estimate of how far the model has moved from its start: the mean log-ratio of replies
put behind a prompt that is not theirs (arXiv 2402.01306). Whose reply goes where is fixed when the method is built, so
that the reference is computed once; the policy's side is computed without gradient at the head of every step.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from sodate.core.recipe import KTORecipe
from sodate.core.text import en, ja, tr
from sodate.core.types import Example, Judgement, Preference, Ranking
from sodate.losses import preference
from sodate.model.forward import score
from sodate.render import trie
from sodate.render.renderer import Rendered, Renderer
from sodate.train import acts, cached_reference, pair_alarms
from sodate.train.acts import Acts, silent
from sodate.train.gain import HeldOut
from sodate.train.loop import MicroBatchLoss, Update, Validation
from sodate.train.methods import Setup, TrainingMethod, one_by_one
from sodate.train.pairs import prompt_of, report
from sodate.train.rows import Rows


def takes(example: Example) -> Sequence[Example]:
    """The judged replies in an example: a pair is one wanted and one unwanted reply.

    A ranking's best replies are wanted and its worst are not; where all are bad, all are unwanted.
    """
    if isinstance(example, Preference):
        sides = ((example.chosen, True), (example.rejected, False))
        return [Judgement(example.prompt, reply, good, example.tools, example.source) for reply, good in sides]
    if isinstance(example, Ranking):
        ranked = [rank for rank in example.ranks if rank is not None]
        best, worst = min(ranked, default=0), max(ranked, default=0)
        sides_ = zip(example.replies, example.ranks, strict=True)
        if example.all_bad:
            return [Judgement(example.prompt, r, False, example.tools, example.source) for r, _ in sides_]
        return [
            Judgement(example.prompt, reply, rank == best, example.tools, example.source)
            for reply, rank in sides_
            if best != worst and rank in (best, worst)
        ]
    return (example,) if isinstance(example, Judgement) else ()


def render(renderer: Renderer, example: Example) -> list[Rendered]:
    """One sequence that weighs only the reply."""
    assert isinstance(example, Judgement)
    return renderer.render_replies(example.prompt, (example.reply,), example.tools)


class KTO:
    """The method of the loop. A row is one judged reply."""

    def __init__(
        self,
        model: Any,
        train: tuple[Sequence[Rendered], Sequence[bool]],
        held_out: tuple[Sequence[Rendered], Sequence[bool]],
        recipe: KTORecipe,
        *,
        names: Sequence[str],
        micro_tokens: int,
        warn: Callable[[str], None],
        start: Any,
        acts: Acts | None = None,
    ) -> None:
        self.model = model
        self.recipe = recipe
        self.micro_tokens = micro_tokens
        self.names = names
        self.warn = warn
        self.memory: dict[str, float] = acts.memory if acts else {}
        self.acts = acts
        self.has_reference = True
        self.train, self.held_out = (
            [list(row) for row in zip(s, _strangers(s), strict=True)] for s, _ in (train, held_out)
        )
        self.before = HeldOut(self.memory, [prompt_of(sequence) for sequence in held_out[0]])
        self.wanted, self.held_wanted = (torch.tensor(labels, dtype=torch.bool) for _, labels in (train, held_out))
        self.rows = len(self.train)
        began = time.perf_counter()
        self.references = [
            cached_reference.log_probabilities(model, rows, start, micro_tokens) for rows in (self.train, self.held_out)
        ]
        self.reference_seconds = time.perf_counter() - began
        _say_imbalance(recipe, self.wanted, warn)

    def length(self, row: int) -> int:
        return len(self.train[row][0].ids)

    def updates(self, step: int, rows: Sequence[int]) -> Iterator[Update]:
        metrics = self.before.first(self.validate, self.warn, self.acts) if step == 0 else {}
        numbers = list(rows)
        parts = self._parts([self.train[r] for r in rows], self.references[0][numbers], self.wanted[numbers], metrics)
        yield Update(len(rows), parts, metrics)
        if "margin" in metrics:
            chosen, act = metrics["rewards/chosen"], self.acts or silent
            pair_alarms.watch(self.memory, chosen, metrics["margin"], 0.0, self.warn, act, step + 1)

    def heaviest(self, steps: Iterator[Sequence[int]]) -> tuple[int, Callable[[], MicroBatchLoss]]:
        """The computed tokens of the largest micro-batch of these steps' rows, and what computes it."""
        own = [(sequence,) for sequence, _ in self.train]
        computed, rows = trie.heaviest(steps, own, self.micro_tokens)
        known, wanted = self.references[0][rows], self.wanted[rows]
        return computed, lambda: next(self._parts([self.train[r] for r in rows], known, wanted, {}))

    def validate(self) -> Validation | None:
        if not self.held_out:
            return None
        with self.before.timed():
            metrics: dict[str, float] = {}
            each = torch.zeros(len(self.held_out), 2)
            with torch.inference_mode():
                parts = self._parts(self.held_out, self.references[1], self.held_wanted, metrics, each)
                loss = sum(part.loss.item() for part in parts) / len(self.held_out)
            rewards, likeliest = each.T
            wanted = torch.where(self.held_wanted, rewards, -rewards)
            gained = self.before.look(self.before.moved(wanted.tolist()))
            if self.held_wanted.any():
                gained |= self.before.lost(likeliest.tolist(), self.held_wanted.tolist())
        figures = {f"eval_{key}": value for key, value in metrics.items()}
        return Validation(loss, {**figures, **gained})

    def _parts(
        self,
        rows: Sequence[list[Rendered]],
        known: Tensor,
        wanted: Tensor,
        metrics: dict[str, float],
        each: Tensor | None = None,
    ) -> Iterator[MicroBatchLoss]:
        """The micro-batches; z is found first, over all rows. Behind the last one, `metrics` holds the means, and
        `each` (rows, 2) the reward of every reply and which share of its tokens the model would say itself."""
        beta = self.memory.get("price", 1.0) * self.recipe.beta
        strangers = [(stranger,) for _, stranger in rows]
        moved = cached_reference.compute(self.model, strangers, self.micro_tokens)[:, 0]
        divergence = preference.kto_divergence(moved, known[:, 1])
        policies, likeliest = torch.empty(len(rows)), torch.empty(len(rows))
        own = [(sequence,) for sequence, _ in rows]
        for numbers in trie.pack_rows(own, self.micro_tokens):
            group = [own[n][0] for n in numbers]
            packed = trie.build(group)
            scores = score(self.model, packed)
            policy, likeliest[numbers] = scores.row_log_probabilities(), scores.row_right().float().cpu()
            start, good = known[numbers, 0].to(policy), wanted[numbers].to(policy.device)
            loss = preference.kto(
                policy, start, good, divergence.to(policy), beta=beta,
                desirable_weight=self.recipe.desirable_weight, undesirable_weight=self.recipe.undesirable_weight,
            )  # fmt: skip
            policies[numbers] = policy.detach().float().cpu()
            tokens = sum(len(s.ids) for s in group)
            yield MicroBatchLoss(
                loss.sum(), tokens, supervised_tokens=len(packed.entry_row), computed_tokens=packed.computed
            )
        rewards = beta * (policies - known[:, 0])
        right = (rewards > beta * divergence) == wanted
        if each is not None:
            each[:] = torch.stack([rewards, likeliest], 1)
        metrics |= {"kl": divergence.item(), "accuracy": right.float().mean().item()}
        for side, mask in (("chosen", wanted), ("rejected", ~wanted)):
            if mask.any():
                metrics[f"rewards/{side}"] = rewards[mask].mean().item()
                metrics[f"logps/{side}"] = policies[mask].mean().item()
        if "rewards/chosen" in metrics and "rewards/rejected" in metrics:
            metrics["margin"] = metrics["rewards/chosen"] - metrics["rewards/rejected"]


def _strangers(sequences: Sequence[Rendered]) -> list[Rendered]:
    """Behind every prompt, the reply of the next row whose prompt is another one; its own reply if there is none."""
    prompts = [list(prompt_of(sequence)) for sequence in sequences]
    found = []
    for row, prompt in enumerate(prompts):
        others = (other % len(prompts) for other in range(row + 1, row + len(prompts)))
        donor = next((other for other in others if prompts[other] != prompt), row)
        cut = len(prompts[donor])
        ids, weights = sequences[donor].ids[cut:], sequences[donor].weights[cut:]
        found.append(Rendered(prompt + ids, [0.0] * len(prompt) + weights))
    return found


def _say_imbalance(recipe: KTORecipe, wanted: Tensor, warn: Callable[[str], None]) -> None:
    """The two sides should weigh about the same: λ_D n_D / (λ_U n_U) within [1, 4/3] (arXiv 2402.01306, eq. 9)."""
    good, bad = int(wanted.sum()), int((~wanted).sum())
    if not good or not bad:
        side = tr("wanted", "望ましい") if good else tr("unwanted", "望ましくない")
        warn(
            tr(
                f"All {good + bad} replies are {en(side)}; the model sees no other side to tell them from.",
                f"{good + bad} 件の返答がすべて「{ja(side)}」です。もう一方の例がないと違いを学べません。",
            )
        )
        return
    ratio = recipe.desirable_weight * good / (recipe.undesirable_weight * bad)
    if not 0.75 <= ratio <= 4 / 3:
        advice = f"undesirable_weight={good / bad:.2g}" if ratio > 1 else f"desirable_weight={bad / good:.2g}"
        warn(
            tr(
                f"{good} replies are wanted and {bad} are not; {advice} would let both sides weigh the same.",
                f"望ましい返答が {good} 件、望ましくない返答が {bad} 件です。{advice} で釣り合います。",
            )
        )


def _build(setup: Setup) -> KTO:
    assert isinstance(setup.recipe, KTORecipe)
    return KTO(
        setup.model, _judged(setup.train), _judged(setup.held_out), setup.recipe, names=setup.train.names,
        micro_tokens=setup.micro_tokens, warn=setup.say, start=cached_reference.start_of(setup.run.manifest),
        acts=acts.of(setup),
    )  # fmt: skip


def _judged(rows: Rows) -> tuple[list[Rendered], list[bool]]:
    """The sequence of each row, and whether its reply is wanted."""
    wanted = [isinstance(example, Judgement) and example.desirable for example in rows.examples]
    return [sequences[0] for sequences in rows.sequences], wanted


METHOD = TrainingMethod(
    takes=takes,
    wants=lambda: tr("replies labelled true or false, or preference pairs",
                     "true / false の付いた返答、または選好の組"),
    render=one_by_one(render),
    build=_build,
    report=report,
)  # fmt: skip
