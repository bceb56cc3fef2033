"""Mistakes of polite Japanese that can be told by their form, each with what to write instead.

    double      二重敬語: おっしゃられる, ご覧になられる, お帰りになられる, ご拝見, 社長様
    baito       バイト敬語: よろしかったでしょうか, 千円からお預かり, お名前のほう, こちらが…になります
    confused    尊敬語と謙譲語の取り違え: ご確認してください, ご利用できます, 拝見されましたか, 弊社がなさる
    in_group    身内への敬称: 弊社の田中様
    sasete      させていただく過多, さ入れ言葉: 読まさせていただく

After 文化審議会答申「敬語の指針」 (2007): what it lets pass as established (お伺いする, お召し上がりになる,
お見えになる) is not reported. A form says nothing of who is meant, so some that are right in rare places are reported,
too: a house lists them under `allow`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from sodate.core.text import Sentence, tr

OUR_SIDE = r"(?:弊社|当社|小社|弊店|当店|弊院|当院|弊校|当校|私ども|わたくしども|手前ども|弊部|弊課)"


@dataclass(frozen=True, slots=True)
class Mistake:
    """`found` stands in the text; `instead` is what to write there."""

    check: str
    found: str
    instead: str


Instead = str | Callable[[re.Match[str]], str | None]
Rule = tuple[str, re.Pattern[str], Instead]

CHECKS: dict[str, Sentence] = {
    "double": tr("double honorific", "二重敬語"),
    "baito": tr("shop-counter politeness", "バイト敬語"),
    "confused": tr("respectful and humble confused", "尊敬語と謙譲語の取り違え"),
    "in_group": tr("honorific for one's own side", "身内への敬称"),
    "sasete": tr("too much させていただく", "させていただくの使いすぎ"),
    "mixing": tr("styles mixed", "文体の混在"),
    "spelling": tr("spelling", "表記ゆれ"),
}

# ── what to write instead ────────────────────────────────────────────────────────────────────────────────────────────

_TAIL = r"(ましょ|ます|まし|ませ|れば|る|た|て|な|、)"  # what may follow られ or され
_PLAIN = {"る": "る", "た": "った", "て": "って", "な": "らな", "れば": "れば", "、": "り、"}


def _ra(stem: str, tail: str, before_masu: str = "り") -> str:
    """A verb in る with this tail: なる, たて: なって; for おっしゃる it is い before ます."""
    return stem + _PLAIN.get(tail, before_masu + tail)


def _verb(stem: str, before_masu: str = "り") -> Instead:
    """The verb with the tail that was found: おっしゃられました → おっしゃいました."""
    return lambda found: _ra(stem, found[1], before_masu)


def _becoming(found: re.Match[str]) -> str:
    """お帰りになられました → お帰りになりました, ご利用されます → ご利用になります."""
    return _ra(f"{found[1]}にな", found[2])


def _unless(words: str, instead: str) -> Instead:
    """The replacement, unless the sentence before it has one of these words."""
    pattern = re.compile(words)
    return lambda found: None if pattern.search(found.string[: found.start()]) else found.expand(instead)


def _this_is(found: re.Match[str]) -> str | None:
    """こちらがレシートになります → …でございます; a change (無料になります, 来月から …になります) stays."""
    change = re.search(rf"(?:{_CHANGES})$|(?:から|以降|より)", found[1])
    return None if change else f"{found[1]}でございます"


def _can(found: re.Match[str]) -> str:
    """ご利用できます → ご利用になれます."""
    return f"{found[1]}になれ{found[2]}"


def _ours(found: re.Match[str]) -> str:
    """弊社の社長がおっしゃい… → 弊社の社長が申し…"""
    return f"{found[1]}{found[2]}{found[3]}{_HUMBLE[found[4]]}"


# ── the rules ────────────────────────────────────────────────────────────────────────────────────────────────────────

_CUSTOMERS_DO = (
    "利用|使用|購入|注文|乗車|乗船|搭乗|参加|来店|来場|来社|来館|入場|入会|入店|入力|予約|登録|選択|応募|申請|申告|"
    "退会|解約|返品|視聴|閲覧|試着|試飲|宿泊|着席|受講|受験|受診|署名|記入|持参|試用|変更|交換|確認"
)
_CHANGES = (
    "よう|こと|お世話|お休み|満席|満室|無料|有料|必要|可能|高く|安く|長く|短く|変更|中止|延期|休業|終了|完了|対象外?"
)
_THEM = "(お客様|お客さま|皆様|(?<![院校社]の)先生|(?:御社|貴社)(?:の社長)?)(が|は|も)"  # one's own 社長 does 参る
_TITLES = "社長|会長|部長|課長|係長|次長|専務|常務|店長|院長|校長|所長|支店長|先生|教授"
_THINGS = "書類|商品|資料|料金|金額|住所|電話番号|会計|修理|お席|メニュー|領収書|見積書"
# A choice between two is no mistake (資料のほうが詳しい), nor is the side of a person (お客様のほうで).
_PADDED = (
    r"(?<!客様)(?<!客さま)(?<!い方)のほう(?=[はでも、]|[おご]|に(?!変|進|行)|を(?!ご?希望|優先|お?選|お?好|お?勧)"
    r"|が(?:届|でき|出来|整|揃|まだ|完成))"
)
_ASIDE = "(?!願い|伺い|手伝い)"  # humble words of their own: お願いしてください may be said
_STEM = r"[^\s、。はがをにもとので]{1,7}?"
_NO_NOUN = "(?![々式子態相]|ざま)"  # 先生様々なご意見, 御社様式
_OTHERS = "お客|お取引|お得意|皆|会員|ご利用|患者|オーナー|取引先|担当(?:の)?お客"  # 弊社のお客様 is right
# A name, without what makes it that of somebody else: 弊社より田中様へ, 弊社の提携先の山田様, 弊社製品をご愛用の田中様.
_NAME = (
    r"(?:(?!から|より|まで|先の|会員|顧客|契約|利用|愛用|購入|参加|取引|顧問|宛)[^\s、。はがをにでとへもや様さおご御]){1,12}?"
    r"(?<![皆店主員業])(?<!たく)(?<!講生)(?<!学生)(?<!会社)(?<!企業)(?<!ユーザー)(?<!ファン)(?<!パートナー)(?:(?<!者)|(?<=担当者))"
)
_OUR_PERSON = (
    r"(?:(?!から|より|まで|商品|製品|品|料理|資料|工場|店舗|施設|部屋|動画|サービス|サイト|ページ|アプリ|様)"
    r"[^、。\sはがをにでへ]){1,10}"
)
# Where others do it: 当店は召し上がる方が多い, 何でもおっしゃってください.
_BY_OTHERS = (
    r"(?!(?<=る)(?:方|お|人|際|場合|前|時|皆|こと)|(?<=っ)た(?:方|お|人|際|場合|後|時|皆)|(?<=り)(?:たい|やす)"
    r"|(?<=っ)て(?:いただ|頂|くださ|下さ|も))"
)
_HUMBLE = {"いらっしゃ": "おり", "おっしゃ": "申し", "なさ": "いたし", "召し上が": "いただき", "ご覧にな": "拝見し"}
_BEFORE_SA = (
    "読ま|飲ま|休ま|住ま|頼ま|行か|書か|聞か|歩か|働か|置か|待た|持た|打た|立た|作ら|送ら|帰ら|取ら|やら|入ら|終わら|"
    "使わ|言わ|伺わ|買わ|手伝わ|歌わ|会わ|もらわ|頑張ら|楽しま|進ま|始まら|承ら|撮ら|座ら|切ら|変わら|預から|急が|泳が|"
    "呼ば|選ば|運ば|学ば|遊ば"
)


def _rules(check: str, *given: tuple[str, Instead]) -> tuple[Rule, ...]:
    return tuple((check, re.compile(pattern), instead) for pattern, instead in given)


RULES: tuple[Rule, ...] = (
    *_rules(
        "double",
        (rf"いらっしゃられ{_TAIL}", _verb("いらっしゃ", "い")),
        (rf"(?:おっしゃ|仰|仰せ)られ{_TAIL}", _verb("おっしゃ", "い")),
        (rf"なさられ{_TAIL}", _verb("なさ", "い")),
        (rf"くださられ{_TAIL}", _verb("くださ", "い")),
        (rf"召し?上がられ{_TAIL}", _verb("召し上が")),
        (rf"([おご御](?:(?![おご御])[^\s、。，．「」（）()]){{1,7}}?)になられ{_TAIL}", _becoming),
        (r"[おご御](拝見|拝読|拝聴|拝借|拝受|拝察|参上)", r"\1"),
        (rf"({_TITLES})(?:様|さま){_NO_NOUN}", r"\1"),
        (r"(各位|御中)(?:様|殿|さま)", r"\1"),
        (rf"(貴社|御社)(?:様|さま){_NO_NOUN}", r"\1"),
    ),
    *_rules(
        "baito",
        (r"(?:よろ|宜)しかった(でしょうか|でしょう|ですか|です)", r"よろしい\1"),
        (r"円からお預かり", "円お預かり"),
        (rf"((?<!い)[おご][^\s、。のほ]{{1,6}}|(?<!い){_THINGS}){_PADDED}", _unless("より", r"\1")),
        (r"(お会計|お名前|ご住所|お電話番号|お料金|書類|商品|資料|料金|金額)の方(?=[をは])", _unless("より", r"\1")),
        (r"((?:こちら|そちら|あちら|以下|下記)[がはも、][^、。\sと]{1,20}?)に(?:なります|なっております)", _this_is),
        (r"(?:という|といった)(?:形|かたち)[にと]なります", "です"),
        (r"(?:いただく|頂く)(?:形|かたち)[にと]なります", "いただきます"),
        (r"なるほどですね", "さようでございますか"),
        (r"(お名前|お電話番号|ご住所|お名刺)(?:様|さま)", r"\1"),
        (r"お名前を?(?:頂戴|ちょうだい)(?:でき|出来)ますか|お名前を(?:いただ|頂)けますか", "お名前を伺えますか"),
        (r"全然大丈夫", "問題ございません"),
        (r"全然(問題(?:ない|ありません|ございません))", r"まったく\1"),
    ),
    *_rules(
        "confused",
        (rf"([おご御]{_ASIDE}{_STEM})して(くださ|下さ)い", r"\1\2い"),
        (rf"([おご御]{_ASIDE}{_STEM})して((?:いただ|頂)[けきいく])", r"\1\2"),
        (rf"([ご御](?:{_CUSTOMERS_DO}))(?:でき|出来)(ます|ませ|まし|る|な|た)", _can),
        (rf"([ご御](?:{_CUSTOMERS_DO}))され{_TAIL}", _becoming),
        (rf"拝見(?:され|なされ){_TAIL}", _verb("ご覧にな")),
        (r"拝見(?:して(?:ください|下さい)|なさい)", "ご覧ください"),
        (r"(窓口|受付|係員|係の者|担当者|担当の者|スタッフ|店員)[にへで]お?伺って(くださ|下さ)い", r"\1にお尋ね\2い"),
        (rf"{_THEM}お?参りま", r"\1\2いらっしゃいま"),
        (rf"参られ{_TAIL}", _verb("いらっしゃ", "い")),
        (rf"{_THEM}(?:申し(?:上げ)?まし|申されまし)", r"\1\2おっしゃいまし"),
        (r"(お客様[がはも]|お客さま[がはも]|皆様[がはも]|どうぞ、?|うちに、?)(?:いただ|頂)いて(?:くださ|下さ)い",
         r"\1召し上がってください"),
        (rf"{_THEM}存じ(?:上げ)?て", r"\1\2ご存じで"),
        (rf"申され{_TAIL}", _verb("おっしゃ", "い")),
        (r"(?:致し|いたし)て(ください|下さい)", r"なさって\1"),
        (rf"((?:{OUR_SIDE}|私|わたくし)(?:の(?!{_OTHERS}|先生|恩師){_OUR_PERSON}|[一-龠々]{{0,3}}(?:{_TITLES}|代表))?)(が|は|も|では)"
         rf"((?:(?!お客|皆|御社|貴社|どな|誰でも|何でも|いつでも|{_TITLES}|[様がは、。]).){{0,15}}?)"
         rf"(いらっしゃ|おっしゃ|なさ|召し上が|ご覧にな)[いりっる]{_BY_OTHERS}", _ours),
    ),
    *_rules(
        "in_group",
        (rf"({OUR_SIDE}の?+(?!{_OTHERS}){_NAME})(?:様|さま|さん)(?=[はがをにもへのとよか、。]|$)", r"\1"),
        (rf"(担当の{_NAME})(?:様|さま|さん)(?=(?:が|から|より)[^。]{{0,30}}"
         r"(?:いたします|させていただきます|申し上げます|参ります|伺います|差し上げます))", r"\1"),
    ),
    *_rules("sasete", (rf"({_BEFORE_SA})させ", r"\1せ")),
)  # fmt: skip
_ENDING = re.compile("たら|た|て|ょう|ん")


def mistakes(sentence: str) -> Iterator[Mistake]:
    """The mistakes of one sentence, in the order of the rules; the same place is reported once."""
    taken: list[tuple[int, int]] = []
    for check, pattern, instead in RULES:
        for found in pattern.finditer(sentence):
            start, end = found.span()
            if any(start < right and left < end for left, right in taken):
                continue
            right_form = found.expand(instead) if isinstance(instead, str) else instead(found)
            if right_form is not None and right_form != found[0]:
                taken.append((start, end))
                rest = _ENDING.match(sentence, end) if found[0].endswith(("まし", "ませ")) else None
                ending = rest[0] if rest else ""
                yield Mistake(check, found[0] + ending, right_form + ending)
