"""The evaluation as a whole: pairing, verdicts, errors, the contract and the page."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import re
from pathlib import Path

import pytest
from rich.cells import cell_len
from rich.console import Console

import sodate
from sodate.api.answers import room_for
from sodate.core.errors import SodateError, UsageError
from sodate.core.intervals import wilson
from sodate.core.types import Message, Source
from sodate.evaluate import stats
from sodate.evaluate.grading import check_references
from sodate.evaluate.handout import limits, table, write_handout
from sodate.evaluate.items import EvalItem
from sodate.evaluate.report import flips, pick_examples, write_report
from sodate.evaluate.run import EvalResult, evaluate, with_shots
from sodate.evaluate.slices import slices
from sodate.grade import Grade, Grader, parse_grader
from sodate.terminal.comparison import print_result
from tests import tiny


@pytest.fixture(autouse=True)
def _english(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SODATE_LANG", "en")


def items(n: int, reference: str = "yes") -> list[EvalItem]:
    return [EvalItem((Message("user", f"q{i}"),), reference, Source("test.jsonl", i + 1)) for i in range(n)]


def answers(right: set[int], n: int) -> list[str]:
    return ["yes" if i in right else "no" for i in range(n)]


def made(n: int = 40) -> EvalResult:
    replies = {"base": answers(set(range(10)), n), "tuned": answers(set(range(2, 30)), n)}
    return evaluate(replies, items(n), [parse_grader("exact")])


def test_the_json_document_is_the_contract() -> None:
    document = json.loads(json.dumps(made().to_json()))
    assert document["n"] == 40
    assert [row["model"] for row in document["results"]] == ["base", "tuned"]
    assert set(document["results"][0]) == {"model", "grader", "mean", "ci", "failures", "form"}
    assert document["results"][0]["failures"] == 30
    assert document["results"][0]["mean"] == 0.25
    assert document["results"][0]["ci"] == pytest.approx(wilson(10, 40))
    (row,) = document["comparisons"]
    assert set(row) >= {"candidate", "baseline", "grader", "diff", "ci", "p", "verdict", "fixed", "broken"}
    assert (row["candidate"], row["baseline"], row["grader"]) == ("tuned", "base", "exact")
    assert (row["fixed"], row["broken"]) == (20, 2)  # 10…29 fixed, 0 and 1 broken
    assert row["diff"] == pytest.approx(0.45)
    assert row["p"] == pytest.approx(stats.mcnemar_exact(20, 2))
    assert row["verdict"] == "better"


def test_the_same_replies_give_the_same_document_and_swapping_models_mirrors_it() -> None:
    assert made().to_json() == made().to_json()
    replies = {"base": answers(set(range(10)), 40), "tuned": answers(set(range(2, 30)), 40)}
    (forward,) = made().comparisons
    (back,) = evaluate(replies, items(40), [parse_grader("exact")], baselines="tuned").comparisons
    assert (back.candidate, back.verdict, back.fixed, back.broken) == ("base", "worse", 2, 20)
    assert back.diff == -forward.diff and back.p == forward.p and forward.ci and back.ci
    assert back.ci == pytest.approx((-forward.ci[1], -forward.ci[0]))


def test_every_model_is_compared_with_the_baseline_and_holm_runs_over_its_graders() -> None:
    replies = {"base": answers(set(), 12), "a": answers({0, 1, 2, 3, 4, 5}, 12), "b": answers({0}, 12)}
    result = evaluate(replies, items(12), [parse_grader("exact"), parse_grader("label")])
    assert [(row.candidate, row.grader) for row in result.comparisons] == [
        ("a", "exact"),
        ("a", "label"),
        ("b", "exact"),
        ("b", "label"),
    ]
    # Six flips one way: 2/64 raw, twice that with two graders, so it no longer passes.
    assert result.comparisons[0].p_raw == pytest.approx(2 / 64)
    assert result.comparisons[0].p == pytest.approx(4 / 64)
    assert result.comparisons[0].verdict == "inconclusive"
    assert result.score("a", "label").extra["macro_f1"] == pytest.approx(2 * 6 / (12 + 6))


def test_with_two_baselines_every_pair_is_compared_once_and_holm_stays_within_a_pair() -> None:
    replies = {"base": answers(set(), 12), "shots": answers({0}, 12), "a": answers({0, 1, 2, 3, 4, 5, 6}, 12)}
    graders = [parse_grader("exact"), parse_grader("label")]
    result = evaluate(replies, items(12), graders, ["base", "shots"])
    assert list(result.pairs()) == [("a", "base"), ("a", "shots"), ("shots", "base")]
    assert [(row["baseline"], row["fixed"]) for row in result.to_json()["comparisons"][::2]] == [
        ("base", 7),
        ("shots", 6),
        ("base", 1),
    ]
    # Two graders in the family: 7 flips one way are 2/128 raw, 6 are 2/64.
    assert [one.p for one in result.comparisons[::2]] == pytest.approx([4 / 128, 4 / 64, 1.0])
    assert evaluate(replies, items(12), graders, "base").pairs()["a", "base"] == result.pairs()["a", "base"]
    # The examples are chosen from the first pair: 0…6 fixed, 7…11 still wrong.
    assert pick_examples(result, 3) == [0, 7, 1]


def test_identical_replies_are_equivalent_only_when_there_are_enough_of_them() -> None:
    few = evaluate({"a": answers({1}, 20), "b": answers({1}, 20)}, items(20), [parse_grader("exact")])
    many = evaluate({"a": answers({1}, 80), "b": answers({1}, 80)}, items(80), [parse_grader("exact")])
    assert [few.comparisons[0].verdict, many.comparisons[0].verdict] == ["inconclusive", "equivalent"]


def test_one_item_gives_no_interval_and_no_verdict() -> None:
    result = evaluate({"a": ["no"], "b": ["yes"]}, items(1), [parse_grader("exact")])
    assert result.to_json()["results"][0]["ci"] is None
    assert result.comparisons[0].ci is None and result.comparisons[0].verdict == "inconclusive"


def test_items_of_one_cluster_count_once(tmp_path: Path) -> None:
    rows = [EvalItem((Message("user", "q"),), "yes", cluster=f"mail {i // 20}") for i in range(40)]
    replies = {"a": answers(set(), 40), "b": answers(set(range(40)), 40)}
    (row,) = evaluate(replies, rows, [parse_grader("exact")]).comparisons
    assert row.p == 0.5 and row.verdict == "inconclusive"  # two mails, however many items
    out = io.StringIO()
    result = evaluate(replies, rows, [parse_grader("exact")])
    print_result(result, Console(file=out, width=120))
    assert result.to_json()["independent"] == result.independent == 2
    page = write_report(result, tmp_path / "report.html", title="t").read_text("utf-8")
    assert "40 held-out items, in 2 independent groups. 2 independent items are too few" in page
    assert "2 independent items are too few to show any difference" in out.getvalue()


def test_a_grader_that_fails_names_file_line_model_and_itself() -> None:
    def explode(reply: str, reference: str | None, item: object) -> Grade:
        raise ZeroDivisionError("division by zero")

    with pytest.raises(SodateError, match=r"test\.jsonl:1: grader bomb failed on the reply of base: ZeroDivisionError"):
        evaluate({"base": ["x"]}, items(1), [Grader("bomb", explode)])
    with pytest.raises(SodateError, match=r"test\.jsonl:1.*fields.*the reference is not valid JSON"):
        evaluate({"base": ["{}"]}, items(1), [parse_grader("fields")])
    with pytest.raises(SodateError, match=r"item 1.*has none"):
        evaluate({"base": ["x"]}, [EvalItem((), None)], [parse_grader("exact")])


def test_references_are_checked_before_anything_is_generated(tmp_path: Path) -> None:
    check_references(items(3), [parse_grader("exact"), parse_grader("json")])
    with pytest.raises(SodateError, match=r"test\.jsonl:1"):
        check_references(items(3), [parse_grader("fields")])


def test_wrong_calls_are_refused() -> None:
    grader = parse_grader("exact")
    with pytest.raises(UsageError, match="at least one"):
        evaluate({}, items(1), [grader])
    with pytest.raises(UsageError, match="named twice"):
        evaluate({"a": ["x"]}, items(1), [grader, grader])
    with pytest.raises(UsageError, match="baseline 'z'"):
        evaluate({"a": ["x"]}, items(1), [grader], baselines="z")
    with pytest.raises(SodateError, match=r"2 replies for 1 item\."):
        evaluate({"a": ["x", "y"]}, items(1), [grader])


def test_the_terminal_table_prints_model_names_as_they_are() -> None:
    out = io.StringIO()
    result = evaluate({"[red]base": answers(set(), 9), "b": answers({1}, 9)}, items(9), [parse_grader("exact")])
    print_result(result, Console(file=out, width=120))
    text = out.getvalue()
    assert "b vs [red]base" in text and "inconclusive" in text and "1/0" in text
    assert "can show a difference of 73 points or more" in text and "all flips go one way" in text


def test_replies_that_were_cut_off_are_counted_wherever_scores_stand(tmp_path: Path) -> None:
    replies = {"base": answers(set(), 9), "tuned": answers({1}, 9)}
    result = evaluate(replies, items(9), [parse_grader("exact")], cut_off={"base": 7, "tuned": 0})
    out = io.StringIO()
    print_result(result, Console(file=out, width=120))
    assert "base: 7 of 9 replies were cut off" in out.getvalue() and "tuned: 0" not in out.getvalue()
    assert result.to_json()["cut_off"] == {"base": 7, "tuned": 0}
    page = write_report(result, tmp_path / "report.html", title="t").read_text("utf-8")
    assert page.count("replies cut off") == 1 and "7 replies cut off" in page


def test_an_item_without_a_reply_counts_0_with_its_reason_and_is_never_graded(tmp_path: Path) -> None:
    replies = {"base": [""] * 9, "short": [""] * 9}  # which would all be right
    why = {0: "no reply: too long", 8: "no reply: too long"}
    result = evaluate(replies, items(9, ""), [parse_grader("exact")], unanswered={"base": {}, "short": why})
    grades = result.score("short", "exact").grades
    assert [(g.score, g.reason) for g in (grades[0], grades[8])] == [(0.0, why[0])] * 2
    assert (result.score("base", "exact").mean, result.score("short", "exact").mean) == (1, 7 / 9)
    assert result.to_json()["unanswered"] == {"short": 2}
    page = write_report(result, tmp_path / "report.html", title="t").read_text("utf-8")
    assert page.count("prompts too long") == 1 and "2 prompts too long" in page


def test_a_reply_has_room_for_its_reference_or_for_an_explanation() -> None:
    class Letters:
        thinks = False

        def token_count(self, text: str) -> int:
            return len(text)

    exact, number = parse_grader("exact"), parse_grader("number")
    rows = [*items(2, "x" * 8), *items(1, "x" * 100)]
    assert room_for(rows, Letters(), [exact]) == 133  # 100 + 25 + 8
    assert room_for(rows, Letters(), [exact, number]) == 256
    assert room_for(items(1, "x" * 1000), Letters(), [number]) == 1258
    assert room_for(rows, Letters(), [exact], held=True) == 256  # JSON is worth nothing before its last brace
    assert room_for([EvalItem((), None)], Letters(), [parse_grader("json")]) == 256
    Letters.thinks = True
    assert room_for(rows, Letters(), [exact]) == 133 + 1024


@pytest.mark.parametrize("language", ["en", "ja"])
def test_at_80_columns_no_word_of_the_table_is_broken(language: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SODATE_LANG", language)
    out = io.StringIO()
    replies = {"smollm2-135m": ["no"] * 100, "smollm2-135m + 3 shots": answers({1}, 100), "orders": ["yes"] * 100}
    graders = [parse_grader("exact"), Grader("json_schema:schema.json", parse_grader("exact"))]
    result = evaluate(replies, items(100), graders, ["smollm2-135m", "smollm2-135m + 3 shots"])
    print_result(result, Console(file=out, width=80))
    lines = out.getvalue().splitlines()
    assert all(cell_len(line) <= 80 for line in lines)
    rows = [line.split() for line in lines if line.startswith("json_schema:schema.json") and "/" in line]
    better, unsure = ("better", "inconclusive") if language == "en" else ("改善", "判定できず")
    assert [row[-1] for row in rows] == [better, better, unsure]
    assert [row[-2] for row in rows] == ["100/0", "99/0", "1/0"]
    # The columns of all pairs stand under one another.
    assert len({line.index("/0") for line in lines if "/0 " in line}) == 1


def test_a_baseline_with_examples_is_named_in_the_readers_language_and_alike_in_json(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SODATE_LANG", "ja")
    out, shots = io.StringIO(), with_shots("base", 3)
    replies = {"base": ["no"] * 4, shots: ["no"] * 4, "new": ["yes"] * 4}
    result = evaluate(replies, items(4), [parse_grader("exact")], ["base", shots], cut_off={shots: 1})
    print_result(result, Console(file=out, width=80))
    assert "new と base + 例 3 件 の比較" in out.getvalue() and "shots" not in out.getvalue()
    assert {row["baseline"] for row in result.to_json()["comparisons"]} == {"base", "base + 3 shots"}
    page = write_report(result, tmp_path / "r.html", title="t").read_text("utf-8")
    assert '<span lang="en">base + 3 shots</span><span lang="ja">base + 例 3 件</span>' in page


def test_examples_are_taken_from_every_kind_of_flip() -> None:
    result = made()
    groups = flips(result, result.comparisons[0])
    assert {name: len(group) for name, group in groups.items()} == {"fixed": 20, "broken": 2, "wrong": 10, "right": 8}
    assert pick_examples(result, 5) == [10, 0, 30, 2, 11]
    assert pick_examples(evaluate({"a": ["x"]}, items(1), [parse_grader("exact")]), 3) == [0]


def test_the_page_runs_nothing_loads_nothing_and_shows_hostile_text_as_text(tmp_path: Path) -> None:
    attack = "<script>alert(1)</script><img src=x onerror=alert(1)>\ud800</style>\u202e"
    rows = [EvalItem((Message("user", attack),), attack, Source("<b>.jsonl", 1))] * 3
    replies = {"<i>base": [attack] * 3, "b'\"><svg onload=x>": ["{{ 7*7 }}", "", attack]}
    result = evaluate(replies, rows, [parse_grader("exact"), parse_grader("label")])
    path = write_report(result, tmp_path / "report.html", title=attack, meta={"<u>": attack}, replay="sodate <eval>")
    page = path.read_text("utf-8")
    tags = set(re.findall(r"<\s*(\w+)", page))
    assert not tags & {"script", "img", "i", "b.jsonl", "u", "eval", "iframe", "link", "object"}
    assert "&lt;script&gt;" in page and "{{ 7*7 }}" in page
    assert not re.search(r"<[^>]*\s(?:on\w+|src|href|style)\s*=", page)
    (style,) = re.findall(r"<style>(.*?)</style>", page, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    assert f"default-src 'none'; style-src 'sha256-{digest}'" in page.replace("&#39;", "'")
    assert "url(" not in style and "@import" not in style


def test_the_page_holds_both_languages_and_opens_in_the_readers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SODATE_LANG", "ja")
    page = write_report(made(), tmp_path / "r.html", title="t").read_text("utf-8")
    assert '<html lang="ja">' in page and 'id="show-ja" checked' in page
    assert "tuned is better than base" in page and "tuned は base より良い" in page
    assert "+45.0" in page and ">20</b>" in page
    # A single model has nothing to be compared with, and still a page.
    alone = evaluate({"a": answers({1}, 5)}, items(5), [parse_grader("exact")])
    assert "20.0" in write_report(alone, tmp_path / "a.html", title="t").read_text("utf-8")


def test_with_shots_the_candidate_meets_both_the_base_and_the_base_with_examples(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SODATE_HOME", str(tmp_path / "home"))
    folders = [tiny.llama_folder(tmp_path / f"m{seed}", seed=seed) for seed in (0, 1)]
    base, tuned = (sodate.pull(str(folder)).name for folder in folders)
    lines = [{"messages": [{"role": "user", "content": f"q{n}"}, {"role": "assistant", "content": "y"}]} for n in "ab"]
    file = tmp_path / "rows.jsonl"
    file.write_text("".join(json.dumps(line) + "\n" for line in lines), "utf-8")
    done = sodate.evaluate(tuned, file, "exact", baseline=base, shots=file, limit=2)
    assert list(done.result.pairs()) == [(tuned, base), (tuned, f"{base} + 2 shots"), (f"{base} + 2 shots", base)]
    page = done.report.read_text("utf-8")
    assert page.count('<section class="card pair-card">') == 3


def test_slices_are_compared_on_their_own_and_adjusted_together(tmp_path: Path) -> None:
    about = [{"queue": "big" if i < 60 else "small"} | ({"vip": 1} if i < 9 else {}) for i in range(70)]
    rows = [EvalItem((Message("user", "q"),), "yes", item=item) for item in about]
    replies = {"base": answers(set(range(60, 70)), 70), "tuned": answers(set(range(20)), 70)}
    result = evaluate(replies, rows, [parse_grader("exact")])
    big, small, vip = slices(result, ["queue", "vip"])
    assert [(one.field, one.value, one.n) for one in (big, small, vip)] == [
        ("queue", "big", 60),
        ("queue", "small", 10),
        ("vip", "1", 9),
    ]
    (alone,) = big.comparisons
    assert (alone.diff, alone.fixed, alone.broken) == (pytest.approx(20 / 60), 20, 0) and alone.verdict == "better"
    # Ten rows, all of them broken: no verdict, and no part in what is adjusted.
    assert not small.enough and small.comparisons[0].diff == -1 and small.to_json()["comparisons"][0]["verdict"] is None
    assert alone.p == alone.p_raw == pytest.approx(stats.mcnemar_exact(20, 0))
    halves = [EvalItem((Message("user", "q"),), "yes", item={"half": i % 2}) for i in range(70)]
    for one in slices(evaluate(replies, halves, [parse_grader("exact")]), ["half"]):
        assert one.n == 35 and one.comparisons[0].p == pytest.approx(min(1, 2 * one.comparisons[0].p_raw), abs=0.02)
    page = write_report(result, tmp_path / "r.html", title="t", parts=[big, small, vip]).read_text("utf-8")
    assert "By queue" in page and "too few rows" in page


def test_form_alone_never_earns_a_plain_tick(tmp_path: Path) -> None:
    rows = [EvalItem((Message("user", "q"),), '{"a": 1}') for _ in range(8)]
    replies = {"base": ['{"a": 2}'] * 8, "tuned": ["no"] * 8}
    form = evaluate(replies, rows, [parse_grader("json")])
    assert form.form_only and form.mark("base", 0) == "(✓)" and form.mark("tuned", 0) == "✗"
    assert form.to_json()["results"][0]["form"] is True
    out = io.StringIO()
    print_result(form, Console(file=out, width=120))
    assert "look at form alone" in out.getvalue()
    assert "look at form alone" in write_report(form, tmp_path / "r.html", title="t").read_text("utf-8")
    both = evaluate(replies, rows, [parse_grader("json"), parse_grader("exact")])
    assert not both.form_only and both.mark("base", 0) == "✗"


def test_the_page_to_hand_in_concludes_first_and_ends_with_its_limits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    result = made()
    made_by = {"meta": {"seed": "0"}, "replay": "sodate eval"}
    page = write_handout(result, tmp_path / "h.html", title="<b>", **made_by).read_text("utf-8")
    places = [page.index(f"<h2>{word}</h2>") for word in ("Conclusion", "Evidence", "Conditions", "Limits")]
    assert places == sorted(places) and "&lt;b&gt;" in page and "<script" not in page
    assert places[0] < page.index("tuned is better than base (exact)") < places[1]
    assert page.index("+45.0") < places[2] < page.index("sodate eval") < places[3] < page.index("20 points or more")
    monkeypatch.setenv("SODATE_LANG", "ja")
    page = write_handout(result, tmp_path / "h.html", title="t").read_text("utf-8")
    places = [page.index(f"<h2>{word}</h2>") for word in ("結論", "根拠", "条件", "限界")]
    assert places == sorted(places) and "tuned は base より良い" in page
    form = evaluate({"a": ["{}"] * 3}, items(3), [parse_grader("json")])
    assert any("形式だけ" in str(one) for one in limits(form))


def test_every_graded_reply_is_a_row_of_the_table() -> None:
    header, rows = table(made())
    assert header == ["item", "model", "grader", "score", "why", "reply", "reference", "prompt"]
    assert len(rows) == 40 * 2 and rows[0][:4] == ["test.jsonl:1", "base", "exact", "1"]
    assert rows[0][5:] == ["yes", "yes", "q0"] and rows[1][3] == "0"
