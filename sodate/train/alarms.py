"""Signs that reinforcement goes wrong, said once in words a person understands.

What they remember is in `memory`, so that a resumed run says what an undisturbed one does.
"""

from __future__ import annotations

from collections.abc import Callable

from sodate.core.text import tr
from sodate.train.acts import silent

FLAT_SHARE = 0.8  # of the batch without variance …
FLAT_STEPS = 5  # … for so many steps in a row
KL_LIMIT = 0.5  # nats a token: far from the reference
ENTROPY_SHARE = 0.2  # of the entropy of the first step
LEAP = 0.35  # nats a token further from the reference by one step
SMOOTH = 0.8  # weight of the past in the running mean of rewards


class Alarms:
    """Watches the steps of a run; `say` gets each kind of warning once a run, `act` its name while its cause lasts."""

    def __init__(
        self, memory: dict[str, float], say: Callable[[str], None], act: Callable[[str, int], None] = silent
    ) -> None:
        self.memory = memory
        self.say = say
        self.act = act

    def step(self, number: int, reward: float, flat_share: float, entropy: float, kl: float | None) -> None:
        """After the rollout of 1-based step `number`: `flat_share` of the batch taught nothing, entropy and kl are in
        nats a token."""
        memory = self.memory
        memory["reward"] = SMOOTH * memory.get("reward", reward) + (1 - SMOOTH) * reward
        memory["flat_steps"] = memory.get("flat_steps", 0.0) + 1 if flat_share >= FLAT_SHARE else 0.0
        memory.setdefault("first_entropy", entropy)
        if "best_held_out" in memory:  # by the model as it began, before there was a reward in training
            memory.setdefault("reward_at_best", memory["reward"])
        leapt = (kl or 0.0) - memory.get("kl", 0.0)
        memory["kl"] = kl or 0.0
        self._alarm("leap", number, leapt > LEAP and (kl or 0.0) <= KL_LIMIT, tr(
            f"Step {number}: the step before took the model {leapt:.2f} nats a token further from where it began. "
            "Steps this long forget more than they learn: lower lr.",
            f"ステップ {number}: 直前の 1 ステップで、元のモデルから 1 トークンあたり {leapt:.2f} nat 離れました。"
            "一歩が大きすぎると、学ぶより忘れる方が多くなります。lr を下げてください。",
        ))  # fmt: skip
        self._alarm("flat", number, memory["flat_steps"] >= FLAT_STEPS, tr(
            f"Step {number}: for {FLAT_STEPS} steps {FLAT_SHARE:.0%} or more of the batch taught nothing: all replies "
            "to a prompt earned the same. The items are too easy or too hard, or the reward is too coarse.",
            f"ステップ {number}: {FLAT_STEPS} ステップ続けて、バッチの {FLAT_SHARE:.0%} 以上で全返答の報酬が同じで、"
            "学ぶものがありませんでした。問題が易しすぎるか難しすぎるか、報酬が粗すぎます。",
        ))  # fmt: skip
        self._alarm("far", number, kl is not None and kl > KL_LIMIT, tr(
            f"Step {number}: the model is {kl or 0:.2f} nats a token away from where it began. It may be gaming the "
            "reward: read some replies. A larger kl_coefficient or a smaller lr holds it back.",
            f"ステップ {number}: 元のモデルから 1 トークンあたり {kl or 0:.2f} nat 離れました。"
            "報酬の抜け穴を突いている恐れがあります。返答を読んでください。"
            "kl_coefficient を上げるか lr を下げると抑えられます。",
        ))  # fmt: skip
        self._alarm("narrow", number, entropy < ENTROPY_SHARE * memory["first_entropy"], tr(
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
        self._alarm("apart", number, fell and rose, tr(
            f"Step {number}: the reward in training rises while that on held-out items fell from {best:.3f} to "
            f"{reward:.3f}. The model learns the training items, or a hole in the reward. The best step is kept.",
            f"ステップ {number}: 学習中の報酬は上がっていますが、検証用の問題では {best:.3f} から "
            f"{reward:.3f} に下がりました。"
            "学習用の問題か、報酬の抜け穴を覚えています。最良のステップは残っています。",
        ))  # fmt: skip

    def _alarm(self, name: str, number: int, on: bool, text: str) -> None:
        if not on:
            return
        key = f"said_{name}"
        if key not in self.memory:
            self.memory[key] = 1.0
            self.say(text)
        self.act(name, number)
