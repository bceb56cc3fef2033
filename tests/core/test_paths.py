"""A path that can't be used: why, in both languages, and which file beside it may be meant."""

from __future__ import annotations

import errno
import os
import re
from pathlib import Path

import pytest

from sodate.api import contestants, deciding, grading
from sodate.core.paths import _REASONS, is_file, near, no_file, refusal
from sodate.core.recipe import load_recipe
from sodate.core.text import reading_in
from sodate.learn import recording
from tests import worker

JAPANESE = re.compile("[ぁ-んァ-ヶ一-龠]")


@pytest.mark.parametrize("number", sorted(_REASONS))
def test_the_systems_reason_is_said_in_both_languages(number: int) -> None:
    error = OSError(number, os.strerror(number), "rows.jsonl")
    with reading_in("en"):
        assert str(refusal(error)) == os.strerror(number)
    with reading_in("ja"):
        assert JAPANESE.search(str(refusal(error))) and not re.search("[A-Za-z]", str(refusal(error)))


def test_a_reason_of_its_own_is_left_and_another_encoding_is_named_as_such() -> None:
    assert str(refusal(OSError(errno.EXDEV, "Invalid cross-device link"))) == "Invalid cross-device link"
    with pytest.raises(UnicodeDecodeError) as caught:
        "荷物".encode("cp932").decode("utf-8")
    with reading_in("en"):
        assert str(refusal(caught.value)) == "it is not UTF-8"


def test_a_text_that_is_too_long_for_a_name_is_no_file_wherever_a_file_or_a_text_may_stand(
    home: Path, tmp_path: Path
) -> None:
    long = ",".join(["word"] * 2000)
    assert not is_file(long) and not is_file("w" * 300) and not is_file("a\0b") and is_file(__file__)
    assert contestants._prompt("w" * 300) == "w" * 300
    assert deciding._options(long + ",other", []) == ["word", "other"]
    assert grading.check_specs(["banned_words:" + "w" * 300]) is None
    assert recording.change("default", {"graders": (f"banned_words:{long}",)}).graders == (f"banned_words:{long}",)
    (tmp_path / "recipe.yaml").write_text("model: m\ndata: d.jsonl\ntemplate: '{{ bos_token }}" + "w" * 300 + "'\n")
    assert load_recipe(tmp_path / "recipe.yaml", {}).template == "{{ bos_token }}" + "w" * 300


def test_the_file_whose_name_is_like_it_is_found(tmp_path: Path) -> None:
    (tmp_path / "mails.jsonl").touch()
    assert near(tmp_path / "mail.jsonl") == tmp_path / "mails.jsonl"
    assert near(tmp_path / "heldout.csv") is None
    assert near(tmp_path / "none" / "mail.jsonl") is None


@pytest.mark.parametrize(
    "words",
    [
        ("data", "check", "mail.jsonl"),
        ("train", "mail.jsonl"),
        ("generate", "M", "--data", "mail.jsonl"),
        ("cycle", "mail.jsonl"),
    ],
    ids=" ".join,
)
def test_the_command_line_names_the_file_that_may_be_meant(
    words: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("mails.jsonl").touch()
    done = worker.run(*words, home=tmp_path)
    assert done.code == 2 and "Did you mean " in done.err and "mails.jsonl?" in done.err, done.err


@pytest.mark.parametrize(
    ("words", "name"),
    [
        (("train", "recipe.yaml"), "recipe.yaml"),
        (("cycle", "cycle.yaml"), "cycle.yaml"),
        (("eval", "M", "--data", "rows.jsonl", "--grader", "grader.json"), "grader.json"),
    ],
    ids=lambda value: value if isinstance(value, str) else value[0],
)
def test_a_file_of_another_encoding_is_said_to_be_one(
    words: tuple[str, ...], name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("rows.jsonl").write_text('{"prompt": "a", "completion": "b"}\n')
    Path(name).write_bytes("name: 荷物\n".encode("cp932"))
    done = worker.run(*words, home=tmp_path)
    assert done.code == 2 and "not UTF-8" in done.err and "codec" not in done.err, done.err


def test_a_folder_in_place_of_a_file_is_called_one(tmp_path: Path) -> None:
    assert no_file(tmp_path).ja == f"{tmp_path} はフォルダーです。ファイルを指定してください。"
    assert no_file(tmp_path / "rows.jsonl").en.endswith("rows.jsonl is not a file.")
