"""The parser's own words in Japanese: no English sentence of typer's reaches a reader who asked for Japanese."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
import typer
from typer.core import TyperGroup

from sodate.cli import app, failures

ENGLISH = re.compile(r"Usage|Options|Arguments|Commands|Show this|\[required|\[default|COMMAND|ARGS")


def commands(command: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    yield path
    if isinstance(command, TyperGroup):
        for name, inner in command.commands.items():
            yield from commands(inner, (*path, name))


@pytest.mark.parametrize("path", list(commands(typer.main.get_command(app))), ids=" ".join)
def test_no_help_page_has_the_parsers_english_words_in_it(
    path: tuple[str, ...], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SODATE_LANG", "ja")
    assert failures.run(app, [*path, "--help"]) == 0
    page = capsys.readouterr().out
    assert page.startswith("使い方: sodate") and "この説明を表示して終了。" in page
    assert not ENGLISH.search(page), page


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("chta", "コマンド 'chta' はありません。'chat' のことですか?"),
        ("train --modle x", "オプション --modle はありません。近いもの: --method, --model, --name"),
        ("serve --qqqq", "オプション --qqqq はありません。"),
        ("train --model", "オプション --model に値を付けてください。"),
        ("serve --no-auth=3", "オプション --no-auth に値は付けられません。"),
        ("eval x", "--data を指定してください。"),
        ("chat", "model を指定してください。"),
        ("generate x y", "余分な引数があります: y"),
        ("generate x --samples 0", "--samples の値が正しくありません: 1 以上にしてください。"),
        ("generate x --samples abc", "--samples の値が正しくありません: 整数にしてください。"),
        ("generate x --temperature abc", "--temperature の値が正しくありません: 数にしてください。"),
        ("serve --port 99999", "--port の値が正しくありません: 65535 以下にしてください。"),
        (
            "data split a --train b --held-out c --by x",
            "--by の値が正しくありません: 'x' は 'hash', 'group', 'time' のどれでもありません。",
        ),
    ],
)
def test_what_is_wrong_with_a_command_is_said_in_japanese(
    words: str, said: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SODATE_LANG", "ja")
    assert failures.run(app, words.split()) == 2
    assert capsys.readouterr().err.splitlines()[0] == f"sodate: {said}"


def test_values_of_the_parsers_exceptions_are_said_without_its_own_prefix(capsys: pytest.CaptureFixture[str]) -> None:
    assert failures.run(app, ["data", "split", "a", "--train", "b", "--held-out", "c", "--by", "x"]) == 2
    assert "Invalid value for '--by': 'x' is not one of" in capsys.readouterr().err
