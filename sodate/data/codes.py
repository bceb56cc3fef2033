"""The one table of everything the data room can say about a row. Codes are stable: people script against them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, NamedTuple

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
    "packed-too-tight": _out(
        "The .gz file unpacks to more than {0} times its size; it is not read beyond this row. Unpack it yourself if "
        "that is meant to be so.",
        ".gz ファイルが元の {0} 倍を超える大きさに展開されるため、この行より先は読みません。"
        "意図した内容であれば、展開してから指定してください。",
    ),
    "file-kind": _warn(
        "By its content {0} is {1}, whatever its name says; it is read as that.",
        "{0} の内容は名前と異なり、{1}。内容に従って読みます。",
    ),
    "lone-surrogate": _out(
        "Contains half of a surrogate pair (such as \\ud83d alone), which is not a character. Repair the source text.",
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
        "見出しが「{0}」で区切られているので、その区切りで読みます。",
    ),
    "left-out": _warn("{0} is left out: {1}.", "{0}は使いません（{1}）。"),
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
        "{0} has {1}; weight is 0 or 1 (train, loss_mask and the like also true or false), only on assistant messages, "
        "and two such marks agree.",
        "{0}に {1} があります。weight は 0 か 1（train や loss_mask などは true / false も可）で、"
        "assistant のメッセージにだけ付けます。複数あるときは一致させてください。",
    ),
    "all-weights-zero": _out(
        "Every assistant message has weight 0, so nothing would be trained.",
        "すべての assistant メッセージの weight が 0 なので、学習するものがありません。",
    ),
    "tool-call-invalid": _out("{0}", "{0}"),
    "tool-ids": _warn("{0}", "{0}"),
    "unknown-tool": _warn(
        "{0} calls {1!r}, which is not among the row's tools.", "{0}が tools にない {1!r} を呼んでいます。"
    ),
    "missing-prompt": _out("There is no prompt.", "質問（プロンプト）がありません。"),
    "same-replies": _out(
        "Chosen and rejected are the same, so there is nothing to prefer.",
        "好ましい返答と好ましくない返答が同じで、比べるものがありません。",
    ),
    "unforeseen": _out(
        "The row could not be worked on, for a reason that was not foreseen ({0}). Please report it.",
        "想定外のエラーのため、この行を処理できませんでした（{0}）。不具合の可能性があるため、ご報告ください。",
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
    "reasoning-dropped": _warn(
        "The model's chat template has no place for the reasoning of a reply that is trained; it is left out. To train "
        "on it, write it into the content between <think> and </think>, or use a template that has a place for it.",
        "モデルの会話テンプレートには、学習する返答の思考過程（reasoning）を書く場所がないため、学習に含めません。"
        "含めるには、<think> と </think> で囲んで content に書くか、対応するテンプレートを使ってください。",
    ),
    "content-dropped": _warn(
        "The model's chat template leaves out what a reply says beside its tool calls; only the calls are trained.",
        "モデルの会話テンプレートは、ツール呼び出しと一緒に書かれた文を省きます。呼び出しだけを学習します。",
    ),
    "calls-in-turn": _warn(
        "The model's chat template writes one tool call a turn: parallel calls are trained one after the other, each "
        "followed by its result.",
        "モデルの会話テンプレートは 1 回の発言でツールを 1 つしか呼べません。"
        "並列の呼び出しは、結果をはさんで 1 つずつ順に学習します。",
    ),
    "tool-form": _warn(
        "The model's chat template has no form for tool calls that could be used here; they are written as text, "
        "between <tool_call> and </tool_call>, and the tools into the system turn.",
        "モデルの会話テンプレートに、ここで使えるツール呼び出しの形式がありません。"
        "呼び出しは <tool_call> と </tool_call> で囲んだ文字列として、ツールの一覧は system の発言に書きます。",
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
        "The prompt is almost that of the held-out {0}, or one is within the other, with another answer. It is "
        "kept; look whether the held-out file is really new to the model.",
        "評価用の {0}と質問がほとんど同じか、一方が他方を含みます（答えは違います）。"
        "行は使いますが、評価用ファイルが本当に未知の問題か確かめてください。",
    ),
    "held-out-unreadable": _warn(
        "This held-out row could not be compared with the training rows: {0}",
        "この評価用の行は学習データと照合できませんでした: {0}",
    ),
    "outlier": _warn(
        "{0} characters, {1} times the median of {2}. Are several rows in one, or text that does not belong here?",
        "{0} 文字あり、中央値 {2} 文字の {1} 倍です。複数の行がつながったか、無関係な文章が混ざっていませんか。",
    ),
    "says-held-out": _warn(
        "The row says {0}, as one for evaluation does. It is used; take it out if it is not for training.",
        "この行には「{0}」とあり、評価用のようです。行は使いますが、学習用でなければ除いてください。",
    ),
    # Personal data
    "pii-email": _warn("Looks like an e-mail address ({0}).", "メールアドレスらしきものがあります（{0}）。"),
    "pii-phone": _warn("Looks like a phone number ({0}).", "電話番号らしきものがあります（{0}）。"),
    "pii-card": _warn("Looks like a payment card number ({0}).", "カード番号らしきものがあります（{0}）。"),
    "pii-my-number": _warn("Looks like a My Number ({0}).", "マイナンバーらしきものがあります（{0}）。"),
    "pii-name": _warn("Looks like a person's name ({0}).", "人名らしきものがあります（{0}）。"),
    "pii-address": _warn("Looks like a postal address ({0}).", "住所らしきものがあります（{0}）。"),
    "pii-birthday": _warn("Looks like a date of birth ({0}).", "生年月日らしきものがあります（{0}）。"),
    "pii-driver-licence": _warn(
        "Looks like the number of a driving licence ({0}).", "運転免許証番号らしきものがあります（{0}）。"
    ),
    "pii-passport": _warn("Looks like the number of a passport ({0}).", "旅券番号らしきものがあります（{0}）。"),
    "pii-bank-account": _warn("Looks like a bank account ({0}).", "口座番号らしきものがあります（{0}）。"),
    "pii-pension": _warn("Looks like a pension number ({0}).", "基礎年金番号らしきものがあります（{0}）。"),
    "pii-health-insurance": _warn(
        "Looks like a number of health insurance ({0}).", "健康保険の記号・番号らしきものがあります（{0}）。"
    ),
    "pii-residence-card": _warn(
        "Looks like the number of a residence card ({0}).", "在留カード番号らしきものがあります（{0}）。"
    ),
    # Splitting
    "bad-time": _out(
        "{0!r} in column {1!r} is not a time; write it like 2026-01-31 or 2026-01-31T09:00:00+09:00.",
        "列「{1}」の {0!r} は日時として読めません。2026-01-31 や 2026-01-31T09:00:00+09:00 のように書いてください。",
    ),
    # Versions of a dataset
    "held-out-row": _out(
        "{0} has it among its held-out rows ({1}, {2}); what is measured with is never trained on.",
        "{0} の評価用の行（{1}、{2}）に当たります。測定に使う行は学習に使いません。",
    ),
    "trained-row": _out(
        "{0} has it among its training rows ({1}, {2}); a held-out row has to be unknown.",
        "{0} の学習用の行（{1}、{2}）に当たります。評価用の行は未知でなければなりません。",
    ),
    "known-row": _out("The dataset has it already, as {0}.", "このデータセットに {0} としてすでにあります。"),
    "my-number-row": _out(
        "It has a My Number, which is kept in no dataset. `sodate data mask` removes it.",
        "マイナンバーを含みます。データセットには保存しません。`sodate data mask` で取り除けます。",
    ),
    "unreviewed-row": _out(
        "No person has reviewed it; --unreviewed takes it all the same.",
        "人が確認していません。--unreviewed を付ければ加えます。",
    ),
}
