"""A verb in a process of its own: its result, what it was refused for, and its end."""

from __future__ import annotations

from pathlib import Path

import pytest

from sodate.core.errors import SodateError, UsageError
from sodate.core.text import reading_in
from sodate.jobs import apart as module
from sodate.jobs.apart import apart
from sodate.serve.pages.grouping import grouped


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SODATE_HOME", str(tmp_path))
    monkeypatch.setenv("SODATE_LANG", "en")


def test_it_returns_what_the_verb_returns_and_raises_what_it_raises_in_the_readers_language() -> None:
    assert grouped("default")["exchanges"] == 0
    with pytest.raises(UsageError) as raised:
        apart("why", version="nobody@1", prompt="a", reply="b", system="", top=1)
    assert raised.value.code == "version_not_found"
    with reading_in("ja"):
        assert "バージョン" in str(raised.value.message)


def test_a_process_that_dies_is_told_apart_and_who_looks_can_end_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "COMMAND", ["sh", "-c", "read line; kill -9 $$", "sh"])
    with pytest.raises(SodateError) as raised:
        apart("why", version="a")
    assert raised.value.code == "worker_crashed"
    monkeypatch.setattr(module, "COMMAND", ["sh", "-c", "read line; read forever", "sh"])

    def look() -> None:
        raise TimeoutError

    monkeypatch.setattr(module, "LOOK_SECONDS", 0.1)
    with pytest.raises(TimeoutError):
        apart("why", look, version="a")
