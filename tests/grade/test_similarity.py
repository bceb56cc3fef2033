"""Metrics of similarity, beside an independent library and slow counts."""

from __future__ import annotations

import math
import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sodate.grade.similarity import METRICS

WORDS = [
    "connection",
    "connected",
    "the",
    "parcel",
    "arrives",
    "arrival",
    "tomorrow",
    "relational",
    "running",
    "runs",
    "a",
]


def test_meteor_bleu_and_gleu_are_those_of_an_independent_library() -> None:
    from nltk.stem.porter import PorterStemmer
    from nltk.translate import gleu_score
    from nltk.translate.bleu_score import SmoothingFunction, sentence_bleu
    from nltk.translate.meteor_score import single_meteor_score

    class NoSynonyms:
        def synsets(self, word: str) -> list[Any]:
            return []

    stem = PorterStemmer(mode=PorterStemmer.ORIGINAL_ALGORITHM)
    drawn = random.Random(3)
    for _ in range(200):
        said, wanted = ([drawn.choice(WORDS) for _ in range(drawn.randint(1, 9))] for _ in range(2))
        reply, reference = " ".join(said), " ".join(wanted)
        oracle = single_meteor_score(wanted, said, stemmer=stem, wordnet=NoSynonyms())
        assert METRICS["meteor"](reply, reference) == pytest.approx(oracle), (reply, reference)
        assert METRICS["gleu"](reply, reference) == pytest.approx(gleu_score.sentence_gleu([wanted], said))
        if len(said) >= 4 and set(said) & set(wanted):
            oracle = sentence_bleu([wanted], said, smoothing_function=SmoothingFunction().method2)
            assert METRICS["bleu"](reply, reference) == pytest.approx(oracle), (reply, reference)


def naive_overlap(said: list[str], wanted: list[str], n: int) -> float:
    """ROUGE-n as its paper writes it: matched n-grams, each reference n-gram used once, as an F1."""
    left = [tuple(said[i : i + n]) for i in range(len(said) - n + 1)]
    right = [tuple(wanted[i : i + n]) for i in range(len(wanted) - n + 1)]
    matched = 0
    rest = list(right)
    for gram in left:
        if gram in rest:
            rest.remove(gram)
            matched += 1
    if not matched:
        return 0.0
    precision, recall = matched / len(left), matched / len(right)
    return 2 * precision * recall / (precision + recall)


def naive_longest(said: list[str], wanted: list[str]) -> float:
    if not said or not wanted:
        return 0.0
    table = [[0] * (len(wanted) + 1) for _ in range(len(said) + 1)]
    for i, a in enumerate(said):
        for j, b in enumerate(wanted):
            table[i + 1][j + 1] = table[i][j] + 1 if a == b else max(table[i][j + 1], table[i + 1][j])
    longest = table[-1][-1]
    return 2 * longest / (len(said) + len(wanted))


def test_rouge_of_every_order_is_that_of_a_slow_count() -> None:
    drawn = random.Random(5)
    for _ in range(200):
        said, wanted = ([drawn.choice(WORDS[:5]) for _ in range(drawn.randint(5, 12))] for _ in range(2))
        reply, reference = " ".join(said), " ".join(wanted)
        for n in range(1, 6):
            assert METRICS[f"rouge_{n}"](reply, reference) == pytest.approx(naive_overlap(said, wanted, n))
        assert METRICS["rouge_l"](reply, reference) == pytest.approx(naive_longest(said, wanted))


def test_cosine_is_worked_out_by_hand() -> None:
    # "abab" has ab twice and ba once, "ab" has ab once: 2 / (√5 · 1)
    assert METRICS["cosine"]("abab", "ab") == pytest.approx(2 / math.sqrt(5))
    assert METRICS["cosine"]("返品したい", "返品したい") == pytest.approx(1)
    assert (METRICS["cosine"]("", ""), METRICS["cosine"]("a", "b"), METRICS["cosine"]("", "ab")) == (1, 0, 0)


@pytest.mark.parametrize("metric", METRICS)
@given(left=st.text(max_size=20), right=st.text(max_size=20))
@settings(max_examples=30, deadline=None)
def test_every_similarity_is_between_0_and_1(metric: str, left: str, right: str) -> None:
    assert -1e-9 <= METRICS[metric](left, right) <= 1 + 1e-9
