"""What an evaluation finds beside its scores, on real runs of a tiny model: seeds, leaks, looks, retention, costs."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from sodate.api.seeds import train_seeds
from sodate.core.errors import UsageError
from sodate.release.registry import find_version
from tests import farm as farms
from tests import worker


@pytest.fixture(scope="module")
def farm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[farms.Farm]:
    planted = farms.plant(tmp_path_factory.mktemp("farm"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SODATE_HOME", str(planted.home))
        patch.setenv("SODATE_LANG", "en")
        yield planted


def test_seeds_are_trained_one_by_one_and_an_evaluation_tells_them_from_luck(farm: farms.Farm, tmp_path: Path) -> None:
    done = train_seeds(seeds=2, model=farm.model, data=[str(farm.train)], eval=str(farm.held), name="orders",
                       max_steps=2, seed=5)  # fmt: skip
    assert done["versions"] == ["orders@1", "orders@2"] and done["seeds"] == [5, 6]
    losses = [one["best_eval_loss"] for one in done["results"]]
    assert done["spread"]["best_eval_loss"]["values"] == losses and losses[0] != losses[1]
    assert done["spread"]["best_eval_loss"]["mean"] == pytest.approx(sum(losses) / 2)
    assert done["version"] == done["versions"][losses.index(min(losses))]  # the lower median of two
    with pytest.raises(UsageError):
        train_seeds(seeds=1, model=farm.model, data=[str(farm.train)])
    leak = farms.write_rows(tmp_path / "held.jsonl", [farms.order(n) for n in (11, 12, 81, 82)])  # two were trained on
    prices = tmp_path / "prices.yaml"
    prices.write_text("currency: EUR\nhour: 3600\n")
    words = ["eval", "orders@1", "orders@2", "--baseline", farm.model, "--data", str(leak), "--grader",
             "text_similarity", "--max-tokens", "4", "--retention", "--prices", str(prices)]  # fmt: skip
    printed = worker.run(*words, "--json", home=farm.home)
    assert printed.code == 0, printed.err
    document = json.loads(printed.out)
    assert document["contamination"] == {"orders@1": 2, "orders@2": 2} and document["looks"] == 1
    (seeds,) = document["seeds"]
    diffs = [one["diff"] for one in document["comparisons"]]
    assert seeds["models"] == ["orders@1", "orders@2"] and seeds["diffs"] == diffs
    kinds = {(one["candidate"], one["kind"], one["language"]): one for one in document["retention"]}
    assert len(kinds) == 12 and all(one["baseline"] == farm.model for one in kinds.values())
    assert kinds["orders@1", "perplexity", "en"]["before"] > 1  # a perplexity, not its logarithm
    one = document["models"]["orders@1"]
    assert document["costs"]["orders@1"] == {
        "per_request": pytest.approx(one["seconds"] / 4, abs=1e-3), "currency": "EUR"
    }  # fmt: skip
    assert one["requests"] == 4 and one["reply_tokens"] <= 4 and one["latency_p50"] <= one["latency_p95"]
    sure = {entry["model"]: entry for entry in document["confidence"]}
    assert set(sure) == {"orders@1", "orders@2", farm.model} and not sure["orders@1"]["enough_rows"]
    report = Path(document["report"])
    page, saved = report.read_text("utf-8"), json.loads((report.parent / "result.json").read_text("utf-8"))
    assert "give held-out rows away" in page and "評価データと重なる行が 2 行" in page and "EUR" in page
    assert saved["seeds"] == document["seeds"] and saved["replay"].startswith("sodate eval orders@1")
    words = ["eval", "orders@2", "--baseline", "orders@1", *words[5:]]  # what both forgot is told, too
    printed = worker.run(*words, "--json", home=farm.home)
    told = {(one["candidate"], one["baseline"]) for one in json.loads(printed.out)["retention"]}
    version = find_version("orders@1")
    assert version is not None
    base = str(version.manifest["base"])
    assert told == {("orders@1", base), ("orders@2", base)}
    again = worker.run(*words, home=farm.home, language="ja")
    assert again.code == 0 and "この評価データが使われたのは 3 回目です" in again.out
