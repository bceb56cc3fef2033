"""An index finds what was put in: scores by a slow second computation, builds that change only what changed."""

from __future__ import annotations

import json
import math
import random
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sodate.api import retrieval
from sodate.core.errors import SodateError, UsageError
from sodate.retrieve import build as building
from sodate.retrieve import catalogue, postings, segments, store
from sodate.retrieve.build import build
from sodate.retrieve.passages import Passage
from sodate.retrieve.terms import terms
from sodate.retrieve.tuning import Question, by_words, goodness, ranks, recall, threshold

words = st.lists(st.lists(st.sampled_from("abcdefg"), max_size=12), min_size=1, max_size=9)


@given(texts=words, query=st.lists(st.sampled_from("abcdefgz"), max_size=6))
def test_scores_are_those_of_the_formula(texts: list[list[str]], query: list[str], tmp_path_factory: object) -> None:
    folder = tmp_path_factory.mktemp("index")  # type: ignore[attr-defined]
    k1, b = 1.2, 0.5
    count = postings.write(folder, map(Counter, texts), k1=k1, b=b)
    parts = [postings.Postings(folder, count, k1)]
    found = dict.fromkeys(range(count), 0.0)
    found |= {hit.number: hit.score for hit in postings.search(parts, query, count)[0]}
    mean = sum(map(len, texts)) / len(texts) or 1e-9
    for number, text in enumerate(texts):
        exact = 0.0
        for term in set(query):
            n = sum(term in other for other in texts)
            if n:
                tf, norm = Counter(text)[term], 1 - b + b * len(text) / mean
                exact += math.log(1 + (count - n + 0.5) / (n + 0.5)) * tf * (k1 + 1) / (tf + k1 * norm)
        assert found[number] == pytest.approx(exact, abs=0.02 * max(exact, 0.1))  # weights have 255 levels


def test_more_passages_than_fit_into_a_batch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    texts = [Counter((f"t{n % 7}", f"u{n}")) for n in range(50)]
    (tmp_path / "one").mkdir()
    (tmp_path / "many").mkdir()
    postings.write(tmp_path / "one", texts, k1=0.9, b=0.6)
    monkeypatch.setattr(postings, "BATCH", 8)
    assert postings.write(tmp_path / "many", iter(texts), k1=0.9, b=0.6) == 50
    for name in postings.FILES:
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "many" / name).read_bytes()


def ranked(texts: list[list[str]], query: list[str], k: int, folder: Path, split: int = 1) -> list[tuple[int, float]]:
    """(number, score) of the k best of texts that lie in so many parts, each of the texts in order."""
    size, parts = -(-len(texts) // split), []
    for at in range(0, len(texts), size):
        own = folder / str(at)
        own.mkdir()
        parts.append(
            postings.Postings(own, postings.write(own, map(Counter, texts[at : at + size]), k1=0.9, b=0.0), 0.9)
        )
    return [(hit.part * size + hit.number, hit.score) for hit in postings.search(parts, query, k)[0]]


def test_the_best_are_in_order_and_nothing_is_found_where_nothing_fits(tmp_path: Path) -> None:
    texts = [["z"], ["a", "c"], ["a", "b"], ["a", "c"], ["c", "z"]]
    (tmp_path / "x").mkdir()
    assert [number for number, _ in ranked(texts, ["a", "b"], 3, tmp_path)] == [2, 1, 3]
    assert ranked(texts, ["q"], 3, tmp_path / "x") == []


@pytest.mark.parametrize("split", [1, 3])
def test_what_cannot_change_the_best_is_not_read_and_the_best_are_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, split: int
) -> None:
    draw = random.Random(3)
    texts = [[f"t{min(int(draw.expovariate(0.3)), 30)}" for _ in range(20)] for _ in range(300)]
    query = ["t0", "t1", "t2", "t9", "t25"]
    for name in ("all", "few"):
        (tmp_path / name).mkdir()
    everything = ranked(texts, query, 300, tmp_path / "all", split)
    monkeypatch.setattr(postings, "LONG", 1)
    monkeypatch.setattr(postings, "SHARE", 1000)
    looked_up: list[int] = []
    real = postings.Postings._added
    monkeypatch.setattr(
        postings.Postings, "_added", lambda self, spans, near: looked_up.append(len(near)) or real(self, spans, near)
    )
    few = ranked(texts, query, 4, tmp_path / "few", split)
    assert few == [(number, pytest.approx(score, rel=1e-5)) for number, score in everything[:4]]
    assert looked_up and max(looked_up) < 100


@pytest.mark.parametrize("dear", [0, 10**9])  # looking up costs nothing, so that it is done; or too much
def test_the_best_of_those_with_a_phrase_are_the_same_read_and_looked_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dear: int
) -> None:
    draw = random.Random(4)
    texts = [[f"t{min(int(draw.expovariate(0.3)), 30)}" for _ in range(20)] for _ in range(400)]
    query, phrase, k = ["t0", "t1", "t2", "t9", "t25"], ["t1", "t4"], 3
    every = dict(ranked(texts, query, 400, tmp_path))
    holding = [number for number in every if set(phrase) <= set(texts[number])]
    wanted = {*list(every)[:k], *holding[: k + postings.SPARE]}  # both are in the order of their scores
    monkeypatch.setattr(postings, "LONG", 1)
    monkeypatch.setattr(postings, "SHARE", 1000)
    monkeypatch.setattr(postings, "LOOKED_UP", dear)
    looked_up: list[int] = []
    real = postings.Postings._added
    monkeypatch.setattr(
        postings.Postings, "_added", lambda self, spans, near: looked_up.append(len(near)) or real(self, spans, near)
    )
    hits, _ = postings.search([postings.Postings(tmp_path / "0", 400, 0.9)], query, k, together=[phrase])
    assert {hit.number: hit.score for hit in hits} == {
        number: pytest.approx(every[number], rel=1e-5) for number in wanted
    }
    assert len(holding) > 100 and bool(looked_up) == (dear == 0)
    assert not looked_up or min(looked_up) < len(holding) // 2  # who is out of reach is not looked up again


@pytest.mark.parametrize(
    ("asked", "written"),
    [("ＡＢＣ１２", "abc12"), ("ｶﾞｿﾘﾝ", "ガソリン"), ("Straße", "STRASSE"), ("髙", "髙"), ("x", "x"), ("あ", "あ")],
)
def test_width_and_case_make_no_other_terms(asked: str, written: str) -> None:
    assert set(terms(asked)) & set(terms(written))


def test_words_kanji_and_pairs_are_terms_and_pairs_of_hiragana_are_not() -> None:
    found = terms("返品は30日です")
    assert {"返品", "返", "品", "品は", "30", "0日", "日", "日で"} <= set(found) and "です" not in found
    assert not terms("  …。 ")


def write(folder: Path, **files: str) -> Path:
    folder.mkdir(exist_ok=True)
    for name, text in files.items():
        (folder / name.replace("_", ".")).write_text(text)
    return folder


def docs(tmp_path: Path) -> Path:
    return write(
        tmp_path / "docs",
        returns_md="# 返品\n\n商品は30日以内に返品できます。\n",
        post_md="# 送料\n\n送料は無料です。\n",
        hours_txt="営業時間は9時から17時までです。",
    )


def test_documents_are_found_with_file_place_and_headings(home: Path, tmp_path: Path) -> None:
    built = build([docs(tmp_path)], "faq")
    assert built.index.id == "faq@1" and not built.set_aside
    (best, *_) = catalogue.find("faq").search("返品は何日以内ですか", 3)
    assert (best.passage.file, best.passage.place, best.passage.titles) == ("returns.md", "line 3", ("返品",))
    assert catalogue.find("faq@1").search("zebra") == [] and catalogue.find("faq").search("") == []
    for odd in ("a", "返", '"' * 50, "AND OR NOT NEAR/2 *", "x" * 10_000, "() : ^ -"):
        catalogue.find("faq").search(odd)


def test_a_quoted_phrase_comes_first(home: Path, tmp_path: Path) -> None:
    folder = write(
        tmp_path / "docs",
        a_txt="送料 送料 送料 無料 無料 無料 送料 無料",
        b_txt="全国どこでも送料は無料です。" + "ほかの文。" * 30,
    )
    build([folder], "faq")
    index = catalogue.find("faq")
    assert index.search("送料 無料", 1)[0].passage.file == "a.txt"
    assert index.search("「送料は無料」", 1)[0].passage.file == "b.txt"


def test_a_quoted_phrase_is_found_however_far_behind_it_stands_and_is_no_sum_of_its_pairs(
    home: Path, tmp_path: Path
) -> None:
    many = {f"m{n}_txt": f"送料の話です。{n}番の料金は無料。" + "送料 無料 " * 20 for n in range(300)}
    pieces = "料は無の字。送料は別。は無料の品。"  # every pair of 送料は無料, and not the phrase
    folder = write(
        tmp_path / "docs", **many, x_txt=pieces, y_txt="ほかの文。" * 40 + "送料は無料です。", z_txt="ありがとう"
    )
    build([folder], "faq")
    index = catalogue.find("faq")
    first, *others = index.search("「送料は無料」", 3)
    assert first.passage.file == "y.txt" and len(others) == 2
    assert index.search("『ありがとう』", 1)[0].passage.file == "z.txt"  # grammar alone: no pairs to look it up by


def test_of_many_passages_with_a_quoted_phrase_no_more_are_read_than_are_wanted(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    build([write(tmp_path / "docs", **{f"m{n}_txt": f"{n}番でも送料は無料です。" for n in range(60)})], "faq")
    read: list[int] = []
    real = store.Passages.__getitem__
    monkeypatch.setattr(store.Passages, "__getitem__", lambda self, number: read.append(number) or real(self, number))
    assert len(catalogue.find("faq").search("「送料は無料」", 3)) == 3
    assert len(set(read)) == 3


def test_a_quoted_phrase_comes_first_over_segments_too_among_the_documents_that_are_searched(tmp_path: Path) -> None:
    parts = []
    for n, texts in enumerate((["送料 送料 無料 " * 9], ["ほか。" * 20 + "送料は無料です。", "送料"])):
        (tmp_path / str(n)).mkdir()
        held = [(10 * n + at, [Passage(f"{n}{at}", "line 1", (), text)]) for at, text in enumerate(texts)]
        segments.write(tmp_path / str(n), held)
        parts.append(segments.Segment(tmp_path / str(n)))

    def found(query: str, among: set[int]) -> list[int]:
        return [number for number, _ in segments.search(parts, query, 2, among)]

    assert found("送料 無料", {0, 10, 11})[0] == 0 and found("「送料は無料」", {0, 10, 11})[0] == 10
    assert found("「送料は無料」", {0, 11}) == [0, 11]


def test_only_what_changed_is_read_again(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = write(docs(tmp_path), rows_jsonl='{"text": "支店は3つあります。"}\n{broken\n')
    assert len(build([folder], "faq").set_aside) == 1
    (folder / "post.md").write_text("# 送料\n\n送料は500円です。\n")
    (folder / "hours.txt").unlink()
    (folder / "new.txt").write_text("駐車場は裏にあります。")
    read: list[str] = []
    real = building.read_apart
    monkeypatch.setattr(building, "read_apart", lambda path, note: read.append(path.name) or real(path, note))
    built = build([folder], "faq")
    assert built.index.id == "faq@2" and built.reused == 2 and sorted(read) == ["new.txt", "post.md"]
    assert [one["file"] for one in built.set_aside] == ["rows.jsonl"]  # what was left out of a file is told again
    old, new = catalogue.find("faq@1"), catalogue.find("faq")
    assert catalogue.difference(old, new) == {"added": ["new.txt"], "removed": ["hours.txt"], "changed": ["post.md"]}
    assert new.search("返品", 1)[0].passage.file == "returns.md"
    assert "500" in new.search("送料", 1)[0].passage.text and "無料" in old.search("送料", 1)[0].passage.text


def test_an_index_json_that_was_changed_or_removed_is_named_and_does_not_keep_anyone_from_building_again(
    home: Path, tmp_path: Path
) -> None:
    folder = docs(tmp_path)
    about = build([folder], "faq").index.path / "index.json"
    own = about.read_text()
    changed = json.loads(own)
    for text in (own[:20], "{}", "[]", own.replace('"weights"', '"weight"'), json.dumps({**changed, "passages": 90}),
                 json.dumps({**changed, "files": {}}), json.dumps({**changed, "set_aside": None}),
                 json.dumps({**changed, "personal": 1}), json.dumps({**changed, "sources": ["a.md"]}),
                 json.dumps({**changed, "weights": {"k1": "x", "b": 0.6, "titles": 2}})):  # fmt: skip
        about.write_text(text)
        with pytest.raises(SodateError) as raised:
            retrieval.search_index("faq", "返品")
        assert raised.value.code == "damaged" and "Build it again" in str(raised.value)
    about.write_text(own[:20])
    assert build([folder], "faq").index.id == "faq@2"
    assert [(one["index"], one["chunks"] is None) for one in retrieval.indexes()] == [("faq@1", True), ("faq@2", False)]
    about.unlink()
    (home / "indexes" / "faq" / "2" / "index.json").unlink()
    again = build([folder], "faq")
    assert (again.index.id, again.reused) == ("faq@3", 0) and again.index.search("返品", 1)


def test_the_same_passage_is_there_once_also_when_one_of_its_files_goes(home: Path, tmp_path: Path) -> None:
    text = "商品は到着から30日以内であれば、箱と説明書をそろえて返品できます。送料はお客様の負担です。"
    folder = write(tmp_path / "docs", a_txt=text, b_txt=text + " ", c_txt="別の文です。")
    built = build([folder], "faq")
    assert built.duplicates == 1 and built.index.manifest["passages"] == 2
    (folder / "a.txt").unlink()
    assert {one.file for one in build([folder], "faq").index.passages} == {"b.txt", "c.txt"}


def test_personal_data_is_counted_and_what_cannot_be_read_is_set_aside(home: Path, tmp_path: Path) -> None:
    folder = write(tmp_path / "docs", a_txt="連絡先は taro.yamada@example.com です。", b_md="\n")
    built = build([folder], "faq")
    assert built.personal["email"] == 1
    assert [(one["file"], one["code"]) for one in built.set_aside] == [("b.md", "empty_document")]


def test_without_a_passage_there_is_no_index(home: Path, tmp_path: Path) -> None:
    folder = write(tmp_path / "docs", b_md="\n")
    with pytest.raises(SodateError) as refused:
        build([folder], "faq")
    assert refused.value.code == "no_passages" and "b.md" in str(refused.value)
    assert not catalogue.list_indexes() and not list((home / "indexes").rglob("*.tmp"))
    with pytest.raises(UsageError):
        build([tmp_path / "none"], "faq")
    with pytest.raises(UsageError):
        build([folder], "../faq")


def test_a_changed_file_of_an_index_is_noticed(home: Path, tmp_path: Path) -> None:
    index = build([docs(tmp_path)], "faq").index
    catalogue.verify(index)
    (index.path / "weights.u8").write_bytes(b"\1" * (index.path / "weights.u8").stat().st_size)
    with pytest.raises(SodateError) as refused:
        catalogue.verify(index)
    assert refused.value.code == "damaged"
    with pytest.raises(SodateError) as missing:
        catalogue.find("faq@7")
    assert missing.value.code == "index_missing" and "faq@1" in str(missing.value)


def test_what_has_not_changed_makes_no_other_index_unless_a_file_of_it_was_damaged(home: Path, tmp_path: Path) -> None:
    folder = write(docs(tmp_path), empty_md="\n", picture_png="x", _hidden="x")
    first = build([folder], "faq")
    assert not first.unchanged and [one["code"] for one in first.set_aside] == ["unknown_document", "empty_document"]
    again = build([folder], "faq")
    assert again.unchanged and again.index.id == "faq@1" and again.reused == 3 and again.set_aside == first.set_aside
    assert len(catalogue.list_indexes()) == 1
    (folder / "empty.md").write_text("もう空ではありません。")
    second = build([folder], "faq")
    assert second.index.id == "faq@2" and second.reused == 3 and not second.unchanged
    (second.index.path / "passages.z").write_bytes(b"\0" * 40)
    third = build([folder], "faq")
    assert third.index.id == "faq@3" and third.reused == 0
    catalogue.verify(third.index)
    assert third.index.search("返品", 1)[0].passage.file == "returns.md"


def test_links_out_of_a_folder_are_not_followed(home: Path, tmp_path: Path) -> None:
    folder = docs(tmp_path)
    (tmp_path / "secret.txt").write_text("秘密です。")
    (folder / "link.txt").symlink_to(tmp_path / "secret.txt")
    assert "link.txt" not in {source["file"] for source in build([folder], "faq").index.manifest["sources"]}


def test_recall_counts_the_rank_of_the_passage_that_answers(home: Path, tmp_path: Path) -> None:
    index = build([docs(tmp_path)], "faq").index
    asked = [
        Question("返品は何日以内", "returns.md", None, 1), Question("送料", None, "送料は無料です。", 2),
        Question("営業時間", "elsewhere/hours.txt", None, 3), Question("返品", "post.md", None, 4),
    ]  # fmt: skip
    found = recall(ranks(index, by_words(index), asked))
    assert (found.first, found.five, found.mrr) == (0.75, 0.75, 0.75) and found.questions == 4


def test_reweighted_indexes_hold_the_same_passages(home: Path, tmp_path: Path) -> None:
    index = build([docs(tmp_path)], "faq").index
    again = building.kept_as(index, building.Weights(1.2, 0.75, 1), {})
    assert again.id == "faq@2" and list(again.passages) == list(index.passages)
    assert again.manifest["weights"] == {"k1": 1.2, "b": 0.75, "titles": 1}
    catalogue.verify(again)
    assert json.loads((again.path / "index.json").read_text())["sources"] == index.manifest["sources"]


def test_paraphrases_count_as_much_as_questions_however_many_there_are() -> None:
    asked = [Question("q", "f", None, 1, paraphrased=number > 0) for number in range(4)]
    assert goodness([1, 0, 0, 2], asked) == ((1 + 1 / 3) / 2, (1 + 1 / 6) / 2)


def test_a_threshold_keeps_nearly_all_questions_that_have_an_answer() -> None:
    learnt = [(0.5 + n / 1000, 0.4) for n in range(100)]
    found = threshold(learnt, [(0.6, 0.1), (0.4, 0.3), (0.9, 0.7), (0.7, 0.2)])
    assert found.sure == pytest.approx(0.505) and found.kept == 0.75 and found.refused == 0.75
