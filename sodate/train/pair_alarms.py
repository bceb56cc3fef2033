"""What goes wrong in preference training while the loss looks well, said once in words."""

from __future__ import annotations

from collections.abc import Callable

from sodate.core.text import tr
from sodate.train.acts import silent

SMOOTHING = 0.2  # weight of a step in the running mean: about the last five steps count
PATIENCE = 10  # steps in a row
FALL = 0.5  # in units of reward
EXPLOSION = 10.0  # σ(10) = 0.99995: nothing is left to learn from such a pair


def watch(
    memory: dict[str, float],
    chosen: float,
    margin: float,
    start: float | None,
    warn: Callable[[str], None],
    act: Callable[[str, int], None] = silent,
    step: int = 0,
) -> None:
    """Takes the mean chosen reward and margin of 1-based `step`; warns once of each trouble, and `act`s while it lasts.
    `memory` survives a resume.

    `start` is the chosen reward of the untrained model: 0 with a reference, None where the first step says it.
    """
    first = memory.setdefault("chosen_start", chosen if start is None else start)
    mean = memory["chosen_mean"] = _mean(memory.get("chosen_mean", chosen), chosen)
    gap = memory["margin_mean"] = _mean(memory.get("margin_mean", margin), margin)
    memory["chosen_low"] = memory.get("chosen_low", 0.0) + 1 if mean < first - FALL else 0.0
    memory["margin_high"] = memory.get("margin_high", 0.0) + 1 if gap > EXPLOSION else 0.0
    # Counted to exactly this number once: a reward that recovers and falls again is the same story.
    if memory["chosen_low"] == PATIENCE and not memory.get("said_chosen"):
        memory["said_chosen"] = 1.0
        warn(
            tr(
                f"The preferred replies are themselves becoming less likely (reward {mean:.2f}, at first {first:.2f}): "
                "the model unlearns both sides, the rejected one faster. Lower lr, or raise beta or sft_weight.",
                f"好ましい返答そのものの確率が下がり続けています (報酬 {mean:.2f}、開始時 {first:.2f})。両方の返答を"
                "忘れつつあります。lr を下げるか、beta や sft_weight を上げてください。",
            )
        )
    if memory["margin_high"] == PATIENCE and not memory.get("said_margin"):
        memory["said_margin"] = 1.0
        warn(
            tr(
                f"The margin between chosen and rejected replies has grown to {gap:.1f}: they are learnt by heart. "
                "Fewer epochs, a lower lr or a higher beta keep the model closer to where it started.",
                f"好ましい返答と好ましくない返答の差が {gap:.1f} まで開きました。組を丸暗記しています。"
                "epochs や lr を下げるか、beta を上げると、元のモデルから離れすぎません。",
            )
        )
    for name, key in (("chosen", "chosen_low"), ("margin", "margin_high")):
        if memory[key] >= PATIENCE:
            act(name, step)


def _mean(before: float, value: float) -> float:
    return (1 - SMOOTHING) * before + SMOOTHING * value
