"""Graders: hand-worked cases, brute-force oracles, and replies that try to break them."""

from __future__ import annotations

import itertools
import json
import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sodate.core.errors import SodateError, UsageError
from sodate.grade import Grade, parse_grader
from sodate.grade.fields import assignment, compare, leaves
from sodate.grade.normalise import fold, normalise, tokens
from sodate.grade.rules import longest_run
from sodate.grade.sentences import polite_ratio, sentences
from sodate.grade.similarity import METRICS
from sodate.grade.spec import KINDS

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 3) | st.sampled_from(["a", "b", ""]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["x", "y"]), inner, max_size=2),
    max_leaves=8,
)


@pytest.fixture(autouse=True)
def _english(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SODATE_LANG", "en")


def score(spec: str, reply: str, reference: str | None = None, base: Path = Path()) -> float:
    return parse_grader(spec, base)(reply, reference, {}).score


def reason(spec: str, reply: str, reference: str | None = None, base: Path = Path()) -> str:
    return parse_grader(spec, base)(reply, reference, {}).reason


# Text


def test_normalise_folds_width_space_and_what_nobody_sees() -> None:
    assert normalise("Ａ４") == "A4"
    assert normalise("山田　太郎") == normalise("山田 太郎") == "山田太郎"
    assert normalise("A4 用紙") == "A4用紙" and normalise("a  b") == "a b"
    assert normalise("ｶﾞｲﾄﾞ") == "ガイド"
    assert normalise("a \n\t b\u200b\u00adc") == "a bc"
    assert normalise("10²") != normalise("102") and normalise("2½") != normalise("21⁄2")  # a number stays itself
    assert normalise("m²") == "m2"
    assert normalise("03‐1234−5678 10〜20") == "03-1234-5678 10~20"
    # Variation selectors (of emoji and of ideographs), tag characters, Hangul fillers.
    assert normalise("\u2600\ufe0f葛\U000e0100飾a\U000e0041b\u3164c") == "\u2600葛飾abc"
    assert fold("ゼッタイ") == fold("ぜったい") and fold("ABC") == "abc"
    assert tokens("東京tower 3階！") == ["東", "京", "tower", "3", "階", "!"]


@given(st.text(max_size=30))
def test_normalising_twice_changes_nothing_more(text: str) -> None:
    assert normalise(normalise(text)) == normalise(text)


def test_exact_and_string_check_differ_only_at_the_edges() -> None:
    assert score("exact", " yes\n", "yes") == 1 and score("exact", "Yes", "yes") == 0
    assert score("string_check", "yes\n", "yes") == 0
    assert score("string_check:op=ne", "no", "yes") == score("string_check:op=neq", "no", "yes") == 1
    assert score("string_check:op=like", "oh yes", "yes") == 1 and score("string_check:op=like", "oh YES", "yes") == 0
    assert score("string_check:op=ilike", "oh YES", "yes") == 1
    assert score("string_check:op=like,reference=OK", "all OK") == 1  # needs no reference of the row's


@pytest.mark.parametrize(
    "reply",
    [
        *("絶対に直る", "ぜったいに", "ｾﾞｯﾀｲ", "絶\u200b対", "絶\ufe00対", "絶\U000e0100対", "絶\U000e0041対", "絶 対"),
        *("GUARANTEED", "ｇｕａｒａｎｔｅｅ"),
    ],
)
def test_banned_words_are_found_however_they_are_written(reply: str) -> None:
    assert score("banned_words:絶対,ぜったい,guarantee", reply) == 0


def test_banned_words_come_from_a_file_or_the_spec(tmp_path: Path) -> None:
    (tmp_path / "words.txt").write_text("\ufeff# 禁止語\n\n安全 です\n絶対\n", "utf-8")
    assert score("banned_words:words.txt", "安全です", base=tmp_path) == 0
    assert score("banned_words:words.txt", "禁止語", base=tmp_path) == 1
    assert reason("banned_words:安全,絶対", "絶対に安全") == "banned: 安全, 絶対"
    with pytest.raises(UsageError, match=r"missing\.txt"):
        parse_grader("banned_words:missing.txt", tmp_path)
    (tmp_path / "sjis.txt").write_bytes("安全".encode("cp932"))
    with pytest.raises(UsageError, match="UTF-8"):
        parse_grader("banned_words:sjis.txt", tmp_path)
    with pytest.raises(UsageError, match="names no word"):
        parse_grader("banned_words: ,\u200b")


# Similarity


def test_similarities_worked_by_hand() -> None:
    assert METRICS["char_f1"]("東京都", "東京") == pytest.approx(2 * 2 / 5)
    assert METRICS["rouge_1"]("今日は雨", "今日は晴れ") == pytest.approx(2 * 3 / 9)
    assert METRICS["rouge_2"]("今日は雨", "今日は晴れ") == pytest.approx(2 * 2 / 7)
    assert METRICS["rouge_l"]("a x b c", "A b y c") == pytest.approx(2 * 3 / 8)
    assert METRICS["gleu"]("a b", "a b c") == pytest.approx(3 / 6)  # 2 + 1 of 3 + 2 + 1
    # BLEU: 3/4, (2+1)/(3+1), (1+1)/(2+1), (0+1)/(1+1); same length, no penalty
    assert METRICS["bleu"]("a b c x", "a b c d") == pytest.approx((3 / 4 * 3 / 4 * 2 / 3 * 1 / 2) ** 0.25)
    assert METRICS["bleu"]("a b", "a b c d") == pytest.approx(math.exp(1 - 2) * 1.0)
    assert METRICS["fuzzy_match"]("abcd", "abce") == pytest.approx(0.75)


@given(st.text("abあい ", max_size=8), st.text("abあい ", max_size=8))
def test_every_similarity_stays_in_range_and_is_one_for_the_same_text(left: str, right: str) -> None:
    for name, metric in METRICS.items():
        assert -1e-9 <= metric(left, right) <= 1 + 1e-9
        assert name == "meteor" or metric(left, left) == pytest.approx(1.0)  # METEOR takes something off any match


# JSON


def test_json_is_the_whole_reply_and_extra_text_is_named() -> None:
    assert score("json", ' {"a": [1, 2.5, null]}\n') == 1
    assert "extra text" in reason("json", '```json\n{"a": 1}\n```')
    assert "extra text" in reason("json", 'Sure! {"a": 1}')
    lenient = parse_grader("json:lenient=true")('Here:\n```json\n{"a": 1}\n```', None, {})
    assert (lenient.score, lenient.parts) == (1.0, {"valid_json": 0.0})


@pytest.mark.parametrize(
    ("reply", "why"),
    [
        ("", "empty"),
        ("hello", "Expecting value"),
        ('{"a": NaN}', "NaN"),
        ('{"a": 1e400}', "out of range"),
        ('{"a": 1, "a": 2}', "twice"),
        ("[" * 70 + "]" * 70, "nested"),
        ("[" * 100_000, "nested"),
        ("9" * 5000, "digits"),
        ("{" * 3000, "Expecting"),
        (r'{"a": "\ud83d"}', "surrogate"),
        (r'{"\ude00": 1}', "surrogate"),
        ('{"a": 1', "Expecting"),
    ],
)
def test_what_is_not_json_is_zero_with_its_reason(reply: str, why: str) -> None:
    for spec in ("json", "json:lenient=true"):
        grade = parse_grader(spec)(reply, None, {})
        assert grade.score == 0 and why in grade.reason


def schema_file(folder: Path, schema: object) -> str:
    (folder / "s.json").write_text(json.dumps(schema), "utf-8")
    return "json_schema:s.json"


# Fields


def test_fields_worked_by_hand() -> None:
    reference = {"name": "山田 太郎", "items": [{"n": "A4 用紙", "q": 2}, {"n": "ペン", "q": 1}]}
    same = {"items": [{"q": 1.0, "n": "ﾍﾟﾝ"}, {"q": 2, "n": "Ａ４　用紙"}], "name": "山田太郎"}
    assert compare(reference, same) == {"precision": 1, "recall": 1, "f1": 1, "exact": 1}
    # In sequence only one of the two items can be kept: 1 + 2 of 5.
    assert compare(reference, same, order="same")["f1"] == pytest.approx(3 / 5)
    # The second item missing, a wrong name, one key too much: 2 right of 4 said and 5 wanted.
    other = {"name": "山本", "items": [{"n": "A4用紙", "q": 2}], "x": 1}
    got = compare(reference, other)
    assert (got["precision"], got["recall"], got["exact"]) == (2 / 4, 2 / 5, 0)
    assert got["f1"] == pytest.approx(2 * 2 / 9)


def test_what_counts_as_the_same_value() -> None:
    for left, right, numbers, same in (
        (1000, 1000.0, "strict", True),
        (1000, "1,000", "strict", False),
        (1000, "１，０００", "loose", True),
        (0.1, "0.10", "loose", True),
        ("1,000", "1000", "strict", False),
        (1, True, "loose", False),
        (None, "null", "loose", False),
        ([], {}, "strict", False),
        ([], [], "strict", True),
        ("A", "a", "strict", False),
        ("2026-11", "2026‐11", "strict", True),
    ):
        assert bool(compare({"v": left}, {"v": right}, "any", numbers)["exact"]) is same, (left, right)  # type: ignore[arg-type]
    assert compare({"a": None}, {})["exact"] == 0  # a null is not a missing key


def test_fields_says_what_is_wrong_and_where() -> None:
    reference = '{"a": 1, "items": [{"n": "x", "q": 1}, {"n": "y", "q": 2}]}'
    assert reason("fields", '{"items": [{"n": "y", "q": 3}, {"n": "x", "q": 1}], "b": 0}', reference) == (
        "a is missing; items[1].q: 3, not 2; b is too much"
    )
    assert reason("fields", reference, reference) == "all fields right"
    assert score("fields:mode=exact", reference, reference) == 1
    assert parse_grader("fields")("no", reference, {}).parts["exact"] == 0


def test_a_reference_that_is_no_json_is_an_error() -> None:
    with pytest.raises(SodateError, match="the reference is not valid JSON"):
        score("fields", "{}", "not json")
    with pytest.raises(SodateError, match="this row has none"):
        score("fields", "{}", None)


@given(JSON, JSON)
@settings(max_examples=150)
def test_fields_are_symmetric_bounded_and_perfect_on_themselves(left: Any, right: Any) -> None:
    forward, back = compare(left, right), compare(right, left)
    assert forward["f1"] == back["f1"] and forward["precision"] == back["recall"]
    assert 0 <= forward["f1"] <= 1
    assert compare(left, left)["exact"] == 1
    assert compare(left, right, order="same")["f1"] <= forward["f1"]
    assert leaves(left) >= 1


@given(st.integers(1, 4), st.integers(1, 4), st.data())
def test_the_assignment_is_the_best_of_all(rows: int, columns: int, data: st.DataObject) -> None:
    gain = [[data.draw(st.integers(0, 5)) for _ in range(columns)] for _ in range(rows)]
    chosen = assignment(gain)
    taken = [j for j in chosen if j is not None]
    assert len(set(taken)) == len(taken) == min(rows, columns)
    if rows <= columns:
        best = max(sum(gain[i][j] for i, j in enumerate(p)) for p in itertools.permutations(range(columns), rows))
    else:
        best = max(sum(gain[i][j] for j, i in enumerate(p)) for p in itertools.permutations(range(rows), columns))
    assert sum(gain[i][j] for i, j in enumerate(chosen) if j is not None) == best


def test_a_list_of_thousands_is_compared_in_reasonable_time() -> None:
    reference = json.dumps([{"n": i} for i in range(3)])
    assert score("fields", json.dumps([{"n": 0}] * 5000), reference) < 0.01
    assert score("fields", json.dumps(list(range(90))), json.dumps(list(range(90)))) == 1


# Rules


def test_polite_sentences_are_counted_without_headings_and_bullets() -> None:
    text = "お問い合わせありがとうございます。\n【手順】\n1. 電源を切る\n・ケーブルを確認\n2. 再起動してください。"
    assert sentences(text)[0] == "お問い合わせありがとうございます"
    assert "電源を切る" not in "".join(sentences(text))
    assert polite_ratio("直りますか？はい、直ります！「大丈夫です」。") == 1
    assert polite_ratio("これはペンだ。あれは本です。") == 0.5
    assert polite_ratio("ご連絡いただけますと幸いです。お待ちくださいませ。少々お時間を頂戴しますが、") is not None
    assert polite_ratio("いいですよね。ですよ" + "ねよ" * 5000 + "あ。") == 0.5  # no backtracking bomb of our own
    assert polite_ratio("- 一\n- 二") is None and polite_ratio("") is None


@pytest.mark.parametrize(("text", "ratio"), [
    # Asides and emoji behind the last word are looked past, but a sentence all in brackets is one.
    ("価格は1,000円です（税込）。", 1), ("価格は1,000円です（税込（10%））", 1), ("価格は1,000円だ（税込です）。", 0),
    ("（価格は税込です。）", 1), ("ありがとうございます😊", 1), ("どうぞ\u2600\ufe0f\nそうです🙇\u200d\u2642\ufe0f", 1),
    # Lines without a mark count only where they end as a sentence does.
    ("承知しました。\n株式会社サンプル\nサポート担当 山田", 1), ("【お知らせ】\n承知しました\n---\nまとめ", 1),
    ("承知しました。\nたぶん直る", 0.5), ("それは無理だ\nできない\nごめんね", 0), ("この度の件は\n承知しました", 1),
    ("了解", None), ("😊", None),
])  # fmt: skip
def test_what_is_a_sentence_and_how_it_ends(text: str, ratio: float | None) -> None:
    assert polite_ratio(text) == ratio


@given(st.lists(st.lists(st.integers(0, 6), max_size=3), max_size=4))
def test_the_longest_run_of_sections_is_the_best_of_all(starts: list[list[int]]) -> None:
    places = [[(s, s + 2) for s in spots] for spots in starts]
    best = 0
    for chosen in itertools.product(*[[None, *spots] for spots in places]):
        run = [spot for spot in chosen if spot is not None]
        if all(a[1] <= b[0] for a, b in itertools.pairwise(run)):
            best = max(best, len(run))
    assert longest_run(places) == best


# Specs


@pytest.mark.parametrize(
    ("spec", "why"),
    [
        ("exakt", "Known graders: exact, string_check"),
        ("", "Known graders"),
        ("exact:strict", "It takes: none"),
        ("fields:modus=exact", "It takes: mode, order, numbers, strings, lenient"),
        ("fields:mode=best", "Use one of: f1, exact"),
        ("fields:mode=f1,mode=f1", "twice"),
        ("text_similarity:metric=vibes", "fuzzy_match"),
        ("json_schema", "json_schema:PATH"),
        ("json_schema:nowhere.json", "missing"),
        ("rules:nowhere.yaml", "missing"),
    ],
)
def test_a_spec_that_is_not_understood_lists_what_is(tmp_path: Path, spec: str, why: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_grader(spec, tmp_path)
    assert why in str(caught.value)


def test_every_kind_is_described_where_a_reader_looks() -> None:
    from sodate.grade import spec

    assert all(f"\n    {kind}" in (spec.__doc__ or "") for kind in KINDS)


def test_a_score_outside_the_range_cannot_be_made() -> None:
    for bad in (-0.1, 1.1, float("nan")):
        with pytest.raises(ValueError, match="0, 1"):
            Grade(bad, "")


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=60))
def test_no_reply_breaks_a_grader(reply: str) -> None:
    for spec in ("exact", "label", "json:lenient=true", "fields:lenient=true", "text_similarity", "banned_words:安全"):
        assert 0 <= score(spec, reply, '{"a": 1}') <= 1
    polite_ratio(reply)
