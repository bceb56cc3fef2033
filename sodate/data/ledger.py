"""The ledger: rows in = rows used + rows set aside, each of those with file, line, code and a sentence that helps.

`CODES` is the one table of everything the data room can say about a row. Codes are stable: people script against them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

from sodate.core.text import Sentence, tr

Severity = Literal["set-aside", "warning"]


class Code(NamedTuple):
    """How bad it is, and the sentence in both languages; `{0}`, `{1}` are filled from a problem's `args`."""

    severity: Severity
    en: str
    ja: str


def _out(en: str, ja: str) -> Code:
    return Code("set-aside", en, ja)


def _warn(en: str, ja: str) -> Code:
    return Code("warning", en, ja)


CODES: Mapping[str, Code] = {
    # Bytes and text
    "encoding": _out("{0}", "{0}"),
    "bom": _warn(
        "Starts with a UTF-8 byte order mark (BOM); it is left out.",
        "UTF-8 の BOM（バイト順マーク）があります。取り除いて読みます。",
    ),
    "encoding-ignored": _warn(
        "This file is UTF-8 already, so --encoding {0} is not applied to it: that would garble the text.",
        "このファイルはすでに UTF-8 なので、--encoding {0} は適用しません（文字化けするため）。",
    ),
    "truncated-gzip": _out(
        "The .gz file is cut off or damaged here ({0}); whatever came after is missing. Fetch the file again.",
        ".gz ファイルがここで途切れているか壊れています（{0}）。以降の行は読めません。ファイルを取得し直してください。",
    ),
    "line-too-long": _out(
        "The row is longer than {0} MiB and was skipped without loading it. Is a line break missing?",
        "1 行が {0} MiB を超えるため読み飛ばしました。改行が抜けていませんか。",
    ),
    "lone-surrogate": _out(
        "Contains half of a surrogate pair (such as \\ud83d alone), which is no character. Repair the source text.",
        "サロゲートペアの片割れ（\\ud83d 単独など）が含まれています。文字にならないので、元の文を直してください。",
    ),
    "nul": _out(
        "Contains a NUL character (\\u0000). Remove it: many tools cut text there.",
        "NUL 文字（\\u0000）が含まれています。多くのツールがそこで文を切るため、取り除いてください。",
    ),
    # JSON, CSV, Parquet
    "invalid-json": _out("Not valid JSON: {0}", "JSON として読めません: {0}"),
    "duplicate-key": _out(
        'The key "{0}" appears twice in one object, so it is unclear which value counts.',
        "同じオブジェクトにキー「{0}」が 2 回あり、どちらの値が正しいか決められません。",
    ),
    "bad-number": _out(
        "{0} is not a number JSON can carry (NaN, Infinity and numbers beyond 1e308 are not).",
        "{0} は JSON で扱えない数です（NaN、Infinity、1e308 を超える数など）。",
    ),
    "too-deep": _out(
        "Nested deeper than {0} levels; no training row needs that.",
        "{0} 段を超える入れ子です。学習データとしては深すぎます。",
    ),
    "not-an-object": _out(
        'A row must be a JSON object such as {{"messages": [...]}}, but this is {0}.',
        '1 行は {{"messages": [...]}} のような JSON オブジェクトにしてください。ここにあるのは {0} です。',
    ),
    "invalid-csv": _out(
        "Not a valid CSV row: {0}. A quote inside a quoted field is written twice.",
        'CSV の行として読めません: {0}。引用符で囲んだ中の " は 2 つ重ねて書きます。',
    ),
    "delimiter": _warn(
        "The header is separated by {0}, so the file is read with that.",
        "見出しが{0}区切りなので、その区切りで読みます。",
    ),
    "wrong-columns": _out(
        "The row has {0} fields, the header has {1}. Is a comma or line break missing its quotes?",
        "この行は {0} 項目ですが、見出しは {1} 項目です。引用符で囲んでいないカンマや改行がありませんか。",
    ),
    # Shape of the row
    "unknown-format": _out(
        "The row does not fit {0}: {1}",
        "この行は{0}に合いません: {1}",
    ),
    "missing-column": _out('The column "{0}" is missing or empty.', "列「{0}」がないか、空です。"),
    "bad-type": _out("{0} must be {1}, but it is {2}.", "{0} は {1} にしてください。ここにあるのは {2} です。"),
    "unpaired-preference": _out(
        "Has a reply and a true/false label, which would be trained as if every reply were good. Named `prompt`, "
        "`completion` and `label` it is data for method=kto; the good rows without `label` are for method=sft.",
        "返答と真偽の label を持つ行です。このまま学習すると悪い返答も学んでしまいます。"
        "列名を prompt・completion・label にすれば method=kto で使えます。"
        "method=sft には良い行だけを label なしで残してください。",
    ),
    "not-ranked": _out(
        "The replies are not ranked: give `ranks`, one number for each (1 is best, equal numbers are a tie).",
        "返答に順位がありません。ranks に返答ごとの順位を書いてください (1 が最良、同順位は同じ数)。",
    ),
    "no-order": _warn(
        "No reply is ranked above another, so no pair can be learnt from it.",
        "上下の順位が付いた返答がないため、組としては何も学べません。",
    ),
    "no-messages": _out("There are no messages.", "メッセージがありません。"),
    "missing-role": _out('{0} has no "role".', "{0}に role がありません。"),
    "wrong-role": _out(
        "{0} has the role {1!r}; use system, user, assistant or tool.{2}",
        "{0}の role が {1!r} です。system / user / assistant / tool のどれかにしてください。{2}",
    ),
    "missing-content": _out("{0} has no content.", "{0}に content がありません。"),
    "not-text": _out(
        "{0} holds a part of type {1!r}; only text can be trained here.",
        "{0}に {1!r} の部品があります。ここで学習できるのは文章だけです。",
    ),
    "no-assistant-reply": _out(
        "There is no assistant reply to learn from.", "お手本になる assistant の返答がありません。"
    ),
    "empty-reply": _out("{0} is an empty reply.", "{0}の返答が空です。"),
    "last-not-assistant": _warn(
        "The last message is from {0}; what comes after the last assistant reply teaches nothing.",
        "最後のメッセージが {0} です。最後の assistant の返答より後ろは学習されません。",
    ),
    "role-order": _warn("{0}", "{0}"),
    "empty-prompt": _warn("The prompt is empty.", "質問（プロンプト）が空です。"),
    "unknown-key": _warn(
        "{0} has keys that are not used: {1}. Is one misspelt?",
        "{0}に使われないキーがあります: {1}。綴りの間違いではありませんか。",
    ),
    "bad-weight": _out(
        "{0} has weight {1}; weight is 0 or 1 and only on assistant messages.",
        "{0}の weight が {1} です。weight は assistant のメッセージにだけ、0 か 1 で付けます。",
    ),
    "all-weights-zero": _out(
        "Every assistant message has weight 0, so nothing would be trained.",
        "すべての assistant メッセージの weight が 0 なので、学習するものがありません。",
    ),
    "tool-call-invalid": _out("{0}", "{0}"),
    "unknown-tool": _warn(
        "{0} calls {1!r}, which is not among the row's tools.", "{0}が tools にない {1!r} を呼んでいます。"
    ),
    "missing-prompt": _out("There is no prompt.", "質問（プロンプト）がありません。"),
    "same-replies": _out(
        "Chosen and rejected are the same, so there is nothing to prefer.",
        "選ばれた返答と選ばれなかった返答が同じで、比べるものがありません。",
    ),
    # The model's view
    "over-length": _out(
        "{0} tokens, more than the limit of {1}. Targets are never cut off; shorten the row or raise max_length.",
        "{0} トークンあり、上限の {1} を超えます。お手本は途中で切りません。"
        "行を短くするか max_length を上げてください。",
    ),
    "template-refuses": _out(
        "The model's chat template does not accept this row: {0}",
        "モデルの会話テンプレートがこの行を受け付けません: {0}",
    ),
    "control-token": _warn(
        "The text contains {0}, a control token of the model; it is trained as plain text, not as a control token.",
        "文中にモデルの制御トークン {0}があります。制御ではなく、ただの文字として学習されます。",
    ),
    # Between rows
    "exact-duplicate": _out("The same as {0}.", "{0}と同じです。"),
    "near-duplicate": _warn("Almost the same as {0}.", "{0}とほとんど同じです。"),
    "conflict": _warn(
        "The same prompt as {0} with another answer: the model learns both by halves.",
        "{0}と同じ質問に別の答えが付いています。モデルはどちらも中途半端に覚えます。",
    ),
    "leak": _out(
        "{1} the held-out {0}; training on it would make the evaluation worthless.",
        "評価用の {0}{1}。学習に使うと評価の意味がなくなります。",
    ),
    "near-leak": _warn(
        "The prompt is almost that of the held-out {0}, with another answer. It is kept; look whether the held-out "
        "file is really new to the model.",
        "評価用の {0}と質問がほとんど同じです（答えは違います）。"
        "行は使いますが、評価用ファイルが本当に未知の問題か確かめてください。",
    ),
    "held-out-unreadable": _warn(
        "This held-out row could not be compared with the training rows: {0}",
        "この評価用の行は学習データと照合できませんでした: {0}",
    ),
    # Personal data
    "pii-email": _warn("Looks like an e-mail address ({0}).", "メールアドレスらしきものがあります（{0}）。"),
    "pii-phone": _warn("Looks like a phone number ({0}).", "電話番号らしきものがあります（{0}）。"),
    "pii-card": _warn("Looks like a payment card number ({0}).", "カード番号らしきものがあります（{0}）。"),
    "pii-my-number": _warn("Looks like a My Number ({0}).", "マイナンバーらしきものがあります（{0}）。"),
    "pii-name": _warn("Looks like a person's name ({0}).", "人名らしきものがあります（{0}）。"),
    "pii-address": _warn("Looks like a postal address ({0}).", "住所らしきものがあります（{0}）。"),
    # Splitting
    "bad-time": _out(
        "{0!r} in column {1!r} is not a time; write it like 2026-01-31 or 2026-01-31T09:00:00+09:00.",
        "列「{1}」の {0!r} は日時として読めません。2026-01-31 や 2026-01-31T09:00:00+09:00 のように書いてください。",
    ),
}


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing to say about one row. The sentence is made only when asked for, so that a million stay small."""

    file: str
    line: int
    code: str
    args: tuple[str | int, ...] = ()

    @property
    def severity(self) -> Severity:
        return CODES[self.code].severity

    @property
    def message(self) -> Sentence:
        code = CODES[self.code]
        return tr(code.en, code.ja).format(*self.args)

    def to_json(self) -> dict[str, Any]:
        return {"file": self.file, "line": self.line, "code": self.code, "message": str(self.message)}


class RowError(Exception):
    """A row that cannot be used. Raised while a row is parsed, turned into a Problem where its line is known."""

    def __init__(self, code: str, *args: str | int) -> None:
        super().__init__(code, *args)
        self.code = code
        self.details = args


@dataclass(slots=True)
class Ledger:
    """What happened to every row. Law: `rows_in == rows_used + len(set_aside)`. No entry is ever dropped."""

    rows_in: int = 0
    rows_used: int = 0
    set_aside: list[Problem] = field(default_factory=list)
    warnings: list[Problem] = field(default_factory=list)

    def use(self) -> None:
        self.rows_in += 1
        self.rows_used += 1

    def add(self, problem: Problem) -> None:
        """A row set aside counts as a row in; a warning belongs to a row that is counted elsewhere."""
        if problem.severity == "warning":
            self.warnings.append(problem)
        else:
            self.rows_in += 1
            self.set_aside.append(problem)
