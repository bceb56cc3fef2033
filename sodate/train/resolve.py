"""Every `auto` of a recipe becomes a number with its reason, from what is known of data, model and machine."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from sodate.adapt.bottleneck import BottleneckConfig
from sodate.adapt.files import AdapterConfig
from sodate.adapt.lora import LoraConfig
from sodate.core.recipe import Decision, PolishRecipe, Recipe, RolloutRecipe
from sodate.core.text import tr
from sodate.train.loop import Plan

LORA_KINDS = ("lora", "rslora", "dora", "qlora")
# The peak rate of each kind, to that of LoRA.
RATE = {"lora": 1.0, "rslora": 1.0, "dora": 1.0, "qlora": 1.0, "bottleneck": 1.0, "last": 0.2, "full": 0.1}


@dataclass(frozen=True, slots=True)
class RunFacts:
    """What the autos are decided from. Lengths in tokens."""

    rows: int
    longest: int
    hidden_size: int
    layers: int
    targets: tuple[str, ...]
    cuda: bool
    has_eval: bool
    kind: str  # of what is trained: a key of ADAPTER_KEYS
    start: AdapterConfig | None = None  # of the adapter training goes on from


@dataclass(frozen=True, slots=True)
class Resolved:
    """The recipe's numbers, none of them `auto` any more."""

    plan: Plan
    adapter: AdapterConfig | None  # None: weights of the model itself are trained
    last_layers: int  # blocks that are trained, from the end; 0 unless kind is "last"
    micro_tokens: int
    decisions: tuple[Decision, ...]


def openai_epochs(rows: int) -> int:
    """OpenAI's rule: 3 epochs; below 34 rows more (about 100 rows seen, ≤ 25), above 8,333 fewer (25,000 seen)."""
    if 3 * rows < 100:
        return min(25, max(1, 100 // rows))
    return max(1, 25_000 // rows) if 3 * rows > 25_000 else 3


def auto_batch(rows: int) -> int:
    """Rows of a step: small steps learn most from few rows."""
    return 8 if rows < 2000 else 16 if rows < 20_000 else 32


def early_step(steps: int, save_every: int) -> int:
    """The checkpoint nearest to a quarter of the run: at its end rows that were learnt pull no more, so that `why`
    needs one from when they did."""
    return save_every * max(1, round(steps / 4 / save_every))


def looks(steps: int) -> int:
    """How often a run of so many steps is looked at, where the held-out rows are few: a short one at its end only."""
    return 1 if steps < 60 else 2 if steps < 300 else 4


def lora_lr(hidden_size: int) -> float:
    """5e-4 · (2000 / hidden)^0.78, ≤ 2e-3: peak rate falls with width, as "LoRA Without Regret" (2025) fitted."""
    return min(2e-3, float(f"{5e-4 * (2000 / hidden_size) ** 0.78:.1e}"))


def _lr_share(recipe: Recipe) -> tuple[float, str]:
    """The peak rate as a share of the supervised one, and why it is not the whole.

    A preference's loss is a function of a whole reply's log-probability, so that one step pushes all its tokens the
    same way, and the rate that suits a mean over tokens overshoots. ORPO is a mean over tokens for the most part.
    """
    if isinstance(recipe, RolloutRecipe):
        return 0.08, tr("; a twelfth: rewards are noisier than replies to copy, and each token of a reply moves",
                        "。報酬は手本より雑音が多く、返答の全トークンが動くので 12 分の 1")  # fmt: skip
    if recipe.method in ("dpo", "kto", "simpo"):
        return 0.1, tr("; a tenth: a preference moves every token of a reply at once",
                       "。選好は返答全体のトークンを一度に動かすので 10 分の 1")  # fmt: skip
    if recipe.method == "reward":
        return 0.2, tr("; a fifth: one number per reply is learnt, and the head begins at zero",
                       "。返答ごとに 1 つの数だけを学び、ヘッドは 0 から始まるので 5 分の 1")  # fmt: skip
    if recipe.method == "orpo":
        return 0.5, tr("; half: an odds ratio pulls beside the replies to copy", "。オッズ比の項が加わるので半分")
    return 1.0, ""


def resolve(recipe: Recipe, facts: RunFacts) -> Resolved:
    decisions: list[Decision] = []

    def auto(key: str, value: Any, reason: str) -> Any:
        given = getattr(recipe, key)
        if given != "auto":
            return given
        decisions.append(Decision(key, value, reason))
        return value

    kind = facts.kind
    auto("adapter", kind, tr("as it was begun", "開始時のアダプターと同じ") if facts.start else
         tr("small, and can become part of the weights", "小さく、重みに統合できます"))  # fmt: skip
    rows = facts.rows
    batch_size = auto(
        "batch_size",
        auto_batch(rows),
        tr("small steps learn most from few rows", "行が少ないうちは小さなバッチが効率的"),
    )
    per_epoch = math.ceil(rows / batch_size)
    steps = recipe.max_steps
    if steps is None:
        epochs = auto("epochs", openai_epochs(rows), tr(f"{rows} rows", f"{rows} 行"))
        steps = max(1, math.ceil(epochs * per_epoch))
    share, why = _lr_share(recipe)
    lr = auto(
        "lr",
        float(f"{lora_lr(facts.hidden_size) * RATE[kind] * share:.1e}"),
        tr(f"{kind}, hidden size {facts.hidden_size}", f"{kind}、隠れ次元 {facts.hidden_size}") + why,
    )
    if recipe.lr_multiplier != 1.0:
        lr = float(f"{lr * recipe.lr_multiplier:.6g}")
    adapter, last_layers = facts.start, 0
    if kind in LORA_KINDS and not adapter:
        rank = auto("lora_rank", 16, tr("enough for thousands of rows", "数千行までなら十分"))
        if kind == "rslora":
            reason = tr("a scale of 2 at this rank, as LoRA's", "このランクで LoRA と同じ倍率 2")
            alpha = auto("lora_alpha", float(f"{2 * math.sqrt(rank):.3g}"), reason)
        else:
            alpha = auto("lora_alpha", 2.0 * rank, tr("twice the rank", "ランクの 2 倍"))
        targets = auto("lora_targets", facts.targets, tr("all linear layers", "すべての線形層"))
        adapter = LoraConfig(rank, alpha, tuple(sorted(targets)), rslora=kind == "rslora", dora=kind == "dora")
    elif kind == "bottleneck" and not adapter:
        style = auto("bottleneck_style", "pfeiffer", tr("half the adapters, much the same quality",
                                                        "アダプターは半分で、品質はほぼ同じ"))  # fmt: skip
        size = auto("bottleneck_size", max(8, facts.hidden_size // 8), tr("an eighth of the hidden size",
                                                                         "隠れ次元数の 8 分の 1"))  # fmt: skip
        adapter = BottleneckConfig(size, style)
    elif kind == "last":
        last_layers = auto("last_layers", max(1, facts.layers // 4), tr(f"a quarter of {facts.layers} layers",
                                                                      f"{facts.layers} 層の 4 分の 1"))  # fmt: skip
    save_every = auto(
        "save_every",
        max(10, steps // 10) if adapter else max(50, steps // 3),
        tr(f"of {steps} steps; a kill loses no more", f"全 {steps} ステップ。強制終了で失うのは最大でこの分だけ"),
    )
    eval_every = steps
    if recipe.eval_every == "epoch":
        eval_every = per_epoch
        decisions.append(Decision("eval_every", per_epoch, tr("one epoch", "1 エポック")))
    elif facts.has_eval and isinstance(recipe, PolishRecipe) and recipe.eval is None:
        reason = tr("looks cost time, and with each of them fewer gains can be told from chance",
                    "確認には時間がかかり、回数が増えるほど改善と偶然を見分けにくくなる")  # fmt: skip
        eval_every = auto("eval_every", math.ceil(steps / looks(steps)), reason)
    elif facts.has_eval:
        eval_every = auto(
            "eval_every",
            max(10, min(per_epoch, math.ceil(steps / 4))),
            tr(
                "each epoch or quarter of the run, but not more often than every 10 steps",
                "1 エポックまたは全体の 4 分の 1 ごと。ただし 10 ステップより細かくはしない",
            ),
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
        keep=recipe.keep, epoch_steps=per_epoch,
        early=early_step(steps, save_every) if adapter and recipe.method == "sft" else 0,
    )  # fmt: skip
    return Resolved(plan, adapter, last_layers, micro, tuple(decisions))
