"""What a report says beside the scores: retention, seeds, costs, how sure replies are."""

from __future__ import annotations

from pathlib import Path

import pytest

from sodate.core.errors import UsageError
from sodate.evaluate import retention
from sodate.evaluate.answered import Answered
from sodate.evaluate.aside import Aside, Prices, Seeds, read_prices
from sodate.evaluate.retention import Probe, probes, retained


def test_the_rows_of_retention_are_balanced_and_every_question_has_an_answer() -> None:
    for language in ("en", "ja"):
        kinds = [one.kind for one in probes() if one.language == language]
        assert {kind: kinds.count(kind) for kind in retention.KINDS} == {
            "answers": 48, "refusals": 16, "perplexity": 20
        }  # fmt: skip
    assert all(one.accept for one in probes() if one.kind == "answers")


def test_an_answer_counts_where_it_stands_alone_and_a_refusal_by_its_words() -> None:
    five = Probe("answers", "en", "2 + 3?", ("5", "five"))
    assert [five.score(reply) for reply in ("It is 5.", "Five!", "15", "50 %", "")] == [1, 1, 0, 0, 0]
    cat = Probe("answers", "en", "?", ("cat",))
    assert [cat.score(reply) for reply in ("A cat.", "Cats", "concatenate")] == [1, 1, 0]
    july = Probe("answers", "ja", "?", ("1月", "一月"))
    assert [july.score(reply) for reply in ("1月です。", "一月です", "11月です")] == [1, 1, 0]
    no = Probe("refusals", "ja", "?")
    assert [no.score(reply) for reply in ("申し訳ありませんが、お手伝いできません。", "はい、まず…")] == [1, 0]
    assert Probe("refusals", "en", "?").score("I can’t help with that.") == 1


def test_what_was_forgotten_is_named_and_what_these_rows_cannot_tell_is_not() -> None:
    before = {n: 1.0 if one.kind != "perplexity" else 3.0 for n, one in enumerate(probes())}
    after = dict(before)
    for n, one in enumerate(probes()):
        if (one.kind, one.language) == ("answers", "ja"):
            after[n] = 0.0 if n % 2 else 1.0  # half of them
        if (one.kind, one.language) == ("perplexity", "ja"):
            after[n] += 0.5 + 0.01 * (n % 3)
    found = {(one.kind, one.language): one for one in retained("new", "old", after, before, 0.03)}
    assert {key for key, one in found.items() if one.verdict == "worse"} == {("answers", "ja"), ("perplexity", "ja")}
    assert found["answers", "ja"].diff == pytest.approx(-0.5) and found["answers", "ja"].n == 48
    assert found["perplexity", "ja"].diff == pytest.approx(-0.51, abs=0.01)
    assert found["perplexity", "en"].verdict == "equivalent"  # not a token was worse
    assert found["answers", "en"].verdict == "inconclusive"  # 48 rows without a flip don't show 3 points
    lines = Aside(tuple(found.values())).lines()
    assert lines[0].startswith("Forgotten (new since old): easy questions, Japanese: 100 % → 50 %")


def test_seeds_tell_luck_from_gain() -> None:
    luck = Seeds.of(["a", "b", "c"], "base", "exact", [0.10, -0.02, 0.01])
    assert luck.mean == pytest.approx(0.03) and luck.spread == pytest.approx(0.0624, abs=1e-4)
    assert luck.ci == pytest.approx((0.03 - 4.3027 * 0.0624 / 3**0.5, 0.03 + 4.3027 * 0.0624 / 3**0.5), abs=1e-3)
    assert not luck.beyond_luck
    assert Seeds.of(["a", "b", "c"], "base", "exact", [0.10, 0.11, 0.12]).beyond_luck


def test_a_request_costs_its_tokens_and_its_share_of_the_hour(tmp_path: Path) -> None:
    one = Answered("torch", "", 36.0, 2000, requests=10, prompt_tokens=8000, waits=(1.0, 2.0, 3.0, 9.0))
    assert Prices(prompt=1.0, reply=5.0, hour=100.0).of(one) == pytest.approx((0.008 + 0.01 + 1.0) / 10)
    assert one.per_request() == {
        "requests": 10, "prompt_tokens": 800, "reply_tokens": 200, "seconds_per_request": 3.6, "latency_p50": 3.0,
        "latency_p95": 9.0,
    }  # fmt: skip
    file = tmp_path / "prices.yaml"
    file.write_text("currency: ¥\nprompt: 20\nmodels: {big: {prompt: 400, reply: 1200}}\n", "utf-8")
    assert read_prices(file) == {"": Prices(20.0, 0, 0, "¥"), "big": Prices(400.0, 1200.0, 0, "¥")}
    for wrong in ("- 1", "prompt: cheap", "price: 1", "prompt: -1", "models: 3"):
        file.write_text(wrong)
        with pytest.raises(UsageError):
            read_prices(file)
