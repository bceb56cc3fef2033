"""The dry plan: its arithmetic by hand for the tiny Llama."""

from __future__ import annotations

from pathlib import Path

import pytest

import sodate
from sodate.api.plan import plan
from sodate.core.files import write_json
from sodate.core.runs import RunFolder
from sodate.model import forecast
from tests import tiny


def test_shards_shrink_the_blocks_and_a_measured_step_says_the_speed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SODATE_HOME", str(tmp_path / "home"))
    folder = tiny.llama_folder(tmp_path / "made")
    run = RunFolder(tmp_path / "home" / "runs" / "measured")
    run.path.mkdir(parents=True)
    write_json(run.path / "run.json", {"status": "done"})
    for seconds in (0.4, 0.5, 9.0):
        run.metric({"step": 1, "seconds": seconds, "tokens": 100})
    facts = forecast.model_size(folder)
    rows = {
        (row["adapter"], row["parallel"], row["gradient_checkpointing"]): row
        for row in plan(sodate.pull(str(folder)).id, processes=4, tokens=64, rank=8, link=1e6, run="measured")
    }
    whole, shards, full = (
        rows[key] for key in (("lora", "ddp", False), ("lora", "fsdp", False), ("full", "ddp", False))
    )
    adapter = 4 * 8 * facts.width
    assert whole["weights"] == 2 * facts.parameters + adapter and whole["optimizer"] == 2 * adapter
    blocks = 2 * facts.block_parameters  # two blocks: both are there at once
    assert shards["weights"] == whole["weights"] - blocks + blocks // 4 + blocks
    assert full["weights"] == full["gradients"] == 4 * facts.parameters
    # Four processes, 100 tokens in 0.5 s each, and 2 · 3/4 of the gradients over the link.
    assert whole["tokens_per_second"] == pytest.approx(400 / (0.5 + 1.5 * adapter / 1e6), abs=0.1)
    assert rows["lora", "ddp", True]["tokens_per_second"] == pytest.approx(
        400 / (0.5 * 4 / 3 + 1.5 * adapter / 1e6), abs=0.1
    )
    assert "tokens_per_second" not in shards
