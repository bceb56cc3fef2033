"""Versions never collide, never change unnoticed, and never take a base away from under one another."""

from __future__ import annotations

import hashlib
import multiprocessing
import os
from pathlib import Path
from typing import Any

import pytest

from sodate.core.errors import SodateError, UsageError
from sodate.core.files import read_json
from sodate.release.registry import Version, delete, find_version, held, list_versions, register, verify

ABOUT: dict[str, Any] = {"base": "tiny@1", "recipe": {"method": "sft"}, "data": {"rows_used": 3}}


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SODATE_HOME", str(tmp_path))
    return tmp_path


def write(folder: Path) -> None:
    (folder / "adapter").mkdir()
    (folder / "adapter" / "adapter_model.safetensors").write_bytes(b"weights")


def make(name: str = "orders", **about: Any) -> Version:
    return register(name, ABOUT | about, "{{ messages }}", write)


def _register_five(home: str, number: int) -> None:
    os.environ["SODATE_HOME"] = home
    for i in range(5):
        make(marker=f"{number}-{i}")


def test_eight_processes_that_register_at_once_leave_no_gap_and_lose_nothing(home: Path) -> None:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.test_registry"])
    processes = [context.Process(target=_register_five, args=(str(home), number)) for number in range(8)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
    assert [process.exitcode for process in processes] == [0] * 8
    versions = list_versions("orders")
    assert [v.number for v in versions] == list(range(1, 41))
    assert {v.manifest["marker"] for v in versions} == {f"{n}-{i}" for n in range(8) for i in range(5)}
    assert {v.manifest["version"] for v in versions} == {v.id for v in versions}
    for version in versions:
        verify(version)
    assert not [*home.rglob("*.tmp")]


def test_a_version_is_its_manifest_and_the_newest_is_found_by_name(home: Path) -> None:
    first, second = make(), make()
    assert (first.id, second.id, first.path) == ("orders@1", "orders@2", home / "versions" / "orders" / "1")
    assert set(first.manifest["files"]) == {"adapter/adapter_model.safetensors", "template.jinja"}
    digest = hashlib.sha256(b"weights").hexdigest()
    assert first.manifest["files"]["adapter/adapter_model.safetensors"] == digest
    assert (first.path / "template.jinja").read_text() == "{{ messages }}" and first.adapter == first.path / "adapter"
    assert find_version("orders") == second and find_version("orders@1") == first
    assert find_version("invoices") is None and find_version("a/b") is None
    with pytest.raises(UsageError, match=r"no version orders@3(.|\n)*orders@1, orders@2"):
        find_version("orders@3")


@pytest.mark.parametrize("file", ["adapter/adapter_model.safetensors", "template.jinja"])
def test_tampering_is_named(home: Path, file: str) -> None:
    version = make()
    verify(version)
    path = version.path / file
    original = path.read_bytes()
    path.write_bytes(original + b" ")
    with pytest.raises(SodateError, match=rf"{file} is not what was registered"):
        verify(version)
    path.unlink()
    with pytest.raises(SodateError, match=rf"{file} is not what was registered"):
        verify(version)
    path.write_bytes(original)
    verify(version)


def test_a_file_that_was_added_is_named(home: Path) -> None:
    version = make()
    (version.path / "adapter" / "extra.bin").write_bytes(b"")
    with pytest.raises(SodateError, match=r"extra\.bin is not what was registered"):
        verify(version)


@pytest.mark.parametrize(
    "name", ["", ".", "..", "../x", "a/b", "/etc", ".hidden", "a b", "a\n", "注文", "x" * 65, "a\0b"]
)
def test_names_that_could_be_paths_are_refused(home: Path, name: str) -> None:
    with pytest.raises(UsageError, match="not a usable name"):
        make(name)
    assert not (home / "versions").exists() or not [*(home / "versions").iterdir()]


def test_a_version_whose_weights_could_not_be_written_does_not_exist(home: Path) -> None:
    def fail(folder: Path) -> None:
        write(folder)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        register("orders", ABOUT, "", fail)
    assert list_versions() == [] and not [*home.rglob("adapter*")]
    assert make().id == "orders@1"


def test_what_a_killed_writer_left_is_no_version(home: Path) -> None:
    make()
    left = home / "versions" / "orders" / ".2.abcdef12.tmp"
    left.mkdir()
    (home / "versions" / "orders" / "7").mkdir()  # no manifest
    assert [v.id for v in list_versions()] == ["orders@1"]


def test_a_deleted_version_is_gone_and_its_number_is_never_given_again(home: Path) -> None:
    make()
    second = make(marker="mine")
    delete(second)
    assert [v.id for v in list_versions()] == ["orders@1"] and find_version("orders") == list_versions()[0]
    assert [file.name for file in second.path.iterdir()] == ["deleted.json"]
    assert read_json(second.path / "deleted.json")["marker"] == "mine"
    assert make().id == "orders@3"
    with pytest.raises(UsageError, match="orders@2"):
        delete(second)


def _hold(version: Version, ready: Any, end: Any) -> None:
    with held(version):
        ready.set()
        end.wait(60)


def test_a_version_that_a_process_holds_is_not_deleted_until_that_has_ended(home: Path) -> None:
    context = multiprocessing.get_context("fork")
    ready, end, version = context.Event(), context.Event(), make()
    holder = context.Process(target=_hold, args=(version, ready, end))
    holder.start()
    assert ready.wait(60)
    with held(version), pytest.raises(SodateError) as refused:  # any number may hold it
        delete(version)
    assert refused.value.code == "in_use" and find_version("orders@1") is not None
    holder.kill()  # the kernel lets go with the process
    holder.join(60)
    delete(version)
    with pytest.raises(UsageError), held(version):
        pass


def test_what_others_stand_on_is_not_deleted(home: Path) -> None:
    whole, above = make(), make("short", base="orders@1")
    with pytest.raises(SodateError, match=above.id):
        delete(whole)
    delete(above)
    delete(whole)
    assert list_versions() == []
