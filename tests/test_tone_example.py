"""The politeness example: what its README promises about the pairs holds."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

EXAMPLE = Path(__file__).parents[1] / "examples" / "tone-ja"


def test_the_pairs_are_what_make_writes_and_length_says_nothing(tmp_path: Path) -> None:
    subprocess.run([sys.executable, str(EXAMPLE / "make.py"), "--out", str(tmp_path)], check=True)
    prompts = []
    for name, count in (("train", 144), ("heldout", 48)):
        text = (EXAMPLE / f"{name}.jsonl").read_text("utf-8")
        assert (tmp_path / f"{name}.jsonl").read_text("utf-8") == text
        rows = [json.loads(line) for line in text.splitlines()]
        longer = sum(len(row["chosen"]) > len(row["rejected"]) for row in rows) / count
        assert len(rows) == count and 0.45 <= longer <= 0.55
        prompts.append({row["prompt"][-1]["content"] for row in rows})
    assert not prompts[0] & prompts[1]
