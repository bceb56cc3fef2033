"""Fixtures shared by the test files. Real models are pulled once into a folder that outlives the session."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from sodate.library.sources import pull
from sodate.library.store import ModelEntry
from tests import glossary, nested
from tests.tiny import llama_folder

os.environ["SODATE_LANG"] = "en"  # sentences in assertions are English, whatever the machine's locale
nested.install()
glossary.install()
# A busy machine is slow, and that is no fault of a test.
settings.register_profile("sodate", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("sodate")


@pytest.fixture(scope="session")
def smollm2() -> Iterator[ModelEntry]:
    """SmolLM2-135M-Instruct, converted. SODATE_TEST_HOME says where it is kept."""
    kept = Path(os.environ.get("SODATE_TEST_HOME") or Path.home() / ".cache" / "sodate-tests")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SODATE_HOME", str(kept))
        entry = pull("smollm2-135m")
    yield entry


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty SODATE_HOME."""
    monkeypatch.setenv("SODATE_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("SODATE_LANG", "en")
    return tmp_path / "home"


@pytest.fixture(scope="session")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny Llama as a folder; tests change a copy of it, `folder`."""
    return llama_folder(tmp_path_factory.mktemp("original") / "tiny")


@pytest.fixture
def folder(original: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(original, tmp_path / "tiny"))
