"""Vectors rank as their cosines say, and reach an index only where measuring said so."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from sodate.api import encoders, index_tuning, retrieval
from sodate.core.errors import UsageError
from sodate.retrieve import catalogue, vectors
from sodate.retrieve.index import Candidate, fused

MEANINGS = {"return": 0, "send back": 0, "postage": 1, "shipping": 1, "open": 2, "hours": 2}
asked: list[str] = []


def encode(texts: Sequence[str]) -> NDArray[np.float32]:
    """A model that knows what some words mean, and little else."""
    asked.extend(texts)
    rows = []
    for text in texts:
        noise = np.random.default_rng(int.from_bytes(hashlib.md5(text.encode()).digest()[:4], "little"))
        row = 0.05 * noise.normal(size=70)
        for word, number in MEANINGS.items():
            row[number] += word in text.lower()
        rows.append(row / np.linalg.norm(row))
    return np.array(rows, np.float32)


@pytest.fixture
def meaning(monkeypatch: pytest.MonkeyPatch) -> None:
    asked.clear()
    monkeypatch.setattr(encoders, "_e5", lambda: encoders.Encoder("e5", encode, encode))
    encoders.encoder.cache_clear()


@pytest.fixture
def shop(home: Path, tmp_path: Path) -> Path:
    folder = tmp_path / "docs"
    folder.mkdir()
    (folder / "a.txt").write_text("You may return goods within 30 days.")
    (folder / "b.txt").write_text("Postage is free from 50 euros.")
    (folder / "c.txt").write_text("We open at nine.")
    retrieval.build_index([folder], "shop")
    return folder


@pytest.mark.parametrize("exact", [100_000, 100])
def test_the_nearest_are_those_of_the_largest_cosines(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, exact: int
) -> None:
    monkeypatch.setattr(vectors, "EXACT", exact)
    monkeypatch.setattr(vectors, "NEAR", 200)
    monkeypatch.setattr(vectors, "BLOCK", 300)
    draw = np.random.default_rng(1)
    rows = draw.normal(size=(1000, 70)).astype(np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    assert vectors.write(tmp_path, [rows[:600], rows[600:]]) == 70
    held = vectors.Vectors(tmp_path, 1000, 70)
    query = rows[7] + 0.1 * draw.normal(size=70).astype(np.float32)
    best = set(np.argsort(-(rows @ query))[:10].tolist())
    found = set(held.nearest(query, 10).tolist())
    assert 7 in found and len(found & best) >= (10 if exact > 1000 else 8)


def test_candidates_are_ranked_by_the_weighed_mean_of_both_scores() -> None:
    pool = [Candidate(0, 9.0, 0.9, 0.1), Candidate(1, 3.0, 0.3, 0.8), Candidate(2, 0.0, 0.0, -0.2)]
    assert [one.number for one in fused(pool, 1, 0.5)] == [0, 1, 2]
    best, *_ = fused(pool, 1, 1)
    assert best.number == 1 and best.share == pytest.approx(0.55)
    assert [one.number for one in fused(pool, 0, 1)] == [1, 0, 2]


def questions(folder: Path, *rows: tuple[str, str, list[str]]) -> Path:
    file = folder.parent / "questions.jsonl"
    lines = [json.dumps({"question": q, "file": f, "paraphrases": p}) + "\n" for q, f, p in rows]
    file.write_text("".join(lines))
    return file


def test_vectors_are_kept_where_they_find_more_and_then_used(shop: Path, meaning: None) -> None:
    file = questions(shop, ("May I send back goods?", "a.txt", ["how do I send back things"]),
                     ("What is shipping?", "b.txt", ["shipping"]), ("Your hours?", "c.txt", ["hours"]),
                     ("shipping cost", "b.txt", []))  # fmt: skip
    found = index_tuning.tune_index("shop", file, "e5")
    assert found["index"] == "shop@2" and found["recall@1"] == 1.0 and found["before"]["recall@1"] < 1
    assert "e5" in found["kept"] and found["paraphrased"]["recall@1"] == 1.0 and found["threshold"] is None
    assert {one["name"] for one in found["compared"]} >= {"e5", found["kept"]}
    assert retrieval.search_index("shop", "shipping", 1)[0]["file"] == "b.txt"
    catalogue.verify(catalogue.find("shop"))
    (shop / "d.txt").write_text("Nothing of the kind.")
    asked.clear()
    retrieval.build_index([shop], "shop")  # the next build keeps the way, and encodes what is new alone
    assert asked == ["Nothing of the kind."] and retrieval.search_index("shop", "shipping", 1)[0]["file"] == "b.txt"
    again = index_tuning.tune_index("shop", file)
    assert again["index"] == "shop@3" and again["kept"] == found["kept"]


def test_where_words_find_as_much_no_vector_is_kept(shop: Path, meaning: None) -> None:
    file = questions(shop, ("return goods", "a.txt", []), ("Postage", "b.txt", []), ("open at", "c.txt", []))
    found = index_tuning.tune_index("shop", file, "e5")
    assert found["index"] == "shop@1" and "e5" not in found["kept"] and found["recall@1"] == 1.0
    assert not (catalogue.find("shop").path / "vectors.f32").exists()


def test_an_encoder_that_is_none_is_refused(shop: Path) -> None:
    with pytest.raises(UsageError) as refused:
        encoders.encoder("word2vec")
    assert refused.value.param == "encoder"
