"""Keys of results as headings that a person reads: what `--json` calls `created_at` is "created" in a table."""

from __future__ import annotations

import datetime
import re
from collections.abc import Mapping
from typing import Any

from sodate.core.text import tr

WORDS: Mapping[str, str] = {
    # Tables of what is kept.
    "adapter": tr("adapter", "アダプター"),
    "architecture": tr("architecture", "アーキテクチャ"),
    "base": tr("base model", "ベースモデル"),
    "created_at": tr("created", "作成日時"),
    "data": tr("data", "データ"),
    "id": tr("id", "ID"),
    "licence": tr("licence", "ライセンス"),
    "method": tr("method", "手法"),
    "model": tr("model", "モデル"),
    "parameters": tr("parameters", "パラメータ数"),
    "path": tr("folder", "フォルダー"),
    "per_minute": tr("a minute", "毎分の上限"),
    "project": tr("project", "プロジェクト"),
    "revoked_at": tr("revoked", "無効化日時"),
    "role": tr("role", "役割"),
    "rows": tr("rows", "行数"),
    "report": tr("report", "レポート"),
    "run": tr("run", "実行"),
    "run_dir": tr("folder", "フォルダー"),
    "status": tr("status", "状態"),
    "version": tr("version", "バージョン"),
    "better": tr("better", "改善"),
    "candidate": tr("candidate", "候補"),
    "chunks": tr("passages", "文章数"),
    "confidence": tr("confidence", "確信度"),
    "difference": tr("difference", "差"),
    "equivalent": tr("equivalent", "同等"),
    "files": tr("files", "ファイル数"),
    "graders": tr("graders", "採点"),
    "inconclusive": tr("inconclusive", "判定できず"),
    "index": tr("index", "索引"),
    "keep_days": tr("days kept", "保存日数"),
    "mode": tr("mode", "記録"),
    "models": tr("models", "モデル"),
    "n": tr("n", "件数"),
    "served": tr("served", "公開版"),
    "share": tr("share", "割合"),
    "slow_ms": tr("slow from (ms)", "遅いとみなす時間 (ms)"),
    "stored": tr("stored replies", "保存する返答"),
    "verdict": tr("verdict", "判定"),
    "words": tr("own words", "独自の語"),
    "worse": tr("worse", "悪化"),
    # What an import makes.
    "baseline": tr("recorded replies", "記録された返答"),
    "dataset": tr("data set", "データセット"),
    "eval": tr("eval", "評価"),
    "grader": tr("grader", "採点"),
    "item": tr("items", "評価項目"),
    "recipe": tr("recipe", "レシピ"),
    # How a run stands.
    "running": tr("running", "実行中"),
    "interrupted": tr("interrupted", "中断"),
    "failed": tr("failed", "失敗"),
    "done": tr("done", "完了"),
    "no-gain": tr("no-gain", "改善なし"),
    # A plan.
    "activations": tr("activations", "活性値"),
    "bytes": tr("memory", "メモリ"),
    "gradient_checkpointing": tr("recomputed", "再計算"),
    "gradients": tr("gradients", "勾配"),
    "optimizer": tr("optimiser", "オプティマイザー"),
    "parallel": tr("parallel", "並列化"),
    "weights": tr("weights", "重み"),
    # What the rows of a check look like.
    "all_bad": tr("all bad", "すべて不可"),
    "chars": tr("characters", "文字数"),
    "conversation": tr("conversation", "会話"),
    "desirable": tr("wanted", "好ましい"),
    "judgement": tr("single verdict", "返答ごとの評価"),
    "kinds": tr("kinds of rows", "行の種類"),
    "labels": tr("labels", "ラベル"),
    "languages": tr("languages", "言語"),
    "max": tr("max", "最大"),
    "median": tr("median", "中央値"),
    "min": tr("min", "最小"),
    "p95": tr("95 % below", "95% 点"),
    "pairs": tr("pairs", "組"),
    "preference": tr("preference", "選好"),
    "ranking": tr("ranking", "順位"),
    "reply_chars": tr("characters of replies", "返答の文字数"),
    "supervised": tr("trained", "うち学習"),
    "system_prompts": tr("system prompts", "システムプロンプトの種類"),
    "taskitem": tr("task", "課題"),
    "ties": tr("ties", "同順位"),
    "tokens": tr("tokens", "トークン数"),
    "total": tr("total", "合計"),
    "undesirable": tr("unwanted", "好ましくない"),
    "unranked_replies": tr("replies without a rank", "順位のない返答"),
    "user_turns": tr("rows by user messages", "ユーザーの発言数ごとの行数"),
    "verdicts": tr("verdicts", "評価"),
}
_OF_DATA = ("labels", "languages", "user_turns")  # whose inner keys come from the rows


def word(key: str) -> str:
    """The heading of a key; a key that nobody named is read as it is written."""
    return WORDS.get(key, key.replace("_", " "))


def cell(key: str, value: Any) -> str:
    """A value of a table: a point in time as it is here, to the minute, the status of a run in the reader's language,
    a base model without the hash of its revision."""
    if value is None:
        return "–"
    if key.endswith("_at"):
        return _time(value)
    if key == "base":
        return re.sub("@[0-9a-f]{12}$", "", str(value))
    return str(word(value)) if key == "status" else str(value)


def _time(value: Any) -> str:
    """A point in time, in seconds or as ISO 8601, by this machine's clock; other text as it is."""
    try:
        if isinstance(value, int | float):
            then = datetime.datetime.fromtimestamp(value, datetime.UTC)
        else:
            then = datetime.datetime.fromisoformat(str(value))
        return then.astimezone().strftime("%Y-%m-%d %H:%M")
    except (ValueError, OverflowError, OSError):
        return str(value)


def figures(key: str, values: Mapping[str, Any], most: int = 12) -> str:
    """The figures of `stats[key]` in one line, the first `most` of them."""
    shown = [
        f"{name if key in _OF_DATA else word(name)} {_short(key, value)}" for name, value in list(values.items())[:most]
    ]
    return ", ".join(shown) + (" …" if len(values) > most else "")


def _short(key: str, value: Any) -> str:
    if key == "languages":
        return f"{100 * value:.3g} %"
    return f"{value:.4g}" if isinstance(value, float) else f"{value:,}" if isinstance(value, int) else str(value)
