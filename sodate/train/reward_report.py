"""What a reward model is worth on replies it has not seen: is it right, is it sure, and does it just like long replies?

Comparisons of one prompt hang together, so a prompt is the unit: its accuracy is the share of its decided pairs that
the scores put in the right order (an equal pair is half right), and intervals count prompts.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from sodate.core.intervals import paired_proportion_ci, wilson

BINS = 5  # of the model's confidence, from 0.5 to 1


@dataclass(frozen=True, slots=True)
class ScoredReplies:
    """The replies to one prompt: scores, lengths in tokens, ranks (1 is best, None not ranked)."""

    scores: Sequence[float]
    lengths: Sequence[int]
    ranks: Sequence[int | None]

    def decided(self) -> Iterator[tuple[int, int]]:
        """(better, worse) of every pair that people decided."""
        for a, better in enumerate(self.ranks):
            for b, worse in enumerate(self.ranks):
                if better is not None and worse is not None and better < worse:
                    yield a, b


def report(rows: Sequence[ScoredReplies]) -> dict[str, Any]:
    """Accuracy with its Wilson interval, that of "the longer reply is better", calibration, correlation with length.

    `beats_chance`: the interval of the accuracy lies above 1/2. `beats_length`: that of the paired difference to the
    length rule lies above 0 (Agresti and Min, 2005). `trustworthy` needs both.
    """
    right = [_agreement(row.scores, row) for row in rows]
    longer = [_agreement(row.lengths, row) for row in rows]
    n = len(rows)
    low, high = wilson(sum(right), n)
    fixed = sum(max(0.0, ours - theirs) for ours, theirs in zip(right, longer, strict=True))
    broken = sum(max(0.0, theirs - ours) for ours, theirs in zip(right, longer, strict=True))
    gain = paired_proportion_ci(fixed, broken, n)
    bins, error = _calibration(rows)
    return {
        "prompts": n,
        "pairs": sum(len(list(row.decided())) for row in rows),
        "accuracy": sum(right) / n,
        "accuracy_ci": [low, high],
        "longer_is_better_accuracy": sum(longer) / n,
        "gain_over_length_ci": list(gain),
        "length_correlation": _length_correlation(rows),
        "calibration_error": error,
        "calibration": bins,
        "beats_chance": low > 0.5,
        "beats_length": gain[0] > 0,
        "trustworthy": low > 0.5 and gain[0] > 0,
    }


def _agreement(values: Sequence[float], row: ScoredReplies) -> float:
    """Share of the decided pairs that `values` order as people did."""
    signs = [np.sign(values[better] - values[worse]) for better, worse in row.decided()]
    return float((np.mean(signs) + 1) / 2)


def _length_correlation(rows: Sequence[ScoredReplies]) -> float | None:
    """Pearson's r of score and length within prompts (each taken from its prompt's mean); None where nothing varies."""
    scores, lengths = (
        np.concatenate([np.asarray(values, dtype=np.float64) - np.mean(values) for values in column])
        for column in ([row.scores for row in rows], [row.lengths for row in rows])
    )
    spread = float(np.sqrt((scores**2).sum() * (lengths**2).sum()))
    return float((scores * lengths).sum() / spread) if spread else None


def _calibration(rows: Sequence[ScoredReplies]) -> tuple[list[dict[str, float]], float]:
    """Reliability table and expected calibration error (Naeini et al., 2015) of P(better beats worse) = σ(difference).

    A pair is seen from the side the model favours: its confidence is at least 1/2, and it is right or wrong.
    """
    gaps = np.asarray([row.scores[a] - row.scores[b] for row in rows for a, b in row.decided()])
    confidence = 1 / (1 + np.exp(-np.abs(gaps)))
    correct = (np.sign(gaps) + 1) / 2
    place = np.minimum(((confidence - 0.5) * 2 * BINS).astype(int), BINS - 1)
    table = []
    error = 0.0
    for number in range(BINS):
        mask = place == number
        if mask.any():
            mean, share = float(confidence[mask].mean()), float(correct[mask].mean())
            table.append({"confidence": mean, "accuracy": share, "pairs": int(mask.sum())})
            error += abs(mean - share) * float(mask.mean())
    return table, error
