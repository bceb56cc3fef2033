"""丁寧さの選好データを書き出します。Write the politeness example: pairs of replies, and what is made of them.

    python make.py [--out FOLDER]

Same seed, same bytes. Both replies of a pair say the same thing about the same question; the chosen one says it as
the front desk of Asagiri, an inn that does not exist, would, the rejected one bluntly. The two sets share no topic and
no turn of phrase for manners.

    train.jsonl, heldout.jsonl   pairs
    mixed.jsonl                  the questions of train.jsonl, each with its polite or its blunt reply, half and half
    questions.jsonl              the same questions, once each and without a reply: what PPO tries replies to
    asked.jsonl                  the questions of heldout.jsonl, once each: what the tone is measured on
"""

from __future__ import annotations

import argparse
import json
import random
from pathlib import Path
from typing import Any

SEED = 20260515
ROWS = {"train": 144, "heldout": 48}
SYSTEM = "旅館あさぎりのフロントとして、お客様の質問に答えてください。"

# topic: the question, the fact in polite words, the fact bluntly
TOPICS = {
    "train": [
        ("チェックインは何時からですか", "チェックインは午後3時から承っております", "チェックインは3時からだ"),
        ("駐車場はありますか", "駐車場は20台分をご用意しております", "駐車場なら20台分ある"),
        ("夕食は何時ですか", "ご夕食は6時と7時半からお選びいただけます", "夕食は6時か7時半"),
        ("大浴場は夜中も入れますか", "大浴場は深夜1時までご利用いただけます", "風呂は1時で閉める"),
        ("犬を連れて行けますか", "恐れ入りますが、ペットのご同伴はご遠慮ください", "犬は無理"),
        (
            "駅から送迎はありますか",
            "駅からの送迎は前日までにご予約をお願いしております",
            "送迎は前の日までに言わないと出ない",
        ),
        ("部屋でWi-Fiは使えますか", "全室で無線LANをご利用いただけます", "Wi-Fiは全室で使える"),
        ("子ども用の浴衣はありますか", "お子様用の浴衣を3サイズご用意しております", "子どもの浴衣は3種類ある"),
        (
            "キャンセル料はかかりますか",
            "キャンセル料は前日より宿泊料金の50%を申し受けます",
            "キャンセルは前日から半額取る",
        ),
        ("連泊すると安くなりますか", "2泊目からは1割引でご案内しております", "2泊目から1割引だ"),
        (
            "アレルギーに対応できますか",
            "アレルギーは3日前までにお知らせいただけましたら、できる限り対応いたします",
            "アレルギーは3日前までに言え",
        ),
        ("朝食だけ付けられますか", "ご朝食のみのプランもお選びいただけます", "朝食だけでもいける"),
    ],
    "heldout": [
        ("荷物を先に送れますか", "お荷物は前日からフロントでお預かりいたします", "荷物は前日から受け取る"),
        ("貸切風呂はいくらですか", "貸切風呂は45分3,000円でご利用いただけます", "貸切は45分3,000円"),
        ("クレジットカードは使えますか", "主要なクレジットカードをご利用いただけます", "カードは大体使える"),
        ("近くにコンビニはありますか", "徒歩5分のところにコンビニエンスストアがございます", "コンビニなら歩いて5分"),
        ("たばこは吸えますか", "館内は全て禁煙とさせていただいております", "中は全部禁煙"),
        ("領収書はもらえますか", "領収書はご出発の際にお渡しいたします", "領収書は帰りに出す"),
    ],
}
ASKS = {
    "train": [
        "{q}。",
        "予約を考えています。{q}？",
        "来月伺う予定です。{q}。",
        "家族4人です。{q}？",
        "教えてください。{q}。",
    ],
    "heldout": [
        "はじめて利用します。{q}？",
        "週末に泊まります。{q}。",
        "確認させてください。{q}？",
        "両親と行きます。{q}。",
    ],
}
OPENS = {
    "train": [
        "お問い合わせいただきありがとうございます。",
        "ご連絡ありがとうございます。",
        "お世話になっております。",
        "",
    ],
    "heldout": [
        "ご質問をお寄せくださり、誠にありがとうございます。",
        "お問い合わせくださり、ありがとうございます。",
        "",
    ],
}
CLOSES = {
    "train": ["お越しを心よりお待ちしております。", "ご不明な点がございましたらお知らせください。", ""],
    "heldout": ["当日お目にかかれますことを楽しみにしております。", "どうぞお気をつけてお越しくださいませ。", ""],
}
BLUNT_OPENS = {
    "train": ["ああ、それね。", "またその質問か。", "サイトに書いてあるはずだけど。", "忙しいので手短に言う。", ""],
    "heldout": ["よく聞かれるんだよな。", "見れば分かると思うけど一応答える。", ""],
}
BLUNT_CLOSES = {
    "train": ["それ以上は知らない。", "あとは自分で調べて。", "文句があるなら来なくていい。", "守らない人は困る。", ""],
    "heldout": ["以上。", "細かいことは当日聞いて。", "変わっても責任は取らないからな。", ""],
}


def make_set(rng: random.Random, name: str) -> list[dict[str, Any]]:
    """Pairs that go round the topics; no two prompts are the same, nor two pairs."""
    rows: list[dict[str, Any]] = []
    seen: set[str] = set()
    while len(rows) < ROWS[name]:
        question, polite, blunt = TOPICS[name][len(rows) % len(TOPICS[name])]
        asked = rng.choice(ASKS[name]).format(q=question)
        chosen = f"{rng.choice(OPENS[name])}{polite}。{rng.choice(CLOSES[name])}"
        rejected = f"{rng.choice(BLUNT_OPENS[name])}{blunt}。{rng.choice(BLUNT_CLOSES[name])}"
        # In half of the pairs the polite reply is the shorter one: length must not give the answer away.
        shorter = len(rows) // len(TOPICS[name]) % 2
        if asked + chosen + rejected in seen or (len(chosen) < len(rejected)) != bool(shorter):
            continue
        seen.add(asked + chosen + rejected)
        prompt = [{"role": "system", "content": SYSTEM}, {"role": "user", "content": asked}]
        rows.append({"prompt": prompt, "chosen": chosen, "rejected": rejected})
    return rows


def mixed(pairs: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Rows of a front desk that minds its manners half of the time."""
    rng = random.Random(SEED)
    sides = ["chosen", "rejected"] * (len(pairs) // 2)
    rng.shuffle(sides)
    return [
        {"messages": [*pair["prompt"], {"role": "assistant", "content": pair[side]}]}
        for pair, side in zip(pairs, sides, strict=True)
    ]


def questions(pairs: list[dict[str, Any]], name: str) -> list[dict[str, Any]]:
    """Every question once, with its topic: a row is a task when it holds more than a prompt."""
    prompts = {json.dumps(pair["prompt"]): pair["prompt"] for pair in pairs}.values()
    topics = [question for question, _, _ in TOPICS[name]]
    return [{"messages": p, "topic": next(t for t in topics if t in p[-1]["content"])} for p in prompts]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--out", type=Path, default=Path(__file__).parent)
    out = parser.parse_args().out
    out.mkdir(parents=True, exist_ok=True)
    rng = random.Random(SEED)
    files = {name: make_set(rng, name) for name in ROWS}
    files |= {"mixed": mixed(files["train"]), "questions": questions(files["train"], "train")}
    files |= {"asked": questions(files["heldout"], "heldout")}
    for name, rows in files.items():
        text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        (out / f"{name}.jsonl").write_text(text, "utf-8")


if __name__ == "__main__":
    main()
