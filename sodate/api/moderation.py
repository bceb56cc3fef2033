"""Moderation by rules: phrases in English and Japanese, found however they are written. No model judges.

It finds what says it outright, and misses what only means it; what a phrase is part of is not weighed either. A score
is 1 where a phrase of the category was found and 0 elsewhere, since rules know nothing in between.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping, Sequence

from sodate.grade.normalise import fold

MODEL = "sodate-rules-1"

# A phrase in Latin letters is found as whole words; `~` stands for one or two words of any kind.
PHRASES: Mapping[str, Sequence[str]] = {
    "harassment": ("you are worthless", "you are an idiot", "you're an idiot", "you stupid", "i hate you",
                   "死ね", "消えろ", "クズ野郎", "お前は無能", "馬鹿野郎"),
    "harassment/threatening": ("i will kill you", "i'll kill you", "i am going to kill you", "i'm going to kill you",
                               "i will hurt you", "i'll hurt you", "殺すぞ", "殺してやる", "ぶっ殺す",
                               "痛い目に遭わせてやる"),
    "hate": ("all ~ are subhuman", "all ~ are vermin", "go back to your country", "国へ帰れ", "民族は劣っている"),
    "hate/threatening": ("kill all ~ people", "death to all", "exterminate all", "皆殺しにしろ", "民族を根絶やしに"),
    "illicit": ("how to launder money", "how to hack into ~ account", "how to make counterfeit",
                "how to forge ~ passport", "資金洗浄の方法", "偽札の作り方", "不正アクセスの方法", "覚醒剤の買い方"),
    "illicit/violent": ("how to make a bomb", "how to build a bomb", "how to make explosives", "爆弾の作り方",
                        "爆発物の作り方"),
    "self-harm": ("cut myself", "cutting myself", "hurting myself", "リストカット", "自傷"),
    "self-harm/intent": ("i want to die", "i want to kill myself", "i will kill myself", "i'm going to kill myself",
                         "i am going to kill myself", "死にたい", "自殺したい", "消えてしまいたい"),
    "self-harm/instructions": ("how to kill yourself", "how to kill myself", "ways to commit suicide", "自殺の方法",
                               "自殺のやり方"),
    "sexual": ("have sex with me", "send nudes", "sexually explicit", "hardcore porn", "セックスしよう", "裸の写真を送",
               "アダルト動画"),
    "sexual/minors": ("sexual photos of children", "sex with a minor", "child porn", "児童ポルノ"),
    "violence": ("beat him to death", "beat her to death", "stab him", "stab her", "shoot them all", "i will kill",
                 "i'll kill", "殴り殺", "刺し殺", "撃ち殺", "殺してやる", "ぶっ殺す", "殺すぞ"),
    "violence/graphic": ("guts spilled out", "blood and gore", "ripped off his head", "内臓が飛び出", "首を切り落と"),
}  # fmt: skip


@functools.cache
def _patterns() -> dict[str, list[tuple[str, re.Pattern[str]]]]:
    return {
        category: [(phrase, _pattern(fold(phrase.replace("~", "\0")))) for phrase in phrases]
        for category, phrases in PHRASES.items()
    }


def _pattern(phrase: str) -> re.Pattern[str]:
    words = r"\s+".join(r"\w+(?:\s+\w+)?" if word == "\0" else re.escape(word) for word in phrase.split())
    latin = phrase.isascii()
    return re.compile(rf"(?<!\w){words}(?!\w)" if latin else words)


def moderate(text: str) -> dict[str, list[str]]:
    """The phrases found of each category; a category without any has an empty list."""
    folded = fold(text.replace("’", "'"))
    return {
        category: [phrase for phrase, pattern in known if pattern.search(folded)]
        for category, known in _patterns().items()
    }
