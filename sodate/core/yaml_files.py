"""YAML that a person wrote: keys with values, of bounded size, and an error that says where it goes wrong."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from sodate.core.errors import UsageError
from sodate.core.paths import refusal
from sodate.core.text import Sentence, en, ja, said_by, tr

MAX_CHARS = 1_000_000
MAX_DEPTH = 100  # of values within values
MAX_DIGITS = 1_000  # of a whole number: 1:1:1… takes time by its square, and Python says none of over 4300 digits


_FULL_WIDTH = tr("its colon is full width; write a plain one and a space",
                 "コロンが全角です。半角の「:」と空白にしてください")  # fmt: skip
_FAULTS = (  # a part of what the parser says, and what a person is told instead
    ("'\\t' that cannot start", tr("a tab; lines are indented by spaces", "タブがあります。字下げには空白を使います")),
    ("mapping values are not allowed", tr("a colon where none can be; text with one in it stands in quotes",
                                          "ここにコロンは置けません。コロンを含む文字列は引用符で囲みます")),
    ("could not find expected ':'", tr("a key without a colon and a space", "キーの後ろにコロンと空白がありません")),
    ("expected ',' or ", tr("a bracket that is not closed, or no comma between values",
                            "括弧が閉じていないか、値の間にカンマがありません")),
    ("expected <block end>", tr("the indentation differs from the lines before", "字下げが前の行とそろっていません")),
    ("unexpected end of stream", tr("a quote that is not closed", "引用符が閉じていません")),
    ("cannot start any token", tr("text that begins with this sign stands in quotes",
                                  "この記号で始まる文字列は引用符で囲みます")),
)  # fmt: skip


class _Fault(yaml.YAMLError):
    """What the parser found wrong, in both languages, and where."""

    def __init__(self, error: yaml.MarkedYAMLError, text: str) -> None:
        self.problem_mark = mark = error.problem_mark or error.context_mark
        problem = error.problem or str(error)
        what = next((said for part, said in _FAULTS if part in problem), tr(problem, problem))
        if mark is None:
            super().__init__(what)
            return
        lines = text.splitlines()[max(0, mark.line - 1) : mark.line + 1]
        if "expected ':'" in problem and any("：" in line for line in lines):
            what = _FULL_WIDTH
        line, column = mark.line + 1, mark.column + 1
        super().__init__(tr(f"line {line}, column {column}: {what.en}", f"{line} 行目の {column} 文字目: {what.ja}"))


class _Loader(yaml.SafeLoader):
    def construct_yaml_int(self, node: yaml.ScalarNode) -> int:
        if len(node.value) > MAX_DIGITS:
            raise ValueError(tr(f"a number of more than {MAX_DIGITS} digits", f"{MAX_DIGITS} 桁を超える数"))
        return super().construct_yaml_int(node)


_Loader.add_constructor("tag:yaml.org,2002:int", _Loader.construct_yaml_int)


def yaml_value(text: str) -> Any:
    """A YAML value of bounded size. YAMLError also on aliases, by which a few lines name millions of values, and on
    values that Python has none for, such as the 30th of February."""
    if len(text) > MAX_CHARS:
        raise yaml.YAMLError(tr(f"more than {MAX_CHARS} characters", f"{MAX_CHARS} 文字を超えています"))
    try:
        depth = 0
        for event in yaml.parse(text, _Loader):
            if isinstance(event, yaml.AliasEvent):
                raise yaml.YAMLError(tr("aliases (*name) are not read; write the value out",
                                        "エイリアス (*名前) は使えません。値をそのまま書いてください"))  # fmt: skip
            depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
            if depth > MAX_DEPTH:  # the scanner looks at all open levels at each token
                raise RecursionError
        loader = _Loader(text)
        try:
            return loader.get_single_data()
        finally:
            loader.dispose()
    except yaml.MarkedYAMLError as error:
        raise _Fault(error, text) from None
    except RecursionError:
        raise yaml.YAMLError(tr("nested too deeply", "入れ子が深すぎます")) from None
    except (ValueError, OverflowError) as error:
        raise yaml.YAMLError(str(error)) from None
    except (AttributeError, LookupError, TypeError):  # of a value that is not what its tag says: !!timestamp x
        raise yaml.YAMLError(tr("a value is not what its tag says", "値がタグの示す型ではありません")) from None


def keyless(value: Any) -> Sentence:
    """Why a document holds no keys, as a person may mend it."""
    if isinstance(value, str) and "：" in value:
        return _FULL_WIDTH
    if isinstance(value, str) and ":" in value:
        return tr("a space is missing after a colon", "コロンの後ろに空白がありません")
    return tr("it has no keys", "キーがありません")


def read_mapping(path: Path, what: Sentence, param: str, *, code: str) -> dict[Any, Any]:
    """The keys and values of a file. UsageError where it is not there, can't be read, or is something else; `what` the
    file is called then, and `code` says that it is malformed."""
    try:
        loaded = yaml_value(path.read_text("utf-8"))
    except FileNotFoundError:
        raise UsageError(
            tr(f"{en(what)} {path} is not there.", f"{ja(what)} {path} がありません。"),
            code="file_missing",
            param=param,
            file=path,
        ) from None
    except (OSError, UnicodeError) as error:
        why = refusal(error)
        raise UsageError(
            tr(f"{en(what)} {path} can't be read: {en(why)}.", f"{ja(what)} {path} を読めません: {ja(why)}"),
            code="file_unreadable",
            param=param,
            file=path,
        ) from None
    except yaml.YAMLError as error:
        raise UsageError(
            tr(f"{path} is not valid YAML: {en(said_by(error))}",
               f"{path} は正しい YAML ではありません: {ja(said_by(error))}"),
            code=code,
            param=param,
            file=path,
            line=_line(error),
        ) from None  # fmt: skip
    if not isinstance(loaded, dict):
        why = keyless(loaded)
        raise UsageError(
            tr(
                f"{path} is not a mapping of keys to values: {why.en}.",
                f"{path} がキーと値の対応になっていません: {why.ja}。",
            ),
            code=code,
            param=param,
            file=path,
        )
    return loaded


def _line(error: yaml.YAMLError) -> int | None:
    """The line, from 1, that the parser stopped at."""
    mark = getattr(error, "problem_mark", None)
    return mark.line + 1 if mark else None
