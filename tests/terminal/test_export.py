"""What `export` draws when it is done."""

from __future__ import annotations

from typing import Any

import pytest

from sodate import terminal

DONE: dict[str, Any] = {
    "version": "orders@1", "files": ["out/[a].gguf", "out/README.md"], "notes": ["A note."],
    "agreement": {"engine": "llama.cpp", "conversations": 20, "greedy_equal": 0.95, "kl_mean": 1.2e-7, "kl_max": 3e-6},
}  # fmt: skip


@pytest.mark.parametrize(
    ("language", "said"), [("en", "19 greedy replies identical"), ("ja", "貪欲な返答は 19 件が一致")]
)
def test_files_notes_and_figures_are_said(
    language: str, said: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SODATE_LANG", language)
    terminal.print_export(DONE)
    shown = capsys.readouterr().out
    assert shown.startswith("out/[a].gguf\nout/README.md\nA note.\n") and said in shown
    assert "1.2e-07" in shown and "3e-06" in shown
