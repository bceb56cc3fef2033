"""Numbers and states as a page writes them, in the reader's language."""

from __future__ import annotations

import datetime
import re
from typing import Any

from sodate.core.text import tr
from sodate.jobs.files import called

_STATES = {
    "running": tr("running", "実行中"),
    "interrupted": tr("interrupted", "中断"),
    "failed": tr("failed", "失敗"),
    "done": tr("done", "完了"),
    "better": tr("better", "改善"),
    "worse": tr("worse", "悪化"),
    "equivalent": tr("equivalent", "同等"),
    "inconclusive": tr("inconclusive", "判定できず"),
    "promote": tr("promoted", "公開"),
    "rollback": tr("rolled back", "ロールバック"),
    "training": tr("training", "学習用"),
    "held-out": tr("held out", "評価用"),
    "target": tr("better", "改善"),
    "guard": tr("not worse", "悪化なし"),
    "blocking": tr("no failure", "失敗なし"),
    "canary": tr("canary", "カナリア"),
    "abort": tr("canary aborted", "カナリア中止"),
    "no-gain": tr("no gain", "改善なし"),
    "queued": tr("queued", "待機中"),
    "validating_files": tr("files are checked", "ファイル確認中"),
    "paused": tr("paused", "一時停止中"),
    "succeeded": tr("done", "完了"),
    "cancelled": tr("cancelled", "取り消し"),
}
# What a run learns from, beside the name that its recipe has for it.
_METHODS = {
    "sft": tr("supervised", "教師あり"),
    "distill": tr("distillation", "蒸留"),
    **dict.fromkeys(("dpo", "kto", "orpo", "simpo"), tr("preferences", "選好")),
    "reward": tr("reward model", "報酬モデル"),
    **dict.fromkeys(("grpo", "ppo"), tr("rewards", "報酬")),
}
# Keys of metrics.jsonl that are drawn, or stand on the overview of a run.
METRICS = {
    "step": tr("step", "ステップ"),
    "steps": tr("steps planned", "予定ステップ数"),
    "epoch": tr("epoch", "エポック"),
    "loss": tr("loss", "損失"),
    "eval_loss": tr("held-out loss", "検証損失"),
    "accuracy": tr("accuracy", "正答率"),
    "eval_accuracy": tr("held-out accuracy", "検証の正答率"),
    "reward_mean": tr("mean reward", "平均報酬"),
    "eval_reward": tr("held-out reward", "検証の報酬"),
    "rewards/chosen": tr("chosen", "良い返答"),
    "rewards/rejected": tr("rejected", "悪い返答"),
    "margin": tr("margin", "差"),
    "eval_margin": tr("held-out margin", "検証の差"),
    "kl": tr("a token", "1 トークンあたり"),
    "kl_reply": tr("a reply", "1 返答あたり"),
    "engine_kl": tr("between engine and training", "生成時と学習時の間"),
    "entropy": tr("entropy", "エントロピー"),
    "lr": tr("learning rate", "学習率"),
    "grad_norm": tr("gradient norm", "勾配ノルム"),
    "tokens": tr("tokens", "トークン数"),
    "supervised_tokens": tr("tokens trained", "学習対象のトークン数"),
    "computed_tokens": tr("tokens computed", "計算したトークン数"),
    "seconds": tr("seconds", "秒数"),
}


def method_word(method: Any) -> str:
    """`supervised (sft)`; – for what is not there."""
    if not method:
        return "–"
    word = _METHODS.get(str(method))
    return str(method) if word is None else f"{word} ({method})"


def metric_word(key: str) -> str:
    """What a key of metrics.jsonl is called; one that nobody named is read as it is written."""
    return str(METRICS.get(key, key))


def metric_words() -> dict[str, str]:
    """All of them, for what draws curves."""
    return {key: str(word) for key, word in METRICS.items()}


def status_word(state: Any) -> str:
    """A state of a run, job, comparison or move; what a dataset is for, and what a tier of a gate asks."""
    return str(_STATES.get(str(state), str(state)))


def number(value: Any, digits: int | None = None) -> str:
    """12,345 or 0.1235; – for what is not there."""
    if value is None:
        return "–"
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value)
    return f"{value:,.{digits}f}" if digits is not None else f"{value:,}" if isinstance(value, int) else f"{value:.4g}"


def percent(share: Any, digits: int = 0) -> str:
    """A share as a percentage."""
    if share is None:
        return "–"
    text = f"{100 * float(share):.{digits}f}"
    return str(tr(f"{text}\u00a0%", f"{text}%"))


def counted(count: Any, one: str, more: str, japanese: str) -> str:
    """So many of something: `4 | counted("run", "runs", "学習 {} 回")`."""
    text = number(count)
    return str(tr(f"{text} {one if count == 1 else more}", japanese.format(text)))


def points(value: Any) -> str:
    """A score in [0, 1] as points out of 100."""
    return "–" if value is None else f"{100 * float(value):.1f}"


def figure(value: Any) -> str:
    """A difference in points, with its sign."""
    return "–" if value is None else f"{100 * float(value):+.1f}".replace("-", "−")


def signed(value: Any) -> str:
    """A number on an axis through zero, with its sign."""
    return "–" if value is None else f"{float(value):+.3g}".replace("-", "−")


def seconds(value: Any) -> str:
    """How long something takes, as a person says it."""
    if value is None:
        return "–"
    whole = max(0, round(float(value)))
    if whole < 60:
        return str(tr(f"{whole} s", f"{whole} 秒"))
    if whole < 3600:
        return str(tr(f"{round(whole / 60)} min", f"{round(whole / 60)} 分"))
    hours, minutes = divmod(round(whole / 60), 60)
    return str(tr(f"{hours} h {minutes} min", f"{hours} 時間 {minutes} 分"))


def left(progress: Any) -> str:
    """How long a run will still take; after its last step there is more to do, of which nobody knows how long."""
    if progress["seconds_left"] is None:
        return ""
    if progress["step"] >= progress["steps"]:
        return str(tr("all steps done, finishing", "全ステップ完了、仕上げ中"))
    text = seconds(progress["seconds_left"])
    return str(tr(f"about {text} left", f"残り約 {text}"))


def day(number: Any) -> str:
    """A day, counted from 1970: the same in every zone."""
    when = datetime.date(1970, 1, 1) + datetime.timedelta(days=int(number))
    return str(tr(f"{when.day} {when:%b %Y}", f"{when.year}年{when.month}月{when.day}日"))


def size(count: Any) -> str:
    """Bytes."""
    if count is None:
        return "–"
    for unit, factor in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= factor:
            return f"{count / factor:.1f} {unit}"
    return f"{count} B"


def document(path: str) -> str:
    """A file by its name alone: in which folder of the server it lies is nobody's business."""
    return re.split(r"[/\\]", called(path))[-1]


def place(text: str) -> str:
    """Where in a document a passage begins, as a person says it."""
    found = re.fullmatch(r"(line|page) (\d+)", text)
    if found is None:
        return text
    return tr(text, f"{found[2]} 行目" if found[1] == "line" else f"{found[2]} ページ")
