"""What lies in SODATE_HOME is its owner's alone; what is not seen is written out; a recipe's YAML is bounded."""

from __future__ import annotations

import contextvars
import json
import os
import unicodedata
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sodate.core import home
from sodate.core.errors import UsageError
from sodate.core.files import atomic_folder, lock, read_json, write_json, write_text
from sodate.core.recipe import load_recipe
from sodate.core.runs import RunFolder
from sodate.core.text import json_text, visible
from sodate.core.yaml_files import MAX_CHARS


def modes(root: Path) -> set[str]:
    return {f"{path.stat().st_mode & 0o777:o}" for path in (root, *root.rglob("*"))}


def test_home_and_all_that_is_written_there_are_private_from_the_start(home: Path, tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        write_json(home / "cache" / "a" / "b.json", {})
        with lock(home / "models" / "x.lock", "x"):
            pass
        with atomic_folder(home / "versions" / "name" / "1") as stage:
            (stage / "model").mkdir()
            (stage / "model" / "config.json").write_text("{}")
        run = RunFolder.create({"recipe": {"method": "sft"}})
        run.event("x")
        assert modes(home) == {"700", "600"}
        write_text(tmp_path / "out" / "rows.jsonl", "")  # elsewhere the umask decides
        assert (tmp_path / "out" / "rows.jsonl").stat().st_mode & 0o777 == 0o666
    finally:
        os.umask(before)


def test_a_file_is_private_while_it_is_being_written(home: Path) -> None:
    from sodate.core.files import atomic_file

    with atomic_file(home / "cache" / "secret") as handle:
        assert Path(handle.name).stat().st_mode & 0o777 == 0o600


def test_doctor_names_what_others_may_read_and_what_is_damaged(home: Path, folder: Path) -> None:
    import sodate
    from sodate.api.doctor import doctor

    def codes() -> set[str]:
        return {finding.code for finding in doctor()} - {"no_sandbox", "little_room", "not_compiled"}

    assert codes() == set()
    entry = sodate.pull(str(folder))
    assert codes() == set()
    home.chmod(0o755)
    (entry.path / "config.json").chmod(0o644)
    (wide,) = [finding for finding in doctor() if finding.code == "readable_by_others"]
    assert "1 files" in str(wide.message) and "config.json" in str(wide.message) and "chmod" in wide.fix
    home.chmod(0o700)
    (home / "models" / ".tiny@x.tmp").mkdir()
    (entry.path / "config.json").write_text("{}")
    assert codes() == {"leftovers", "damaged"}


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a\x1b[31mb\x7f\x9b", "a\\x1b[31mb\\x7f\\x9b"),
        ("\u202egpj.exe\u2066\u200e", "\\u202egpj.exe\\u2066\\u200e"),
        ("a\u200bb\ufeff\u00adc", "a\\u200bb\\ufeff\\xadc"),
        ("\u2028\U000e0041", "\\u2028\\U000e0041"),
        (b"\xff\xe9.csv".decode("utf-8", "surrogateescape"), "\\xff\\xe9.csv"),
        ("髙橋　👩‍👩‍👧 می‌خواهم\tline\nnext", "髙橋　👩‍👩‍👧 می‌خواهم\tline\nnext"),
    ],
)
def test_what_is_not_seen_is_written_out(text: str, shown: str) -> None:
    assert visible(text) == shown


@given(st.text())
def test_json_is_the_same_value_without_what_is_not_seen(text: str) -> None:
    made = json_text({text: [text]})
    assert json.loads(made) == {text: [text]}
    hidden = [c for c in made if unicodedata.category(c) in ("Cc", "Cs") or c in "\u200b\u202e\u2066\ufeff\u00ad"]
    assert not hidden
    made.encode()


def test_a_file_name_that_is_not_utf_8_is_kept_in_json(tmp_path: Path) -> None:
    name = os.fsdecode(b"\xff.csv")
    write_json(tmp_path / "a.json", {"file": name})
    assert read_json(tmp_path / "a.json") == {"file": name}


@pytest.mark.parametrize(
    "text",
    [
        "model: m\ndata: &a [x]\ncolumns: *a\n",
        "model: " + "[" * 5_000,
        "model: " + "x" * MAX_CHARS,
        "model: m\nseed: 2026-02-30\n",
        "model: m\nseed: " + "9" * 5_000,
    ],
)
def test_yaml_that_blows_up_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text(text)
    with pytest.raises(UsageError, match="is not valid YAML"):
        load_recipe(path, {})


def test_caches_of_a_project_are_its_own_and_its_name_is_no_path() -> None:
    assert home.cache_dir() == home.home() / "cache"

    def of(project: str) -> Path:
        home.work_for(project)
        return home.cache_dir()

    places = [contextvars.copy_context().run(of, project) for project in ("shop", "bank", "default")]
    assert len(set(places)) == 3 and all(place.parent.parent == home.home() / "cache" for place in places)
    assert home.cache_dir() == home.home() / "cache"  # the next request is nobody's yet
    for name in ("../x", "a/b", "", ".x"):
        with pytest.raises(UsageError):
            contextvars.copy_context().run(of, name)
