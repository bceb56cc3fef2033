"""Fixtures shared by the test files. Real models are pulled once into a folder that outlives the session."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from sodate.model.sources import pull
from sodate.model.store import ModelEntry

os.environ["SODATE_LANG"] = "en"  # sentences in assertions are English, whatever the machine's locale


@pytest.fixture(scope="session")
def smollm2() -> Iterator[ModelEntry]:
    """SmolLM2-135M-Instruct, converted. SODATE_TEST_HOME says where it is kept."""
    kept = Path(os.environ.get("SODATE_TEST_HOME") or Path.home() / ".cache" / "sodate-tests")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SODATE_HOME", str(kept))
        entry = pull("smollm2-135m")
    yield entry
