"""Variants of kanji, as names are written with them: 髙橋, 山﨑, 渡邉, 齋藤 are found where 高橋, 山崎, 渡辺, 斎藤 are.

Old forms and the variants that stand in family registers, each with the form in everyday use (the first of a group).
Facts of everyday life, written by hand; one character becomes one, so that offsets stay.
"""

from __future__ import annotations

import re
import unicodedata

_GROUPS = """
高髙 崎﨑嵜㟢碕𥔎 辺邉邊 斎齋 斉齊 浜濵濱 徳德 桑桒 島嶋嶌㠀 沢澤 桜櫻 広廣 真眞 国國圀 栄榮 恵惠 条條
淵渕渊 蔵藏 清淸 静靜 竜龍 滝瀧 槙槇 曽曾 増增 富冨 吉𠮷 館舘 郎郞郞 礼禮 喜㐂 橋𣘺槗 土圡𡈽 穂穗 彦彥
教敎 青靑 黒黑 黄黃 緑綠 録錄 内內 呉吳 浅淺 瀬瀨 頼賴 円圓 万萬 豊豐 応應 桧檜 鴎鷗 郷鄕鄉 関關 鉄鐵鐡
誉譽 譲讓 亜亞 為爲 縁緣 横橫 温溫 会會 絵繪 楽樂 観觀 旧舊 狭狹 暁曉 勲勳 薫薰 渓溪 剣劍 顕顯 厳嚴
効效 恒恆 済濟 産產 児兒 実實 写寫 寿壽 渋澁澀 緒緖 渉涉 奨奬獎 将將 浄淨 慎愼 晋晉 尽盡 図圖 数數 声聲
専專 銭錢 荘莊 総總 聡聰 台臺 団團 昼晝 鎮鎭 点點 伝傳 灯燈 稲稻 読讀 売賣 仏佛 並竝 宝寶寳 満滿 弥彌
訳譯 与與 余餘 様樣 来來 覧覽 両兩 励勵 霊靈 齢齡 恋戀 労勞 楼樓 禄祿 湾灣 巌巖 尭堯 凛凜 遥遙 槌鎚
柳栁 芦蘆 蛍螢 鶏鷄 芸藝 県縣 駅驛 区區 学學 気氣 医醫 戸戶 歩步 悦悅 長⻑ 西⻄ 見⻅ 角⻆ 貝⻉ 金⾦
青⻘ 食⻝ 園薗 塩鹽 仮假 亀龜 峰峯 岳嶽 野埜 薮藪 篭籠 梅楳 昇曻 船舩 涼凉 寛寬 枡桝 祢禰 参參 壱壹 巻卷 舎舍 萌萠
麹麴 磯礒
"""
_USUAL = {other: group[0] for group in _GROUPS.split() for other in group[1:]}
# Kanji that Unicode has twice (there are two of 神), and the radicals that PDFs give for them.
_TWICE = ((0x2E80, 0x2FE0), (0xF900, 0xFB00), (0x2F800, 0x2FA20))
_ONCE = {chr(c): unicodedata.normalize("NFKC", chr(c)) for first, end in _TWICE for c in range(first, end)}
_FOLDED = {ord(c): _USUAL.get(one, one) for c, one in _ONCE.items() if len(one) == 1} | {
    ord(other): usual for other, usual in _USUAL.items()
}
_OTHER = frozenset(map(chr, _FOLDED))
# Marks that change the letter before them: dakuten written apart, and selectors of a variant's shape.
_MARK = "\u0300-\u036f\u3099\u309a\uff9e\uff9f\ufe00-\ufe0f\U000e0100-\U000e01ef"
_SELECTOR = re.compile("[\ufe00-\ufe0f\U000e0100-\U000e01ef]")
_MARKED = re.compile(f"[{_MARK}]")
_LETTER = re.compile(f".[{_MARK}]*", re.DOTALL)


def folded(text: str) -> str:
    """The text in the forms of everyday use, length unchanged."""
    return text if _OTHER.isdisjoint(text) else text.translate(_FOLDED)


def composed(text: str) -> tuple[str, list[int]] | None:
    """The text with letters and their marks as one, and where in `text` each of its characters and its end are.

    None where no letter has a mark: then the text is so already.
    """
    if text.isascii() or not _MARKED.search(text):
        return None
    parts: list[str] = []
    starts: list[int] = []
    for letter in _LETTER.finditer(text):
        part = unicodedata.normalize("NFKC", _SELECTOR.sub("", letter[0])) if len(letter[0]) > 1 else letter[0]
        parts.append(part)
        starts += [letter.start()] * len(part)
    return "".join(parts), [*starts, len(text)]
