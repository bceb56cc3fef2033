"""Signs that reinforcement goes wrong, said once in words a person understands.

What they remember is in `memory`, so that a resumed run says what an undisturbed one does.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from sodate.core.text import en, ja, tr

FLAT_SHARE = 0.8  # of the groups without variance …
FLAT_STEPS = 5  # … for so many steps in a row
KL_LIMIT = 0.5  # nats a token: far from the reference
ENTROPY_SHARE = 0.2  # of the entropy of the first step
SMOOTH = 0.8  # weight of the past in the running mean of rewards


class Alarms:
    """Watches the steps of a run; `say` gets each kind of warning once a run."""

    def __init__(self, memory: dict[str, float], say: Callable[[str], None]) -> None:
        self.memory = memory
        self.say = say

    def step(self, number: int, reward: float, flat_share: float, entropy: float, kl: float | None) -> None:
        """After the rollout of 1-based step `number`; shares in [0, 1], entropy and kl in nats a token."""
        memory = self.memory
        memory["reward"] = SMOOTH * memory.get("reward", reward) + (1 - SMOOTH) * reward
        memory["flat_steps"] = memory.get("flat_steps", 0.0) + 1 if flat_share >= FLAT_SHARE else 0.0
        memory.setdefault("first_entropy", entropy)
        if "best_held_out" in memory:  # by the model as it began, before there was a reward in training
            memory.setdefault("reward_at_best", memory["reward"])
        self._once("flat", memory["flat_steps"] >= FLAT_STEPS, tr(
            f"Step {number}: for {FLAT_STEPS} steps {FLAT_SHARE:.0%} or more of the groups had one reward for all "
            "their replies, so they taught nothing. The items are too easy or too hard, or the reward is too coarse.",
            f"ステップ {number}: {FLAT_STEPS} ステップ続けて {FLAT_SHARE:.0%} 以上の組で全返答の報酬が同じでした。"
            "学ぶものがありません。問題が易しすぎるか難しすぎるか、報酬が粗すぎます。",
        ))  # fmt: skip
        self._once("far", kl is not None and kl > KL_LIMIT, tr(
            f"Step {number}: the model is {kl or 0:.2f} nats a token away from where it began. It may be gaming the "
            "reward: read some replies. A larger kl_coefficient or a smaller lr holds it back.",
            f"ステップ {number}: 元のモデルから 1 トークンあたり {kl or 0:.2f} nat 離れました。"
            "報酬の抜け穴を突いている恐れがあります。返答を読んでください。"
            "kl_coefficient を上げるか lr を下げると抑えられます。",
        ))  # fmt: skip
        self._once("narrow", entropy < ENTROPY_SHARE * memory["first_entropy"], tr(
            f"Step {number}: the replies hardly vary any more (entropy {entropy:.3f} nats a token, at first "
            f"{memory['first_entropy']:.3f}). What is not tried can't be learnt: lower lr, or stop here.",
            f"ステップ {number}: 返答がほとんど変化しなくなりました (エントロピー {entropy:.3f}、最初は "
            f"{memory['first_entropy']:.3f})。試されない答えは学べません。lr を下げるか、ここで止めてください。",
        ))  # fmt: skip

    def held_out(self, number: int, reward: float, half_width: float) -> None:
        """After a validation: `reward` is the held-out mean, `half_width` that of its interval."""
        memory = self.memory
        if "best_held_out" not in memory or reward >= memory["best_held_out"]:
            memory["best_held_out"] = reward
            if "reward" in memory:
                memory["reward_at_best"] = memory["reward"]
            return
        fell = reward < memory["best_held_out"] - half_width
        rose = "reward" in memory and memory["reward"] > memory["reward_at_best"]
        best = memory["best_held_out"]
        self._once("apart", fell and rose, tr(
            f"Step {number}: the reward in training rises while that on held-out items fell from {best:.3f} to "
            f"{reward:.3f}. The model learns the training items, or a hole in the reward. The best step is kept.",
            f"ステップ {number}: 学習中の報酬は上がっていますが、検証用の問題では {best:.3f} から "
            f"{reward:.3f} に下がりました。"
            "学習用の問題か、報酬の抜け穴を覚えています。最良のステップは残っています。",
        ))  # fmt: skip

    def _once(self, name: str, on: bool, text: str) -> None:
        key = f"said_{name}"
        if on and key not in self.memory:
            self.memory[key] = 1.0
            self.say(text)


def never_better(lines: Sequence[Mapping[str, Any]]) -> str | None:
    """What to say when no validated step of a finished run earned as much on held-out rows as the base did.

    `lines` are those of metrics.jsonl; None where there is nothing to say or nothing was held out.
    """
    base = lines[0].get("base_eval_reward")
    tried = [line for line in lines if "eval_reward" in line]
    if base is None or not tried:
        return None
    best = max(tried, key=lambda line: float(line["eval_reward"]))
    if best["eval_reward"] >= base:
        return None
    earned, step, items = best["eval_reward"], best["step"], best["eval_items"]
    sure = best["eval_reward_high"] < base
    doubt = "" if sure else tr(" (so few rows may mislead)", " (行数が少ないため、偶然の可能性もあります)")
    return tr(
        f"Training made it worse: before it the model earned {base:.3f} on the {items} held-out rows, and the best of "
        f"its steps, {step}, earned {earned:.3f}{en(doubt)}. Go on using the model you began with. A smaller lr, a "
        "larger kl_coefficient, more samples or a finer reward may help.",
        f"学習で悪くなりました。検証用の {items} 行の報酬は、学習前が {base:.3f}、最良のステップ {step} でも "
        f"{earned:.3f} です{ja(doubt)}。元のモデルを使ってください。lr を下げる、kl_coefficient を上げる、"
        "samples を増やす、報酬を細かくすると改善することがあります。",
    )
