"""What was recorded is checked when it is loaded: cheaply where nothing looks changed, by its hash where it does."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import typer

import sodate
from sodate import cli
from sodate.core.errors import SodateError
from sodate.library import recorded
from sodate.release.lookup import look_up


@pytest.fixture
def hashed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the files that were read to be hashed."""
    names: list[str] = []
    real = recorded.sha256_file

    def counted(path: Path) -> str:
        names.append(path.name)
        return real(path)

    monkeypatch.setattr(recorded, "sha256_file", counted)
    return names


def test_files_are_hashed_when_size_time_or_machine_changed_and_when_asked(
    folder: Path, home: Path, hashed: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    entry = sodate.pull(str(folder))
    look_up("tiny")
    assert hashed == []  # a pull has just hashed them
    os.utime(entry.path / "config.json")
    look_up("tiny")
    assert set(hashed) == set(entry.sha256)
    hashed.clear()
    look_up("tiny")
    assert hashed == []
    monkeypatch.setattr(recorded.platform, "node", lambda: "another")
    look_up("tiny")
    assert set(hashed) == set(entry.sha256)
    hashed.clear()
    with sodate.verifying():
        look_up("tiny")
    assert set(hashed) == set(entry.sha256)
    hashed.clear()
    look_up("tiny")
    assert hashed == []


def test_the_option_verifies_for_its_own_command_alone() -> None:
    with typer.Context(typer.main.get_command(cli.app)) as context:
        cli._root(context, debug=False, verify=True)
        assert recorded._ALWAYS.get()
        with ThreadPoolExecutor(1) as pool:  # another request's thread is not told
            assert not pool.submit(recorded._ALWAYS.get).result()
    assert not recorded._ALWAYS.get()


def test_a_changed_a_missing_and_an_added_file_are_named(folder: Path, home: Path) -> None:
    entry = sodate.pull(str(folder))
    weights = entry.path / "model.safetensors"
    content, stat = weights.read_bytes(), weights.stat()
    weights.write_bytes(content[:-1] + b"\1")
    with pytest.raises(SodateError, match=r"model\.safetensors is not what was recorded"):
        look_up("tiny")
    os.utime(weights, ns=(stat.st_atime_ns, stat.st_mtime_ns))  # looks unchanged: only --verify sees it
    look_up("tiny")
    with sodate.verifying(), pytest.raises(SodateError, match=r"model\.safetensors is not what was recorded"):
        look_up("tiny")
    weights.write_bytes(content)
    look_up("tiny")
    (entry.path / "adapter_config.json").write_text("{}")
    with pytest.raises(SodateError, match=r"adapter_config\.json is not what was recorded"):
        look_up("tiny")
    (entry.path / "adapter_config.json").unlink()
    weights.unlink()
    with pytest.raises(SodateError, match=r"model\.safetensors is not what was recorded"):
        look_up("tiny")


def test_a_local_source_is_known_by_its_content(folder: Path, home: Path) -> None:
    first = sodate.pull(str(folder))
    os.utime(folder / "config.json", ns=(1, 1))
    (folder / "notes.py").write_text("not taken")
    assert sodate.pull(str(folder)) == first
    stat = (folder / "generation_config.json").stat()
    text = (folder / "generation_config.json").read_text()
    (folder / "generation_config.json").write_text(text.replace("5", "6", 1))
    os.utime(folder / "generation_config.json", ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert sodate.pull(str(folder)).revision != first.revision
