"""The parser's own words, of help pages and of what is wrong with a command, in Japanese: typer has only English."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import typer
from typer.core import TyperCommand, TyperGroup

from sodate.core.text import Sentence, language, tr

Function = TypeVar("Function", bound=Callable[..., Any])

_HELP = [
    (r"^Usage: (.*)$", r"使い方: \1"),
    (r"^Arguments:$", "引数:"),
    (r"^Options:$", "オプション:"),
    (r"^Commands:$", "コマンド:"),
    (r"\[OPTIONS\]", "[オプション]"),
    (r" COMMAND \[ARGS\]\.\.\.", " コマンド [引数]..."),
    (r"Show this message and exit\.", "この説明を表示して終了。"),
    (r"\[required\]", "[必須]"),
    (r"\[default:(?=\s)", "[既定:"),
]
# The first verbs of a page, in the order in which they are needed.
SECTIONS: tuple[tuple[Sentence, tuple[str, ...]], ...] = (
    (tr("Data", "データ"), ("data", "index", "import")),
    (tr("Train", "学習"), ("models", "train", "runs", "versions", "plan")),
    (tr("Measure", "評価"), ("eval", "reports", "ladder", "ladders", "judge", "why")),
    (tr("Use", "利用"), ("chat", "generate", "decide", "export")),
    (tr("Serve", "サーバー"), ("serve", "keys", "link", "worker", "projects")),
    (tr("Release and improve", "公開と改善"), ("gate", "release", "logs", "learn", "cycle", "overview")),
    (tr("Look after it", "保守"), ("doctor", "backup", "restore")),
)
_SAID = [
    (r"No such command (.+?)\.", r"コマンド \1 はありません。"),
    (r" ?Did you mean (.+)\?", r"\1 のことですか?"),
    (r"No such option: (\S+)", r"オプション \1 はありません。"),
    (r" ?\(Possible options: (.+)\)", r"近いもの: \1"),
    (r"Missing command\.", "コマンドを指定してください。"),
    (r"Missing (?:option|argument|parameter) '?([^'.]+)'?\.", r"\1 を指定してください。"),
    (r"Got unexpected extra argument\(s\) \((.+)\)", r"余分な引数があります: \1"),
    (r"Option '?([^' ]+)'? requires an argument\.", r"オプション \1 に値を付けてください。"),
    (r"Option '?([^' ]+)'? requires (\d+) arguments\.", r"オプション \1 に値を \2 個付けてください。"),
    (r"Option '?([^' ]+)'? does not take a value\.", r"オプション \1 に値は付けられません。"),
    (r"Argument '?([^' ]+)'? takes (\d+) values\.", r"引数 \1 には値を \2 個指定してください。"),
    (r"Invalid value for '?([^':]+)'?: ", r"\1 の値が正しくありません: "),
    (r"(.+) is not one of (.+)\.", r"\1 は \2 のどれでもありません。"),
    (r"Input should be greater than or equal to (\S+)", r"\1 以上にしてください。"),
    (r"Input should be less than or equal to (\S+)", r"\1 以下にしてください。"),
    (r"Input should be greater than (\S+)", r"\1 より大きくしてください。"),
    (r"Input should be less than (\S+)", r"\1 より小さくしてください。"),
    (r"Input should be a valid integer.*", "整数にしてください。"),
    (r"Input should be a valid number.*", "数にしてください。"),
    (r"Input should be a valid boolean.*", "真偽値にしてください。"),
]


def said(message: str) -> str:
    """What the parser says of a command, in Japanese as far as it is known here."""
    return _put(_SAID, message)


class Command(TyperCommand):
    """A command whose help page is in the reader's language."""

    def get_help(self, ctx: Any) -> str:
        return _page(super().get_help(ctx))


class Group(TyperGroup):
    """The same of a group of commands. Those of SECTIONS are listed under their headings."""

    def get_help(self, ctx: Any) -> str:
        return _page(super().get_help(ctx))

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        listed = self.list_commands(ctx)
        if not set(SECTIONS[0][1]) <= set(listed):
            return super().format_commands(ctx, formatter)
        width = max(map(len, listed))
        limit = formatter.width - 6 - width
        rest = tuple(name for name in listed if not any(name in names for _, names in SECTIONS))
        for heading, names in (*SECTIONS, *([(tr("More", "その他"), rest)] if rest else [])):
            rows = [(name.ljust(width), self.commands[name].get_short_help_str(limit)) for name in names]
            with formatter.section(str(heading)):
                formatter.write_dl(rows)
        return None


class Verbs(typer.Typer):
    """Commands and groups of this kind."""

    def __init__(self, **options: Any) -> None:
        super().__init__(cls=Group, no_args_is_help=True, **options)

    def command(self, name: str | None = None, **options: Any) -> Callable[[Function], Function]:
        return super().command(name, cls=Command, **options)


def _page(text: str) -> str:
    return _put(_HELP, text) if language() == "ja" else text


def _put(table: Sequence[tuple[str, str]], text: str) -> str:
    for pattern, japanese in table:
        text = re.sub(pattern, japanese, text, flags=re.MULTILINE)
    return text
