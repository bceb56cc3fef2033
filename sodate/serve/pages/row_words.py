"""What is said of a row, in a word or two: the names of codes of the ledger, and of kinds of personal data."""

from __future__ import annotations

from sodate.core.text import tr

PERSONAL = {
    "email": tr("e-mail address", "メールアドレス"),
    "phone": tr("phone number", "電話番号"),
    "card": tr("payment card number", "カード番号"),
    "my-number": tr("My Number", "マイナンバー"),
    "name": tr("name of a person", "人名"),
    "address": tr("postal address", "住所"),
    "birthday": tr("date of birth", "生年月日"),
    "driver-licence": tr("driving licence number", "運転免許証番号"),
    "passport": tr("passport number", "旅券番号"),
    "bank-account": tr("bank account", "口座番号"),
    "pension": tr("pension number", "基礎年金番号"),
    "health-insurance": tr("health insurance number", "健康保険の記号・番号"),
    "residence-card": tr("residence card number", "在留カード番号"),
}
CODES = {
    "encoding": tr("encoding", "文字コード"),
    "bom": tr("byte order mark", "BOM"),
    "encoding-ignored": tr("encoding not applied", "文字コードの指定は不使用"),
    "truncated-gzip": tr("cut-off .gz", "途切れた .gz"),
    "line-too-long": tr("line too long", "長すぎる行"),
    "packed-too-tight": tr(".gz unpacks too far", "展開が大きすぎる .gz"),
    "file-kind": tr("other kind of file", "名前と異なる形式"),
    "lone-surrogate": tr("half a character", "文字の片割れ"),
    "nul": tr("NUL character", "NUL 文字"),
    "invalid-json": tr("not JSON", "JSON でない"),
    "duplicate-key": tr("key twice", "キーの重複"),
    "bad-number": tr("no such number", "扱えない数"),
    "too-deep": tr("nested too deep", "深すぎる入れ子"),
    "not-an-object": tr("not an object", "オブジェクトでない"),
    "invalid-csv": tr("not CSV", "CSV でない"),
    "delimiter": tr("delimiter", "区切り文字"),
    "left-out": tr("part left out", "一部を不使用"),
    "wrong-columns": tr("wrong number of fields", "項目数の違い"),
    "unknown-format": tr("unknown format", "不明な形式"),
    "missing-column": tr("column missing", "列の不足"),
    "bad-type": tr("wrong type", "型の違い"),
    "unpaired-preference": tr("reply with a verdict", "良否の付いた返答"),
    "not-ranked": tr("no ranks", "順位なし"),
    "no-order": tr("all of one rank", "すべて同順位"),
    "no-messages": tr("no messages", "メッセージなし"),
    "missing-role": tr("no role", "role なし"),
    "wrong-role": tr("wrong role", "role の誤り"),
    "missing-content": tr("no content", "content なし"),
    "not-text": tr("not text", "文章でない"),
    "no-assistant-reply": tr("no reply", "返答なし"),
    "empty-reply": tr("empty reply", "空の返答"),
    "last-not-assistant": tr("reply is not last", "最後が返答でない"),
    "role-order": tr("order of roles", "発言の順序"),
    "empty-prompt": tr("empty prompt", "空の質問"),
    "unknown-key": tr("unknown key", "未知のキー"),
    "bad-weight": tr("wrong weight", "weight の誤り"),
    "all-weights-zero": tr("nothing to train", "学習箇所なし"),
    "tool-call-invalid": tr("wrong tool call", "ツール呼び出しの誤り"),
    "tool-ids": tr("ids of tool calls", "ツール呼び出しの ID"),
    "unknown-tool": tr("unknown tool", "未知のツール"),
    "missing-prompt": tr("no prompt", "質問なし"),
    "same-replies": tr("same two replies", "同じ二つの返答"),
    "unforeseen": tr("unforeseen", "想定外"),
    "over-length": tr("too long", "長すぎる"),
    "template-refuses": tr("refused by the template", "テンプレートが拒否"),
    "reasoning-dropped": tr("reasoning left out", "思考過程を省略"),
    "content-dropped": tr("text left out", "文を省略"),
    "calls-in-turn": tr("tool calls in turn", "ツール呼び出しを順に"),
    "tool-form": tr("tool calls as text", "ツール呼び出しを文字列に"),
    "control-token": tr("control token", "制御トークン"),
    "exact-duplicate": tr("duplicate", "重複"),
    "near-duplicate": tr("almost a duplicate", "ほぼ重複"),
    "conflict": tr("conflict", "矛盾"),
    "leak": tr("held-out row", "評価用の行"),
    "near-leak": tr("almost a held-out row", "評価用にほぼ同じ行"),
    "held-out-unreadable": tr("held-out row unreadable", "読めない評価用の行"),
    "outlier": tr("unusual length", "飛び抜けた長さ"),
    "says-held-out": tr("marked for evaluation", "評価用の印"),
    "bad-time": tr("not a time", "日時でない"),
    "held-out-row": tr("held out elsewhere", "ほかで評価用"),
    "trained-row": tr("trained elsewhere", "ほかで学習用"),
    "known-row": tr("known already", "登録済み"),
    "my-number-row": tr("My Number", "マイナンバー"),
    "unreviewed-row": tr("not reviewed", "未確認"),
    **{f"pii-{kind}": word for kind, word in PERSONAL.items()},
}


def code_word(code: str) -> str:
    """The name of a code of the ledger."""
    return str(CODES.get(code, code))


def personal_word(kind: str) -> str:
    """The name of a kind of personal data."""
    return str(PERSONAL.get(kind, kind))
