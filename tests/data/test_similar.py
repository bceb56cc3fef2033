"""Near duplicates against a brute-force search over all pairs, and leaks."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sodate.core.errors import UsageError
from sodate.data import similar
from sodate.data.similar import NearIndex, comparable, jaccard, shingles

LETTERS = {"en": "etaoin shrdlu", "ja": "のにはをたがでてとしれさいう日本語文章例"}


def near_pairs(texts: list[str], threshold: float = 0.8, at_once: int = 64) -> list[tuple[int, int]]:
    """(number of a text, number of the first kept text it nearly repeats), in order."""
    index, pairs = NearIndex(threshold), []
    for start in range(0, len(texts), at_once):
        keys = range(start, min(start + at_once, len(texts)))
        found = index.query_add(keys, texts[start : start + at_once])
        pairs += [(key, first) for key, first in zip(keys, found, strict=True) if first is not None]
    return pairs


def made_rows(language: str, seed: int, count: int) -> list[str]:
    """Random rows, a third of them earlier rows with letters changed, so that similarities lie around 0.8."""
    rng = random.Random(seed)
    rows: list[str] = []
    for _ in range(count):
        if rows and rng.random() < 0.35:
            letters = list(rng.choice(rows))
            for _ in range(rng.randint(0, max(1, len(letters) // 25))):
                letters[rng.randrange(len(letters))] = rng.choice(LETTERS[language])
            rows.append("".join(letters))
        else:
            rows.append("".join(rng.choices(LETTERS[language], k=rng.choice([3, 6, 20, 60, 150]))))
    return rows


def brute_force(rows: list[str], threshold: float) -> list[tuple[int, int]]:
    """Every row against every kept row; the sets and the quotient are computed here, not by the module."""
    kept: list[tuple[int, set[str]]] = []
    pairs = []
    for i, row in enumerate(rows):
        text = " ".join(row.split())
        mine = {text[j : j + 5] for j in range(max(1, len(text) - 4))}
        first = next((k for k, other in kept if len(mine & other) >= threshold * len(mine | other)), None)
        if first is None:
            kept.append((i, mine))
        else:
            pairs.append((i, first))
    return pairs


@pytest.mark.parametrize("language", ["en", "ja"])
@pytest.mark.parametrize("threshold", [0.6, 0.8, 0.95])
def test_the_same_pairs_are_found_as_by_comparing_all(language: str, threshold: float) -> None:
    rows = made_rows(language, 7, 700)
    expected = brute_force(rows, threshold)
    assert len(expected) > 60
    assert near_pairs(rows, threshold) == expected


def test_one_by_one_and_in_batches_give_the_same_also_across_the_sorted_arrays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(similar, "_BUFFER", 16)  # so that 700 rows fill several arrays and merge them
    rows = made_rows("ja", 3, 700)
    index = NearIndex()
    pairs = []
    for i, row in enumerate(rows):
        first = index.query(row)
        if first is None:
            index.add(i, row)
        else:
            pairs.append((i, first))
    index.close()
    assert pairs == near_pairs(rows) == brute_force(rows, 0.8)


@settings(max_examples=60, deadline=None)
@given(st.text(max_size=60), st.text(max_size=60))
def test_what_is_reported_is_similar_and_equal_texts_always_are(a: str, b: str) -> None:
    index = NearIndex()
    index.add(4, a)
    assert index.query(a) == 4
    similarity = jaccard(shingles(comparable(a)), shingles(comparable(b)))
    assert index.query(b) in ((4, None) if similarity >= 0.8 else (None,))
    index.close()


def test_similarity_of_a_pair_worked_by_hand() -> None:
    # abcdefgh has abcde bcdef cdefg defgh; abcdefgx shares the first three of five in all.
    assert jaccard(shingles("abcdefgh"), shingles("abcdefgx")) == 3 / 5
    assert shingles("日本") == {"日本"}
    assert shingles("") == {""}


def test_a_pair_exactly_at_the_threshold_counts() -> None:
    # 13 letters, 9 shingles; the same with one more letter at the end: 9 of 10. With two more: 9 of 11.
    index = NearIndex(0.9)
    index.add(0, "abcdefghijklm")
    assert index.query("abcdefghijklmn") == 0
    assert index.query("abcdefghijklmno") is None
    index.close()


def test_width_case_spaces_and_invisible_characters_make_no_difference() -> None:
    assert comparable(" ＡＢＣ\u3000ｶﾞ\u200b\n x\ufeff") == "abc ガ x"
    index = NearIndex()
    index.add(1, "Ｈｅｌｌｏ　Ｗｏｒｌｄ、ｶﾀｶﾅ")
    assert index.query("hello  world、カタ\u200bカナ\n") == 1
    index.close()


@given(st.text(max_size=40))
def test_normalising_twice_changes_nothing(text: str) -> None:
    assert comparable(comparable(text)) == comparable(text)


def test_the_first_added_wins() -> None:
    index = NearIndex()
    for key in (30, 10, 20):
        index.add(key, "同じ文章が三回あります。これは一つ目と同じです。")
    assert index.query("同じ文章が三回あります。これは一つ目と同じです") == 30
    assert len(index) == 3
    index.close()


def test_rows_from_one_template_stay_cheap_and_their_repeats_are_found() -> None:
    rng = random.Random(0)
    template = "以下の問い合わせに、当社の窓口として丁寧な敬語で、三文以内で返信を書いてください。問い合わせ:"
    rows = [template + "".join(rng.choices(LETTERS["ja"], k=80)) for _ in range(600)]
    repeats = [row[:-2] + "日本" for row in rows[100:160]]
    assert near_pairs(rows + repeats) == [(600 + i, 100 + i) for i in range(60)]


def test_a_book_fits() -> None:
    book = "".join(random.Random(1).choices(LETTERS["en"], k=1_200_000))
    assert list(near_pairs([book, "short", book[:-1000] + "x" * 1000])) == [(2, 0)]


def test_lone_surrogates_and_nul_are_text_like_any_other() -> None:
    assert list(near_pairs(["a\ud800b", "a\ud800b", "ab", "ab\0\0\0"])) == [(1, 0)]


def test_a_threshold_out_of_range_is_refused() -> None:
    with pytest.raises(UsageError, match=r"0\.3"):
        NearIndex(0.3)


def test_an_index_leaves_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    index = NearIndex()
    index.add(0, "何か")
    assert list(tmp_path.iterdir()) == []
    index.close()
