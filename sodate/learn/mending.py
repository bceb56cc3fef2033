"""What would mend a cluster of failures: a prompt, a document, examples, or nothing. Read off its reasons."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from sodate.core.text import tr

Mend = Literal["prompt", "document", "examples", "nothing"]
# Which reasons each of them answers; the first that most failures have decides.
_BY: Mapping[Mend, tuple[str, ...]] = {
    "prompt": ("broken_schema", "banned_words"),
    "document": ("no_passage", "abstained"),
    "examples": (
        "judged_wrong",
        "corrected",
        "thumbs_down",
        "low_confidence",
        "answered_differently",
        "unlike_training",
    ),
    "nothing": ("slow",),
}
SAYS: Mapping[Mend, str] = {
    "prompt": tr("say it in the prompt, or hold replies to a schema", "プロンプトに書くか、スキーマで形式を固定する"),
    "document": tr("add a document that answers it to the index", "答えの載った文書を索引に加える"),
    "examples": tr("review some of them as examples to train on", "いくつかを確認し、学習用の例にする"),
    "nothing": tr("nothing: too few, or not the model's fault", "何もしない。件数が少ないか、モデルの問題ではない"),
}
FEW = 3  # failures, below which one that nobody complained about needs nothing


def of(reasons: Mapping[str, int], failures: int, exchanges: int) -> Mend:
    """What mends it. Few failures among many exchanges, of which no person said anything, need nothing."""
    by_people = sum(reasons.get(name, 0) for name in ("corrected", "thumbs_down", "judged_wrong"))
    if failures < FEW and not by_people and failures * 20 < exchanges:
        return "nothing"
    counts = {mend: sum(reasons.get(name, 0) for name in names) for mend, names in _BY.items()}
    return max(counts, key=lambda mend: counts[mend])
