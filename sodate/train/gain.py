"""Whether a run gained anything: what each held-out item earned before the first step, and at every look since.

The test is paired and one-sided: of the differences item by item, how often would random signs give a mean at least as
high (Fisher's sign-flip test)? A run is looked at several times and its best look is kept, so that the bound is divided
by the looks (Bonferroni). What does not pass is no gain, and the model the run began with is the better choice.
"""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from sodate.core.text import Sentence, en, ja, tr
from sodate.train import pair_alarms

if TYPE_CHECKING:
    from sodate.train.acts import Acts
    from sodate.train.loop import Validation

Verdict = Literal["gain", "no-gain", "unknown"]

ALPHA = 0.05  # how often chance alone may pass for a gain, over all looks of a run
TELLING = 8  # held-out items; fewer tell a harm, but no gain
EXACT = 16  # differences up to which every pattern of signs is counted
FEW = 4.0  # items' worth that were not right before: fewer can't show a gain
STILL = 1e-4  # of a reward: what another packing of the same rows makes
FLAT = 0.6  # share of groups without variance from which on they are the likely reason
FAR = 0.3  # nats a token from the start from which on the rate is


def chance(differences: Sequence[float]) -> float:
    """How often random signs give a sum at least as high as that of these differences; 1 where none differs.

    Exact up to EXACT differences that are not 0, and where all are of one size; else by the normal distribution with
    the variance Σ d².
    """
    moved = np.asarray([d for d in differences if abs(d) > 1e-9], dtype=np.float64)
    if not len(moved):
        return 1.0
    total = float(moved.sum())
    if np.ptp(np.abs(moved)) < 1e-9:
        ups = int((moved > 0).sum())
        ways: int = sum(math.comb(len(moved), k) for k in range(ups, len(moved) + 1))
        return ways / (1 << len(moved))
    if len(moved) <= EXACT:
        sums = np.zeros(1)
        for one in moved:
            sums = np.concatenate([sums + one, sums - one])
        return float(np.mean(sums >= total - 1e-9))
    spread = math.sqrt(float((moved**2).sum()))
    return 1 - NormalDist().cdf(total / spread)


class HeldOut:
    """What the held-out items earned at the start, each in [0, 1], in the run's `memory`, so that a resume has it.

    `prompts` says what each item asks: items that ask the same move together, and count as one.
    """

    def __init__(self, memory: dict[str, float], prompts: Sequence[Hashable]) -> None:
        self.memory = memory
        self.prompts = prompts
        self.starting = False  # the look that is taken is the one before the first step

    @contextlib.contextmanager
    def timed(self) -> Iterator[None]:
        """Adds to `look_seconds` of the memory, what all looks of the run have taken."""
        began = time.perf_counter()
        yield
        self.memory["look_seconds"] = self.memory.get("look_seconds", 0.0) + time.perf_counter() - began

    @property
    def independent(self) -> int:
        """How many prompts there are."""
        return len(set(self.prompts))

    def look(self, scores: Sequence[float]) -> dict[str, float]:
        """The mean of these scores, and `eval_gain` and `eval_gain_p` against the start, where that was looked at."""
        mean = {"eval_score": math.fsum(scores) / len(scores), "eval_items": self.independent}
        if self.starting:
            self.memory.update({f"start {i}": float(score) for i, score in enumerate(scores)})
        if self.starting or "start 0" not in self.memory:
            return mean
        p = self._chance(scores, self._before())
        return {**mean, "eval_gain": mean["eval_score"] - self._mean(), "eval_gain_p": p}

    def moved(self, values: Sequence[float]) -> list[float]:
        """Whether each of these has risen since the first call: 1, or 0 where it fell, and half where it stayed."""
        if "began 0" not in self.memory:
            self.memory.update({f"began {i}": float(value) for i, value in enumerate(values)})
        rises = [value - self.memory[f"began {i}"] for i, value in enumerate(values)]
        return [0.5 if abs(rise) < STILL else float(rise > 0) for rise in rises]

    def lost(self, likeliest: Sequence[float], wanted: Sequence[bool] | None = None) -> dict[str, float]:
        """Of each preferred reply the share of tokens that the model would have said itself, given those before: their
        mean, and how often chance takes away as much as was lost since the first call. Replies not `wanted` don't
        count."""
        likeliest = [s if w else 0.0 for s, w in zip(likeliest, wanted or [True] * len(likeliest), strict=True)]
        found = {"eval_likeliest": math.fsum(likeliest) / (sum(wanted) if wanted else len(likeliest))}
        if "likeliest 0" not in self.memory:
            self.memory.update({f"likeliest {i}": share for i, share in enumerate(likeliest)})
            return found
        before = [self.memory[f"likeliest {i}"] for i in range(len(self.prompts))]
        return {**found, "eval_likeliest_p": self._chance(before, likeliest)}

    def _before(self) -> list[float]:
        return [self.memory[f"start {i}"] for i in range(len(self.prompts))]

    def _mean(self) -> float:
        return math.fsum(self._before()) / len(self.prompts)

    def _chance(self, scores: Sequence[float], before: Sequence[float]) -> float:
        sums: dict[Hashable, float] = {}
        for prompt, now, then in zip(self.prompts, scores, before, strict=True):
            sums[prompt] = sums.get(prompt, 0.0) + now - then
        return chance(list(sums.values()))

    def first(
        self, validate: Callable[[], Validation | None], say: Callable[[str], None], acts: Acts | None
    ) -> dict[str, float]:
        """The look before the first step, as metrics that begin with `base_`. Says, and lets the run end, where not
        even full marks on every item could be told from chance."""
        self.starting = True
        try:
            found = validate()
        finally:
            self.starting = False
        if found is None:
            return {}
        items = self.independent
        if items >= TELLING and self._chance([1.0] * len(self.prompts), self._before()) >= ALPHA:
            say(tr(
                f"This run can't show a gain: the {items} held-out items earn {self._mean():.3f} before training, and "
                "if all earned 1 afterwards, it could still be chance. More of them, or harder ones, would be needed.",
                f"この学習では改善を示せません。検証用の {items} 件は学習前に {self._mean():.3f} で、すべてが 1 に"
                "なっても偶然と区別できません。検証用の問題を増やすか、難しくしてください。",
            ))  # fmt: skip
            if acts:
                acts.end("hopeless", 0)
        return {f"base_{key}": value for key, value in {"eval_loss": found.loss, **found.metrics}.items()}


def cost(look_seconds: float, train_seconds: float, lines: Sequence[Mapping[str, Any]]) -> float:
    """The share of a run that its looks took. The first of them, all alike, is part of the first step's seconds."""
    later = sum("eval_loss" in line for line in lines)
    return look_seconds / (train_seconds + look_seconds * later / (later + 1))


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a finished run came to, and the sentence that says so."""

    verdict: Verdict
    said: Sentence | str


def outcome(lines: Sequence[Mapping[str, Any]], kept: int | None, start: str) -> Outcome:
    """From the lines of metrics.jsonl and the step that was kept; `start` is the name of the model it began with."""
    looks = [line for line in lines if "eval_gain" in line]
    if not looks:
        return Outcome("unknown", tr(
            "Nothing was held out, so it is not known whether training gained anything. Compare with: sodate eval",
            "検証用の問題がないため、学習で良くなったかは分かりません。sodate eval で比べてください。",
        ))  # fmt: skip
    best = next((line for line in looks if line["step"] == kept), looks[-1])
    before, after = float(lines[0]["base_eval_score"]), float(best["eval_score"])
    items, gain, p = int(best["eval_items"]), float(best["eval_gain"]), float(best["eval_gain_p"])
    bound = ALPHA / len(looks)
    rule = tr(f"p = {p:.2g}, a gain is below {bound:.2g}", f"p = {p:.2g}。{bound:.2g} 未満なら改善")
    if len(looks) > 1:
        rule = tr(f"{en(rule)}, a share of {ALPHA:g} for each of {len(looks)} looks",
                  f"{ja(rule)} ({ALPHA:g} を確認の回数 {len(looks)} で割った値)")  # fmt: skip
    figures = tr(
        f"before it the model earned {before:.3f} on the {items} held-out rows, and {after:.3f} at step {best['step']} "
        f"({gain:+.3f}, {en(rule)})",
        f"検証用の {items} 行で、学習前は {before:.3f}、ステップ {best['step']} では {after:.3f} でした "
        f"({gain:+.3f}、{ja(rule)})",
    )
    if "zero_variance_groups" not in lines[0]:
        figures = tr(
            f"{after:.0%} of the {items} held-out rows moved the right way by step {best['step']} (50% is chance; "
            f"{en(rule)})",
            f"検証用の {items} 行のうち {after:.0%} が、ステップ {best['step']} までに正しい方向へ動きました "
            f"(偶然なら 50%。{ja(rule)})",
        )
    if best.get("eval_likeliest_p", 1.0) < ALPHA:
        then, now = (float(line[key]) for line, key in ((lines[0], "base_eval_likeliest"), (best, "eval_likeliest")))
        return Outcome("no-gain", tr(
            f"The preferred replies are less what the model says itself: of their tokens {now:.0%} are its first "
            f"choice, {then:.0%} before. {en(figures)}. Go on using {start}. Lower lr, raise beta or sft_weight.",
            f"好ましい返答をモデル自身が言いにくくなりました。第一候補になるトークンは、学習前の {then:.0%} から "
            f"{now:.0%} に下がりました。{ja(figures)}。{start} をそのまま使ってください。lr を下げるか、beta や "
            "sft_weight を上げてみてください。",
        ))  # fmt: skip
    fell = float(lines[0].get("base_eval_rewards/chosen", 0.0)) - float(best.get("eval_rewards/chosen", 0.0))
    if fell > pair_alarms.FALL:
        return Outcome("no-gain", tr(
            f"The preferred replies themselves became less likely (held-out reward {-fell:+.2f}): {en(figures)}. Go on "
            f"using {start}. Lower lr, raise beta or sft_weight.",
            f"好ましい返答そのものの確率が下がりました (検証用の報酬 {-fell:+.2f})。{ja(figures)}。{start} をそのまま"
            "使ってください。lr を下げるか、beta や sft_weight を上げてみてください。",
        ))  # fmt: skip
    if gain > 0 and items < TELLING:
        return Outcome("unknown", tr(
            f"So few held-out rows can't tell a gain from chance: {en(figures)}.",
            f"検証用の行が少なすぎて、改善か偶然か分かりません。{ja(figures)}。",
        ))  # fmt: skip
    if gain > 0 and p < bound:
        return Outcome("gain", tr(f"Training made it better: {en(figures)}.", f"学習で良くなりました。{ja(figures)}。"))
    advice = _advice(lines, (1 - before) * items)
    what = tr("Training made it worse", "学習で悪くなりました")
    if gain >= 0:
        what = tr("Training gained nothing that could be told from chance", "学習で良くなったとは言えません")
    return Outcome("no-gain", tr(
        f"{en(what)}: {en(figures)}. Go on using {start}. {en(advice)}",
        f"{ja(what)}。{ja(figures)}。{start} をそのまま使ってください。{ja(advice)}",
    ))  # fmt: skip


def _advice(lines: Sequence[Mapping[str, Any]], left: float) -> Sentence:
    """What to try next, by what the run showed. `left`: the items' worth that could have been gained."""
    flat = [float(line["zero_variance_groups"]) for line in lines if "zero_variance_groups" in line]
    if left < FEW:
        return tr("There was next to nothing left to gain on these items: harder ones, or a stricter grader, may show "
                  "what is still wrong.",
                  "検証用の問題では、もう伸びる余地がほとんどありません。難しい問題か、より厳しい採点にすると"
                  "残る誤りが見えることがあります。")  # fmt: skip
    if flat and sum(flat) / len(flat) >= FLAT:
        return tr(f"In {sum(flat) / len(flat):.0%} of the groups all replies earned the same and taught nothing: look "
                  "at the tasks with sodate data check --for grpo --model, and take those in between, or a finer "
                  "reward.",
                  f"グループの {sum(flat) / len(flat):.0%} では全返答の報酬が同じで、学ぶものがありませんでした。"
                  "sodate data check --for grpo --model で問題を確かめ、正誤が分かれる問題か、"
                  "より細かい報酬を使ってください。")  # fmt: skip
    if any(float(line.get("kl") or 0) > FAR for line in lines) and flat:
        return tr("The model moved far from its start: try half the lr, or twice the kl_coefficient.",
                  "元のモデルから大きく離れました。lr を半分にするか、kl_coefficient を 2 倍にして"
                  "みてください。")  # fmt: skip
    if flat:
        return tr("More steps, more tasks, more samples or a finer reward may help.",
                  "ステップ、問題、samples を増やすか、報酬を細かくすると改善することがあります。")  # fmt: skip
    return tr("More pairs, or pairs whose sides differ in what matters, may help.",
              "組を増やすか、違いのはっきりした組にすると改善することがあります。")  # fmt: skip
