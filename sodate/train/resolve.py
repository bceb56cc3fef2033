"""Every `auto` of a recipe becomes a number with its reason, from what is known of data, model and machine."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from sodate.core.recipe import Decision, Recipe, RolloutRecipe
from sodate.core.text import tr
from sodate.train.loop import Plan


@dataclass(frozen=True, slots=True)
class Facts:
    """What the autos are decided from. Lengths in tokens."""

    rows: int
    longest: int
    hidden_size: int
    targets: tuple[str, ...]
    cuda: bool
    has_eval: bool


@dataclass(frozen=True, slots=True)
class Resolved:
    """The recipe's numbers, none of them `auto` any more."""

    plan: Plan
    lora_rank: int
    lora_alpha: float
    lora_targets: tuple[str, ...]
    micro_tokens: int
    decisions: tuple[Decision, ...]


def openai_epochs(rows: int) -> int:
    """OpenAI's rule: 3 epochs; below 34 rows more (about 100 rows seen, ≤ 25), above 8,333 fewer (25,000 seen)."""
    if 3 * rows < 100:
        return min(25, max(1, 100 // rows))
    return max(1, 25_000 // rows) if 3 * rows > 25_000 else 3


def lora_lr(hidden_size: int) -> float:
    """5e-4 · (2000 / hidden)^0.78, ≤ 2e-3: peak rate falls with width, as "LoRA Without Regret" (2025) fitted."""
    return min(2e-3, float(f"{5e-4 * (2000 / hidden_size) ** 0.78:.1e}"))


def resolve(recipe: Recipe, facts: Facts) -> Resolved:
    decisions: list[Decision] = []

    def auto(key: str, value: Any, reason: str) -> Any:
        given = getattr(recipe, key)
        if given != "auto":
            return given
        decisions.append(Decision(key, value, reason))
        return value

    lora = recipe.adapter == "lora"
    rows = facts.rows
    epochs = auto("epochs", openai_epochs(rows), tr(f"{rows} rows", f"{rows} 行"))
    batch_size = auto(
        "batch_size",
        8 if rows < 2000 else 16 if rows < 20_000 else 32,
        tr("small steps learn most from few rows", "行が少ないうちは小さなバッチが効率的"),
    )
    per_epoch = math.ceil(rows / batch_size)
    steps = recipe.max_steps or max(1, math.ceil(epochs * per_epoch))
    rate = lora_lr(facts.hidden_size) if lora else float(f"{lora_lr(facts.hidden_size) / 10:.1e}")
    if isinstance(recipe, RolloutRecipe):  # rewards are noisier than replies to copy
        rate = float(f"{rate / 5:.1e}")
    lr = auto(
        "lr",
        rate,
        tr(
            f"{'LoRA' if lora else 'full fine-tuning'}, hidden size {facts.hidden_size}",
            f"{'LoRA' if lora else '全パラメータ学習'}、隠れ層 {facts.hidden_size}",
        ),
    )
    rank = auto("lora_rank", 16, tr("enough for thousands of rows", "数千行までなら十分")) if lora else 0
    alpha = auto("lora_alpha", 2.0 * rank, tr("twice the rank", "ランクの 2 倍")) if lora else 0.0
    targets = auto("lora_targets", facts.targets, tr("all linear layers", "すべての線形層")) if lora else ()
    save_every = auto(
        "save_every",
        max(10, steps // 10) if lora else max(50, steps // 3),
        tr("a kill loses a tenth of the run at most", "強制終了で失うのは最大でも 1 割"),
    )
    eval_every = steps
    if facts.has_eval:
        eval_every = auto(
            "eval_every",
            max(10, min(per_epoch, math.ceil(steps / 4))),
            tr("four times a run or more", "学習中に 4 回以上"),
        )
    micro = auto(
        "micro_tokens",
        max(facts.longest, 32_768 if facts.cuda else 2048),
        tr("tokens computed at once; more is not faster", "一度に計算するトークン数。増やしても速くなりません"),
    )
    plan = Plan(
        steps=steps, batch_size=batch_size, shuffle=recipe.shuffle, seed=recipe.seed, lr=lr, schedule=recipe.schedule,
        warmup_steps=min(recipe.warmup_steps, steps), weight_decay=recipe.weight_decay,
        max_grad_norm=recipe.max_grad_norm, save_every=save_every, eval_every=eval_every, early_stop=recipe.early_stop,
    )  # fmt: skip
    return Resolved(plan, rank, alpha, targets, micro, tuple(decisions))
