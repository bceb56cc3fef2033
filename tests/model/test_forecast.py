"""The forecast of `sodate data check --model`: its arithmetic by hand, and its counts against what training counts."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import sodate
from sodate.model import forecast, memory
from tests import tiny


def test_the_facts_are_those_of_the_tiny_llama(tmp_path: Path) -> None:
    facts = forecast.model_size(tiny.llama_folder(tmp_path))
    vocabulary = len(tiny.oracle(tiny.CHATML))
    # Per block: q and o 32 x 32, k and v 16 x 32, gate, up and down 64 x 32; two blocks; five norms of 32.
    assert facts.block_parameters == 2 * (2 * 1024 + 2 * 512 + 3 * 2048)
    assert facts.blocks == 2
    assert facts.width == 2 * (2 * 64 + 2 * 48 + 3 * 96)
    assert facts.parameters == facts.block_parameters + 32 * vocabulary + 5 * 32
    assert (facts.vocabulary, facts.hidden) == (vocabulary, 32)


def test_an_untied_head_is_no_block(tmp_path: Path) -> None:
    tied = forecast.model_size(tiny.llama_folder(tmp_path / "tied"))
    untied = forecast.model_size(tiny.llama_folder(tmp_path / "untied", tie_word_embeddings=False))
    assert untied.block_parameters == tied.block_parameters
    assert untied.parameters == tied.parameters + 32 * tied.vocabulary


def test_time_is_the_sum_that_the_module_says() -> None:
    model = forecast.ModelSize(
        parameters=2_000_000, block_parameters=1_000_000, blocks=10, width=5000, vocabulary=1000, hidden=64
    )
    work = forecast.Work(computed=30_000, predictions=10_000)
    # 4 · 10⁶ · 30 000 + 4 · 64 000 · 10 000 = 1.2256e11 operations; 10 GFLOP/s at the efficiency E take 12.256 / E s.
    assert forecast.seconds(model, work, 10.0) * forecast.EFFICIENCY == pytest.approx(12.256)


def test_a_check_with_a_model_counts_shared_beginnings_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SODATE_HOME", str(tmp_path / "home"))
    folder = tiny.llama_folder(tmp_path / "made")
    rows = [[("system", "s" * 100), ("user", f"question {n}"), ("assistant", f"answer {n}")] for n in range(24)]
    lines = [{"messages": [{"role": role, "content": text} for role, text in row]} for row in rows]
    file = tmp_path / "rows.jsonl"
    file.write_text("".join(json.dumps(line) + "\n" for line in lines), "utf-8")
    assert "forecast" not in sodate.check(file).stats
    model = sodate.pull(str(folder)).name
    stats = sodate.check(file, model=model).stats
    ahead = stats["forecast"]
    assert set(ahead) == {"tokens", "computed_tokens", "seconds", "bytes", "gemm_gflops"}
    assert ahead["tokens"] == stats["tokens"]["total"]
    # Three batches of 8 compute the system prompt, at least 40 tokens, once instead of 8 times.
    saved = ahead["tokens"] - ahead["computed_tokens"]
    assert saved >= 3 * 7 * 40
    assert ahead["gemm_gflops"] > 0 and ahead["bytes"] > memory.PROCESS_BYTES
    # What training counts for the same file, its own shuffle: the same to a few tokens.
    run = sodate.train(model=model, data=str(file), epochs=1, name="t")
    metrics = (Path(run["run_dir"]) / "metrics.jsonl").read_text("utf-8").splitlines()
    assert sum(json.loads(line)["computed_tokens"] for line in metrics) == pytest.approx(
        ahead["computed_tokens"], rel=0.02
    )
