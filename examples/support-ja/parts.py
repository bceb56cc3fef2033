"""お客様対応の例文の部品。すべて架空で、学習・検証・評価の三つの組は商品も症状も言い回しも共有しません。

The hand-written parts of the customer-support example: three sets that share no product, symptom or phrase. All is
invented. To teach your own house tone, replace these lists; `make.py` does the rest.
"""

from __future__ import annotations

from dataclasses import dataclass

from cases import TRAIN_CASES, Case
from unseen import HELDOUT_CASES, VALID_CASES


@dataclass(frozen=True)
class Parts:
    """Everything one set of conversations is written from."""

    cases: list[Case]
    before: list[str]  # お客様の前置き。{product} を使える
    before_goods: list[str]  # 前置きのうち、品物にだけ合うもの
    after: list[str]  # お客様の結び
    after_goods: list[str]
    apology: list[str]  # お詫び。{product} {issue} {said} を使える
    apology_goods: list[str]
    check: list[str]  # {check} を使える
    lead: list[str]  # 手順の前置き
    close: list[str]  # 安心していただくための結び
    close_goods: list[str]


TRAIN = Parts(
    before=[
        "",
        "",
        "{product}のことで相談です。",
        "お世話になります。",
        "はじめまして。",
        "{product}についてです。",
        "急ぎです！",
    ],
    before_goods=["先月そちらで{product}を買いました。", "家族に{product}を贈りました。"],
    after=["", "どうしたらいいですか。", "困っています。", "よろしくお願いします。"],
    after_goods=["直し方を教えてください。", "故障でしょうか？"],
    apology=[
        "このたびはご不便をおかけし、誠に申し訳ございません。",
        "{said}、ご迷惑をおかけして申し訳ございません。",
        "ご連絡ありがとうございます。{product}の件でご心配をおかけし、申し訳ございません。",
        "お困りのところご連絡いただき、ありがとうございます。ご不便をお詫びいたします。",
    ],
    apology_goods=["せっかくお選びいただいたところ、ご期待に沿えず、心よりお詫び申し上げます。"],
    check=[
        "まず、{check}をご確認ください。",
        "恐れ入りますが、はじめに{check}をご確認いただけますか。",
        "お手数ですが、{check}をご確認ください。",
    ],
    lead=[
        "続いて、次の手順をお試しください。",
        "そのうえで、以下の順にお願いいたします。",
        "次に、こちらの手順をお試しください。",
    ],
    close=[
        "改善しない場合は、サポート窓口で引き続きお手伝いいたしますので、ご安心ください。",
        "ご不明な点は、いつでもサポート窓口へお知らせください。",
        "その後の進め方も、サポート窓口でご案内いたしますので、ご安心ください。",
    ],
    close_goods=["保証期間内は、保証規定に基づき無料で修理を承りますので、ご安心ください。"],
    cases=TRAIN_CASES,
)

VALID = Parts(
    before=["", "{product}の件で書いています。", "ちょっと聞きたいのですが、"],
    before_goods=["{product}の調子が悪いです。"],
    after=["", "見てもらえますか。", "対処法が知りたいです。"],
    after_goods=[],
    apology=[
        "{product}でお手間を取らせてしまい、申し訳ございません。",
        "{issue}とのご連絡を承りました。ご不便をおかけし、お詫び申し上げます。",
    ],
    apology_goods=[],
    check=["最初に、{check}のご確認をお願いいたします。", "念のため、{check}をご確認ください。"],
    lead=["お手元で、次の手順をお試しください。", "それから、この順にお進みください。"],
    close=[
        "それでも気になる点が残りましたら、サポート窓口が対応いたしますので、ご安心ください。",
        "担当者がお手伝いいたしますので、ご安心ください。",
    ],
    close_goods=[],
    cases=VALID_CASES,
)

HELDOUT = Parts(
    before=["", "", "こんにちは、", "至急お願いしたいのですが、", "夜分に失礼します。"],
    before_goods=["{product}を愛用している者です。", "うちの{product}が変です。", "{product}、使い始めて三か月です。"],
    after=["", "原因は何だと思いますか。", "がっかりです。", "返事待ってます。"],
    after_goods=["交換したほうがいいでしょうか。"],
    apology=[
        "ご期待に添えず、誠に申し訳なく存じます。深くお詫びいたします。",
        "{said}、さぞお困りのことと存じます。大変申し訳ございません。",
        "お手を煩わせてしまい、深くお詫び申し上げます。",
    ],
    apology_goods=[],
    check=[
        "恐れ入りますが、{check}をご確認いただけますでしょうか。",
        "お手数をおかけしますが、{check}のご確認をお願いできますでしょうか。",
    ],
    lead=["あわせて、下記の操作をお願いいたします。", "以下のとおりにお進みください。"],
    close=[
        "それでも解決しない場合は、専任の担当者が引き継いで対応いたしますので、ご安心ください。",
        "解決に至らないときも、サポート窓口で引き続きお手伝いいたします。",
    ],
    close_goods=[],
    cases=HELDOUT_CASES,
)
