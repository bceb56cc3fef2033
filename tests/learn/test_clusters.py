"""Failures by what they are about: named by their own words, the same every time, with what would mend them."""

from __future__ import annotations

import json
import random
import tracemalloc
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sqlalchemy as sa

from sodate.core.errors import UsageError
from sodate.db.connection import writing
from sodate.db.exchange_tables import ExchangeRow
from sodate.learn import grams, grouping, mending, review
from sodate.learn.clusters import clusters
from sodate.learn.keeping import DAY
from tests.db.test_connection import database, postgres  # noqa: F401 (fixtures)
from tests.learn.made import TODAY, exchange, keep, many

TOPICS = {
    "返品": ("返品したいのですが、どうすればよいですか", "この商品の返品は可能でしょうか", "セール品でも返品できますか",
             "届いた商品を返品する場合の期限はいつですか", "返品の手順を教えてください"),
    "領収書": ("領収書を発行してください", "領収書の宛名を変更できますか", "会社名で領収書をもらえますか",
               "領収書が届きません", "領収書の再発行をお願いします"),
    "ログイン": ("ログインできません", "ログイン画面が表示されない", "スマホからログインするとエラーになります",
                 "ログインのパスワードを忘れました", "ログインし直しても戻ってしまう"),
    "refund": ("When do I get my refund?", "I want a refund for my order", "The refund has not arrived yet",
               "Can you refund the shipping fee?", "How long does a refund take?"),
}  # fmt: skip


def served(count: int = 80, **changes: Any) -> dict[str, str]:
    """So many questions on each topic, every second a failure; the topic by the id."""
    rng, topics, told = random.Random(1), {}, []
    for topic, questions in TOPICS.items():
        for number in range(count):
            id = f"chatcmpl-{len(told)}"
            topics[id] = topic
            end = rng.choice(["お願いします。", "よろしく。", "至急", ""])
            text = f"{rng.choice(questions)} {end}注文{rng.randrange(9999)}"
            bad = 0.1 if number % 2 else 0.9
            told.append(exchange(id, text, confidence=bad, created_at=TODAY + 7 * DAY * (number % 3), **changes))
    keep(*told)
    return topics


def test_each_topic_is_a_cluster_named_by_its_own_words_and_counted_over_time(database: str) -> None:  # noqa: F811
    topics = served()
    told = clusters()
    assert (told["exchanges"], told["failures"]) == (320, 160)
    large = [one for one in told["clusters"] if one["failures"] >= 10]
    for topic in TOPICS:
        assert any(topic in one["words"] for one in told["clusters"]), topic
    for one in large:
        assert one["failures"] <= one["exchanges"] and one["mend"] == "examples"
        assert sum(week["failures"] for week in one["by_week"]) == one["failures"] and len(one["by_week"]) == 3
        assert one["reasons"] == {"low_confidence": one["failures"]}
    assert sum(one["failures"] for one in told["clusters"]) + told["scattered"] == 160
    own = [[item["id"] for item in review.queue("aoki", cluster=one["id"], limit=1000)] for one in told["clusters"]]
    assert [len(ids) for ids in own] == [one["failures"] for one in told["clusters"]]
    together = sum(max(Counter(topics[id] for id in ids).values()) for ids in own)
    assert together / sum(map(len, own)) > 0.8  # of the failures stand with their like


def test_clusters_are_the_same_every_time_and_made_anew_when_something_has_happened(home: Path) -> None:
    served(20)
    first = clusters()

    def what(told: dict[str, Any]) -> Any:
        return [{key: one[key] for key in one if key != "id"} for one in told["clusters"]]

    assert clusters() == first  # nothing new: as they were made
    assert what(clusters(again=True)) == what(first)
    keep(exchange("chatcmpl-new", "Where is my parcel?", confidence=0.1))
    assert clusters()["failures"] == first["failures"] + 1


def test_one_failure_is_a_cluster_of_one_and_none_is_no_cluster(home: Path) -> None:
    keep(exchange("chatcmpl-1", "返品したいのですが"))
    assert clusters()["clusters"] == []
    keep(exchange("chatcmpl-2", "領収書をください", confidence=0.1), exchange("chatcmpl-3", "", confidence=0.1))
    told = clusters()
    assert [(one["failures"], one["words"]) for one in told["clusters"]] == [(1, ["領収書"])]
    assert told["scattered"] == 1  # a question without a letter is like nothing


def test_exchanges_of_any_length_are_read_a_few_at_a_time(home: Path) -> None:
    many(["相談です。"] * 120, confidence=0.1)
    told = {"messages": [{"role": "user", "content": "長い相談です。" * 15_000}], "replies": []}
    with writing() as session:
        session.execute(sa.update(ExchangeRow).values(body=json.dumps(told)))
    tracemalloc.start()
    found = clusters()
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    # A body is 600 kB of escapes on the disk, and 200 kB read; tables of grams take 25 MB.
    assert found["failures"] == 120 and most < 50_000_000


def test_a_cluster_of_another_project_is_not_found(home: Path) -> None:
    served(5)
    mine = clusters()["clusters"][0]["id"]
    with pytest.raises(UsageError):
        review.queue("aoki", "shop", cluster=mine)


def test_the_weights_of_grams_are_those_of_a_slow_computation(home: Path) -> None:
    """The oracle counts with dictionaries, gram by gram, and knows nothing of arrays."""
    texts = ["返品したい", "abcabc", "", "あ", "送料は500円ですか", "送料は12円"]
    rows = grams.weighed(grams.counted(texts), np.ones(grams.COLUMNS, np.float32))
    dense = np.zeros((len(texts), grams.COLUMNS))
    for number in range(len(texts)):
        part = slice(rows.starts[number], rows.starts[number + 1])
        dense[number, rows.columns[part]] = rows.values[part]
    assert np.allclose(dense @ dense.T, slow_cosines(texts), atol=1e-5)


def slow_cosines(texts: list[str]) -> np.ndarray[Any, Any]:
    found = []
    for text in texts:
        plain = grams.plain(text)
        counts: dict[str, int] = {}
        for size in (2, 3):
            for at in range(len(plain) - size + 1):
                counts[plain[at : at + size]] = counts.get(plain[at : at + size], 0) + 1
        light = {gram: all("ぁ" <= c <= "ゟ" or c in "、。 " for c in gram) for gram in counts}
        found.append({gram: (1 + np.log(n)) * (grams.HIRAGANA if light[gram] else 1) for gram, n in counts.items()})
    norms = [np.sqrt(sum(v * v for v in one.values())) or 1.0 for one in found]
    return np.array([[sum(a[g] * b.get(g, 0) for g in a) / (x * y) for b, y in zip(found, norms, strict=True)]
                     for a, x in zip(found, norms, strict=True)])  # fmt: skip


def test_products_and_sums_of_rows_are_those_of_dense_ones(home: Path) -> None:
    rng = np.random.default_rng(0)
    rows = grams.counted([f"文章 {n} text {n * 7}" if n % 5 else "" for n in range(600)])
    dense = np.zeros((len(rows), grams.COLUMNS), np.float32)
    for number in range(len(rows)):
        part = slice(rows.starts[number], rows.starts[number + 1])
        dense[number, rows.columns[part]] = rows.values[part]
    matrix = rng.standard_normal((grams.COLUMNS, 5)).astype(np.float32)
    groups = rng.integers(-1, 3, len(rows))
    assert np.allclose(rows.times(matrix), dense @ matrix, atol=1e-3)
    sums = rows.summed(groups, 3)
    assert np.allclose(sums, np.stack([dense[groups == k].sum(0) for k in range(3)], 1), atol=1e-3)


def test_texts_of_one_topic_come_together_and_those_of_others_stay_apart(home: Path) -> None:
    texts = [question for questions in TOPICS.values() for question in questions * 4]
    labels = [topic for topic, questions in TOPICS.items() for _ in questions * 4]
    counted = grams.counted(texts)
    rows = grams.weighed(counted, grams.inverse(grams.frequencies(counted), len(texts)))
    near, cosines = grouping.nearest(rows, grouping.means(rows))
    assert (near >= 0).all() and (cosines > 0.1).all()
    for group in set(near.tolist()):
        assert len({label for label, own in zip(labels, near, strict=True) if own == group}) == 1


@pytest.mark.parametrize(
    ("reasons", "failures", "exchanges", "mend"),
    [
        ({"broken_schema": 9, "slow": 2}, 9, 50, "prompt"),
        ({"no_passage": 5, "abstained": 5, "thumbs_down": 3}, 10, 50, "document"),
        ({"corrected": 6, "abstained": 2}, 8, 50, "examples"),
        ({"slow": 30}, 30, 50, "nothing"),
        ({"low_confidence": 2}, 2, 1000, "nothing"),
        ({"corrected": 1}, 1, 1000, "examples"),
    ],
)
def test_what_mends_a_cluster_is_read_off_its_reasons(
    reasons: dict[str, int], failures: int, exchanges: int, mend: str
) -> None:
    assert mending.of(reasons, failures, exchanges) == mend


def test_what_is_told_of_clusters_is_json(home: Path) -> None:
    served(5)
    assert json.loads(json.dumps(clusters())) == clusters()
