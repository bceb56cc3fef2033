"""Text similarity in [0, 1]. Tokens are words, and single characters where Japanese has no spaces."""

from __future__ import annotations

import math
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import Any

import snowballstemmer
from rapidfuzz import fuzz
from rapidfuzz.distance import LCSseq

from sodate.core.errors import SodateError
from sodate.core.text import tr
from sodate.grade.base import Grade, GradeFunction
from sodate.grade.normalise import normalise, tokens

MAX_TEXT = 100_000  # characters: fuzzy_match and rouge_l take time by their square


def _ngrams(items: Sequence[str], n: int) -> Counter[tuple[str, ...]]:
    return Counter(tuple(items[i : i + n]) for i in range(len(items) - n + 1))


def _f1(matched: int, left: int, right: int) -> float:
    """Harmonic mean of matched/left and matched/right. Two empty sides are the same."""
    return 2 * matched / (left + right) if left + right else 1.0


def fuzzy_match(reply: str, reference: str) -> float:
    """Indel similarity of the normalised texts: rapidfuzz's `ratio` / 100."""
    return fuzz.ratio(normalise(reply), normalise(reference)) / 100


def char_f1(reply: str, reference: str) -> float:
    """F1 over the multisets of characters without white space, as JGLUE scores JSQuAD."""
    left = Counter("".join(normalise(reply).split()))
    right = Counter("".join(normalise(reference).split()))
    return _f1((left & right).total(), left.total(), right.total())


def rouge_n(n: int) -> Callable[[str, str], float]:
    """F1 over token n-grams (Lin, 2004). Texts shorter than n tokens have no n-grams: equal ones score 1, others 0."""

    def score(reply: str, reference: str) -> float:
        said, wanted = tokens(reply), tokens(reference)
        left, right = _ngrams(said, n), _ngrams(wanted, n)
        if not left and not right:
            return float(said == wanted)
        return _f1((left & right).total(), left.total(), right.total())

    return score


def rouge_l(reply: str, reference: str) -> float:
    """F1 over the longest common subsequence of tokens."""
    said, wanted = tokens(reply), tokens(reference)
    return _f1(LCSseq.similarity(said, wanted), len(said), len(wanted))


def bleu(reply: str, reference: str) -> float:
    """Sentence BLEU-4 with brevity penalty; orders above one are smoothed by +1 on both sides (Lin & Och, 2004)."""
    said, wanted = tokens(reply), tokens(reference)
    if not said or not wanted:
        return float(said == wanted)
    log_sum = 0.0
    for n in range(1, 5):
        left, right = _ngrams(said, n), _ngrams(wanted, n)
        smooth = int(n > 1)
        matched, total = (left & right).total() + smooth, left.total() + smooth
        if not matched:
            return 0.0
        log_sum += math.log(matched / total)
    penalty = min(0.0, 1 - len(wanted) / len(said))
    return math.exp(penalty + log_sum / 4)


def gleu(reply: str, reference: str) -> float:
    """min(precision, recall) over all n-grams of orders 1 to 4 (Wu et al., 2016)."""
    said, wanted = tokens(reply), tokens(reference)
    matched = left = right = 0
    for n in range(1, 5):
        a, b = _ngrams(said, n), _ngrams(wanted, n)
        matched, left, right = matched + (a & b).total(), left + a.total(), right + b.total()
    return matched / max(left, right) if left or right else 1.0


def meteor(reply: str, reference: str) -> float:
    """METEOR (Banerjee & Lavie, 2005) with the weights that became usual: α 0.9, β 3, γ 0.5.

    Words are matched as they are, then by Porter's stem; there is no dictionary of synonyms here. As in the paper a
    match in one piece still costs a little: the same word alone scores 0.5, long equal texts nearly 1.
    """
    said, wanted = tokens(reply), tokens(reference)
    pairs = _aligned(said, wanted, lambda word: word)
    left, right = {i for i, _ in pairs}, {j for _, j in pairs}
    stem = snowballstemmer.stemmer("porter").stemWord
    rest = _aligned([None if i in left else word for i, word in enumerate(said)],
                    [None if j in right else word for j, word in enumerate(wanted)], stem)  # fmt: skip
    pairs = sorted([*pairs, *rest])
    if not pairs:
        return float(not said and not wanted)
    precision, recall = len(pairs) / len(said), len(pairs) / len(wanted)
    mean = precision * recall / (0.9 * precision + 0.1 * recall)
    chunks = 1 + sum((b[0] - a[0], b[1] - a[1]) != (1, 1) for a, b in pairwise(pairs))
    return mean * (1 - 0.5 * (chunks / len(pairs)) ** 3)


def _aligned(
    said: Sequence[str | None], wanted: Sequence[str | None], form: Callable[[str], str]
) -> list[tuple[int, int]]:
    """Places of words of one form on both sides, each used once, the last ones with the last ones."""
    places: dict[str, deque[int]] = {}
    for j, word in enumerate(wanted):
        if word is not None:
            places.setdefault(form(word), deque()).append(j)
    pairs = []
    for i in range(len(said) - 1, -1, -1):
        word = said[i]
        if word is not None and (left := places.get(form(word))):
            pairs.append((i, left.pop()))
    return pairs


def cosine(reply: str, reference: str) -> float:
    """Cosine between the counts of pairs of neighbouring characters: no model is asked. Texts without any are equal or
    have nothing in common."""
    left, right = (Counter(pairwise(text)) for text in (normalise(reply), normalise(reference)))
    if not left or not right:
        return float(normalise(reply) == normalise(reference))
    product = sum(count * right[pair] for pair, count in left.items())
    lengths = [sum(count * count for count in counts.values()) for counts in (left, right)]
    return product / math.sqrt(lengths[0] * lengths[1])


METRICS: Mapping[str, Callable[[str, str], float]] = {
    "fuzzy_match": fuzzy_match,
    "char_f1": char_f1,
    "bleu": bleu,
    "gleu": gleu,
    "meteor": meteor,
    "cosine": cosine,
    "rouge_l": rouge_l,
    **{f"rouge_{n}": rouge_n(n) for n in range(1, 6)},
}


def compared(metric: str, reply: str, reference: str) -> Grade:
    """How similar a reply is to its reference; 0 for one of more than MAX_TEXT characters, SodateError where the
    reference has more.
    """
    if len(reference) > MAX_TEXT:
        raise SodateError(
            tr(f"{metric} compares texts of up to {MAX_TEXT} characters; this reference has {len(reference)}.",
               f"{metric} が比べるのは {MAX_TEXT} 文字までですが、この正解は {len(reference)} 文字です。"),
            code="grader_failed", param="grader",
        )  # fmt: skip
    if len(reply) > MAX_TEXT:
        return Grade(0.0, tr(f"a reply of {len(reply)} characters is not compared",
                             f"{len(reply)} 文字の返答は比べません"))  # fmt: skip
    # The bound only takes off what rounding put on.
    score = min(1.0, max(0.0, METRICS[metric](reply, reference)))
    return Grade(score, f"{metric} {score:.3f}")


def text_similarity(metric: str) -> GradeFunction:
    def grade(reply: str, reference: str | None, item: Mapping[str, Any]) -> Grade:
        return compared(metric, reply, reference or "")

    return grade
