"""Lots and hashes are drawn by a key that is another one in every home; in tests it is always the same."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture
def home(home: Path) -> Path:
    """An empty SODATE_HOME, but for the key."""
    home.mkdir(parents=True)
    (home / "exchanges.key").write_text("42" * 32)
    return home
