"""Japanese questions in other words, by a table: no model, the same ones every time.

    python bench/paraphrases.py QUESTIONS.jsonl [--kana] > PARAPHRASED.jsonl

Rows are {"question", …} and get `paraphrases`: the question with its words exchanged for others that mean the same,
native for Sino-Japanese ones and the other way round, and its end asked differently. Names, numbers and terms of art
stay: nobody can ask for them otherwise. Rows in which nothing could be exchanged get none. How much is exchanged is
printed to standard error: the share of the characters' pairs of a question that its paraphrase does not have. With
--kana every other word of kanji is spelt in hiragana, as in questions that are typed in a hurry (needs the package
pykakasi): 梅雨 is asked for as つゆ or ばいう, which no dictionary-free index can know.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from pathlib import Path

# Longer ones first: what was put in is not exchanged again.
TABLE = """
何と呼ばれて→どういう名で知られて 何と呼ばれる→どういう名で知られる 何というか→どんな名前か
何という→どんな名前の 何と言う→どんな名前と言う 何年に→いつの年に 何年→いつの年 何人→どれだけの人
何歳→いくつの年齢 どのように→どうやって どのような→どういった どのくらい→いかほど どれくらい→いかほど
どこで→どの場所で どこに→どの場所に どこの→どの場所の どこか→どの場所か どこ→どの場所 誰が→どの人物が
誰か→どの人物か 誰→どの人物 いつ→どの時期 なぜ→どういうわけで 生まれた→誕生した 誕生した→生まれた
作られた→製作された 作った→製作した 製作した→こしらえた 建てられた→建設された 建設された→造られた
建設→造営 始まった→開始された 開始された→スタートした 始めた→開始した 終わった→終了した
終了した→おしまいになった 亡くなった→死去した 死亡した→命を落とした 死去→逝去 発見された→見つかった
発見した→見つけた 使われて→用いられて 使われる→用いられる 使用された→使われた 使用される→使われる
使用→利用 利用→活用 呼ばれた→称された 呼ばれて→称されて 呼ばれる→称される 呼び名→名称 名称→呼び名
別名→異名 名前→名 行われた→実施された 行われる→実施される 行われて→実施されて 開催された→開かれた
設立された→つくられた 設立→創設 創設→設立 所属→在籍 住んで→居住して 増えた→増加した 減った→減少した
増加→増大 減少→低下 大きい→巨大な 多い→たくさんある 一番→最も 最も→一番 最初→はじめ 最後→おしまい
初めて→最初に 主に→おもなところでは 種類→タイプ 理由→わけ 原因→もと 目的→ねらい 場所→位置 期間→あいだ
時期→ころ 役割→はたらき 特徴→持ち味 影響→作用 意味→わけあい 国→国家 都市→まち 町→まち 人物→人
書いた→執筆した 出版された→刊行された 放送された→放映された 放送→放映 演じた→扮した 担当した→受け持った
勝利した→勝った 優勝した→一位になった 負けた→敗れた 決まった→決定した 変わった→変化した
含まれる→入っている 存在する→ある 位置する→ある 属する→入る 与えられた→授けられた 選ばれた→選出された
登場→出現 戦争→いくさ
"""
WORDS = [(one, other) for one, _, other in (pair.partition("→") for pair in TABLE.split())]
ENDS = (
    (r"は何(?:です|でしょう)?か[?？]?$", "とは何のことでしょうか"), (r"は何[?？]?$", "って何のこと"),
    (r"は誰(?:です|でしょう)?か[?？]?$", "とはどの人物のことでしょうか"),
    (r"はどこ(?:です|でしょう)?か[?？]?$", "はどの場所なのでしょうか"),
    (r"はいつ(?:です|でしょう)?か[?？]?$", "はどの時期のことでしょうか"), (r"ですか[?？]?$", "なのでしょうか"),
    (r"ますか[?？]?$", "るのでしょうか"), (r"たか[?？]?$", "たのでしょうか"),
)  # fmt: skip
_WORD = re.compile("|".join(sorted((re.escape(one) for one, _ in WORDS), key=len, reverse=True)))
_OTHER = dict(WORDS)


def paraphrase(question: str) -> str:
    """The question in other words; itself where the table has none of its words."""
    text = question.strip()
    for pattern, other in ENDS:
        text, count = re.subn(pattern, other, text)
        if count:
            break
    return _WORD.sub(lambda found: _OTHER[found[0]], text)


def in_kana(question: str) -> str:
    """Every other word of kanji, the first among them, in hiragana."""
    import pykakasi

    text, number = [], 0
    for part in pykakasi.kakasi().convert(question):
        kanji = re.search("[一-鿿]", part["orig"]) is not None
        text.append(part["hira"] if kanji and number % 2 == 0 else part["orig"])
        number += kanji
    return "".join(text)


def changed(question: str, other: str) -> float:
    """The share of the question's pairs of characters that are not in the other."""
    one, two = ({text[at : at + 2] for at in range(len(text) - 1)} for text in (question, other))
    return len(one - two) / max(len(one), 1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("questions", type=Path)
    parser.add_argument("--kana", action="store_true")
    given = parser.parse_args()
    rows = [json.loads(line) for line in given.questions.read_text().splitlines()]
    shares = []
    for row in rows:
        other = in_kana(row["question"]) if given.kana else paraphrase(row["question"])
        if other != row["question"]:
            row["paraphrases"] = [other]
            shares.append(changed(row["question"], other))
        row["passage"] = row.get("passage_id", row.get("passage"))
        print(json.dumps(row, ensure_ascii=False))
    print(f"{len(shares)} of {len(rows)} questions, {sum(shares) / len(shares):.2f} of their pairs", file=sys.stderr)


if __name__ == "__main__":
    main()
