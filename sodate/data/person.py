"""Names of persons, Japanese and Western, by rules. Input is width-folded text (`pii.same_width`), output are spans."""

from __future__ import annotations

import re
from collections.abc import Iterator

from sodate.data.names import EN_GIVEN, JA_GIVEN, JA_SURNAMES, words

_KANJI = "一-鿿々ヶ㐀-䶿\ufa0e-\ufa29\U00020000-\U0002ffff"  # names have rare ones
_HONORIFIC = re.compile("様(?![々子式相態な])|さま|さん|氏(?!名)|殿|先生|君(?![主臨])|くん|ちゃん")
# What stands before an honorific, read backwards: matching at one place is linear, searching for an end is not.
_BACKWARDS = re.compile(f" ?(?P<run>[ァ-ヴー・]{{2,16}}|[{_KANJI}ぁ-ん]{{0,4}} ?[{_KANJI}]{{1,8}})")
# Runs before an honorific that are roles, not names: 担当者様, 取引先様, 本屋さん, 皆さん, 同様, 仕様 …
_ROLE_END = frozenset(
    "者先長員主客方店社屋生人家親母父兄姉弟妹孫娘嫁婿婦夫王神仏皆各同多一異模仕有何今文奥殿貴両校部課係局院所室館達会嬢"
)
_KATAKANA_ROLES = words(
    """パパ ママ オーナー ユーザー スタッフ メーカー カスタマー ゲスト メンバー サポート ドライバー マネージャー
    リーダー テナント サンタ ベビー ペット ホスト クライアント エンドユーザー パートナー ワンコ ネコ ウサギ クマ"""
)
# What comes before a name: 営業部の桜木, お客様 桜木花道様, 友人の桜木くん. Ends of words.
_LEADS = words(
    """様 さま 名 客 者 員 長 当 人 主 氏 士 師 手 妻 夫 父 母 親 兄 姉 弟 妹 息子 娘 男 女 孫 友 僚 司 輩 任
    部 課 係 室 店 社 局 院 所 校 科 班 組 宛 殿"""
)
_LEAD_END = re.compile(f"(?:{'|'.join(sorted(_LEADS))})の?$")
# Words that stand where a name would, and are none.
_NOT_JA = words(
    """担当 窓口 各位 関係 家族 不要 必要 本人 代理 事務 同僚 旦那 保険 証券 会計 経理 総務 人事 営業 広報 受付
    支払 配送 運送 運転 管理 施工 設計 警備 清掃 介護 看護 保育 空欄 同上 別紙 上記 下記 以上 以下 未定 匿名
    漢字 全角 半角 会社 法人 当社 弊社 御社 貴社 私 僕 俺 彼 彼女 自分 学生 男性 女性 主婦 部署 技術 上司 部下
    業務 作業 対応 確認 変更 登録 注文 予約 製品 商品 方針 判断 方法 場合 必須 任意 省略 希望 記入 入力 今回
    前回 次回 本日 明日 昨日 今日 先日 以前 初回 新規 継続 全員 全国 日本 東京 大阪 京都 地元 地方 国内 海外
    新任 前任 後任 現在 昨年 今年 来年 午前 午後 弁護 税理 専用 専門 共有 個人 団体 都合 結婚 容体 具合 意見
    質問 要望 連絡 電話 住所 番号 返信 返品 返金 交換 発送 納品 請求 見積 領収 領収書 名義 宛先 送付先 株式会社
    有限会社 合同会社 総合 中央 本社 支社 本店 支店 現地 現場 複数 多数 以外"""
)
_PLACES_JA = words(
    """千葉 石川 福島 宮崎 山口 長野 福井 富山 岡山 秋田 山形 宮城 福岡 大分 香川 徳島 三重 奈良 滋賀 上野 品川
    渋谷 目黒 大宮 川崎"""
)
_POSTS = (
    "課長|部長|係長|社長|専務|常務|主任|店長|室長|次長|所長|支店長|院長|教授|選手|監督|議員|弁護士|医師|看護師|主査"
)
_TITLED = re.compile(f"(?<![{_KANJI}])(?P<name>[{_KANJI}]{{1,4}} ?[{_KANJI}]{{0,3}}?)(?={_POSTS})")
_LABELLED = re.compile(
    "(?:客様|会員|契約者|申込者|申し込み者|予約者|注文者|購入者|依頼者|受取人|名義人|患者|担当者?|代表者?)"
    "(?:様|さま|名) "
    f"(?P<name>[{_KANJI}]{{1,4}} ?[{_KANJI}]{{0,4}})(?=[、。,()/\\s]|$)"
)
# 私は桜木です, 営業部の桜木です, 妻の花子が. Alternatives that begin with a letter are looked for quickly.
_SAID = re.compile(
    f"(?:私は|わたしは|わたくしは|僕は|俺は|{'|'.join(f'{lead}の' for lead in sorted(_LEADS))}"
    "|株式会社[^\\s、。]{1,12}の|有限会社[^\\s、。]{1,12}の|合同会社[^\\s、。]{1,12}の)"
    f"(?P<name>[{_KANJI}]{{1,4}} ?[{_KANJI}]{{0,3}})(?=です|でし|でござ|と申|と言|といい|より|に代|[がはもと、])"
)
_ALONE = re.compile(f"(?:^|[。、!?\\n] ?)(?P<name>[{_KANJI}]{{2,4}} ?[{_KANJI}]{{0,3}})です(?=[。、\\n]|が|けど|$)")
_LABEL_JA = re.compile(
    f"(?:氏名|名前|宛名|受取人|申込者|契約者|署名|担当者?|フリガナ|ふりがな|依頼者|患者)(?:様|名)?(?: ?: ?|は)"
    f"(?P<name>[{_KANJI}]{{1,4}} ?[{_KANJI}ぁ-ん]{{0,4}}?"
    f"|[ァ-ヴー]{{2,8}}[ ・]?[ァ-ヴー]{{0,8}}|[ぁ-ん]{{2,5}} [ぁ-ん]{{2,5}})"
    r"(?=です|と申|と言|といい|でござ|様|さん|[、。,()/\s]|$)"
)
_SENTENCE = re.compile(
    f"[何誰はをがてにの]|で[{_KANJI}]"
)  # 名前は何か, 名前は全角の括弧: a sentence went on where a name would be
_SELF_JA = re.compile(
    f"(?<![{_KANJI}])(?P<name>[{_KANJI}]{{1,4}} ?[{_KANJI}]{{0,3}})(?:"
    "(?P<sure>と申します)|といいます|と言います|でございます)"
)
_IN_CHARGE = re.compile(
    f"担当者?の(?P<name>[{_KANJI}]{{1,4}} ?[{_KANJI}]{{0,3}})(?=[がはよでに、](?P<sure>[伺参承ごお])?)"
)
# Each with what it needs in a text: looking for that first is quicker.
_ANNOUNCED = (
    (_SELF_JA, re.compile("ます")), (_IN_CHARGE, re.compile("担当")),
    (_SAID, re.compile("[私僕俺]は|わた|の")), (_TITLED, re.compile(_POSTS)),
)  # fmt: skip
_FIRST = frozenset(name[0] for name in JA_SURNAMES)
# Where a surname with a given name after it can begin, by the letters that each of them has at its places.
_SURNAME_START = re.compile(
    f"[{''.join(sorted(_FIRST))}](?=[{''.join(sorted({letter for name in JA_SURNAMES for letter in name[1:]}))}]{{0,2}}"
    f" ?[{''.join(sorted({name[0] for name in JA_GIVEN}))}])"
)
_JAPANESE = re.compile("[一-鿿]|[ァ-ヴ]{2}")

_WORD = r"[A-Z][a-zà-ÿ'’]{1,20}(?:-?[A-Z][a-zà-ÿ]{1,20})?"
_FULL = rf"{_WORD}(?: [A-Z]\.)?(?: {_WORD}){{0,2}}"
_TITLE = re.compile(rf"\b(?:Mr|Mrs|Ms|Miss|Dr|Prof|Professor)\.? (?P<name>{_FULL})")
_GREETING = re.compile(
    rf"(?:^|[\n.!?\"] ?)(?:Dear|Hi|Hello|Hey|Good morning|Good afternoon) (?P<name>{_FULL})(?=[,!.:\n]| -|$)"
)
_SIGN_OFF = re.compile(
    r"\b(?:[Rr]egards|[Ss]incerely|[Tt]ruly|[Ff]aithfully|[Bb]est wishes|Best|Thanks|Thank you|Cheers|Many thanks|Love)"
    rf"[,.!]?\s{{0,3}}\n\s{{0,3}}(?P<name>{_FULL})(?=\s{{0,3}}(?:\n|$)|,)"
)
_LABEL_EN = re.compile(
    rf"(?:\b[Mm]y name is|\b[Mm]y name's|\b(?:[Ff]ull |[Cc]ustomer |[Pp]atient |[Ff]irst |[Ll]ast )?[Nn]ame ?:"
    rf"|\b(?:Attn|Recipient|Signed|Contact|Cardholder) ?[:,]|\bsigned by|\b[Ss]peak(?:ing)? (?:to|with)) ?"
    rf"(?P<name>{_FULL})"
)
# Each pattern with words one of which it needs: looking for those first is ten times quicker.
_WESTERN = (
    (_TITLE, ("Mr", "Ms", "Miss", "Dr", "Prof")),
    (_GREETING, ("Dear ", "Hi ", "Hello ", "Hey ", "Good ")),
    (_SIGN_OFF, ("\n",)),
    (_LABEL_EN, ("ame", ":", "ttn", "igned", "peak", "Recipient,", "Contact,", "Cardholder,")),
)
_PAIR = re.compile(r"[a-zà-ÿ.'’] (?:[A-Z]|van |de )")
_TWO = re.compile(
    rf"\b(?P<first>{_WORD}) (?:[A-Z]\. )?(?P<last>(?:Mc|Mac|O'|van |de )?{_WORD})\b(?P<next>(?: [A-Z][a-z]+)?)"
)
_SELF_EN = re.compile(rf"\b(?:I am|I'm|I’m|[Tt]his is|[Ii]t's) (?P<name>{_WORD})\b")
_NOT_NAMES = words(
    """Sir Madam Team Customer Customers All Everyone Everybody There Support Friends Friend Hiring Manager Service
    Colleague Colleagues Members Member Guest Guests Editor Parents Santa World God Valued Client User Street St
    Road Rd Avenue Ave Lane Drive Court Place Square Park University College School Hospital Hotel Bank Airport
    Station Church Island Company Inc Ltd Corporation Group Foundation Award Prize Day January February March April
    June July August September October November December Monday Tuesday Wednesday Thursday Friday Saturday Sunday
    The This That Please Thank Thanks We You It Is Are Was Will Can May Has Had And Or Not If For Of In On At To
    From Mr Mrs Ms Dr Regarding Re"""
)


def names(folded: str) -> Iterator[tuple[int, int]]:
    """Spans of names without their honorifics, not overlapping; the longer of two that overlap."""
    spans: list[tuple[int, int]] = []
    if not folded.isascii() and _JAPANESE.search(folded):
        spans += _japanese(folded)
    if _CAPITAL.search(folded):
        spans += _western(folded)
    last = -1
    kept = []
    for start, end in sorted(spans, key=lambda span: (span[0], -span[1])):
        if start >= last:
            kept.append((start, end))
            last = end
    return iter(kept)


_CAPITAL = re.compile(r"[A-Z][a-zà-ÿ'’]")


def _japanese(folded: str) -> Iterator[tuple[int, int]]:
    for honorific in _HONORIFIC.finditer(folded):
        window = folded[max(0, honorific.start() - 16) : honorific.start()]
        before = _BACKWARDS.match(window[::-1])
        if before:
            end = honorific.start() - before.start("run")
            length = _named_tail(before["run"][::-1], window[: -before.end()])
            if length:
                yield end - length, end
    for m in _LABEL_JA.finditer(folded):
        if not _SENTENCE.search(m["name"]) and (_listed(m["name"]) or not _common(m["name"])):
            yield m.span("name")
    for pattern, cue in _ANNOUNCED:
        for m in pattern.finditer(folded) if cue.search(folded) else ():
            name = m["name"].rstrip(" ")
            sure = m.groupdict().get("sure") is not None
            if _listed(name) or (sure and not _common(name)):
                yield m.start("name"), m.start("name") + len(name)
    for m in _LABELLED.finditer(folded):
        if _listed(m["name"]) or not _common(m["name"]):
            yield m.span("name")
    for m in _ALONE.finditer(folded):
        name = m["name"]
        if name not in _PLACES_JA and (name in JA_SURNAMES or (_listed(name) and _given_after(name))):
            yield m.span("name")
    for m in _SURNAME_START.finditer(folded):
        at = m.start()
        for surname in _surnames_of(folded[at : at + 3]):
            end = at + len(surname)
            gap = 1 if folded[end : end + 1] == " " else 0
            given = _given_at(folded, end + gap)
            if given:
                yield at, end + gap + given
                break


def _surnames_of(text: str) -> list[str]:
    """Listed surnames that `text` starts with, longest first."""
    return [text[:n] for n in (3, 2, 1) if len(text) >= n and text[:n] in JA_SURNAMES]


def _given_at(folded: str, at: int) -> int:
    """Length of a listed given name at this place, 0 if there is none; one character counts only before a boundary."""
    for n in (3, 2):
        if at + n <= len(folded) and folded[at : at + n] in JA_GIVEN:
            return n
    follows = folded[at + 1 : at + 2]
    return (
        1 if folded[at : at + 1] in JA_GIVEN and not ("一" <= follows <= "鿿") and follows not in "いえきくすっ" else 0
    )


def _listed(name: str) -> bool:
    """Whether a name begins with a listed surname and up to three more letters, or ends in a listed given name."""
    if name in _NOT_JA:
        return False
    parts = [(one, name[len(one) :].lstrip(" ")) for one in _surnames_of(name)]
    return (
        name in JA_GIVEN
        or _given_after(name)
        or any(
            not rest or rest in JA_GIVEN or (len(surname) > 1 and len(rest) <= 3 and rest[-1] not in _ROLE_END)
            for surname, rest in parts
        )
    )


def _common(name: str) -> bool:
    """Whether this is, or ends as, a word for a role, or one that stands where a name would."""
    last = name.rpartition(" ")[2]
    return name[-1] in _ROLE_END or name in _NOT_JA or last in _NOT_JA or name[-2:] in _NOT_JA


def _named_tail(run: str, before: str) -> int:
    """Length of the name at the end of a run of letters that an honorific follows, 0 if it looks like a role."""
    if run[0] >= "ァ" and run[0] <= "ー":
        return len(run) if run not in _KATAKANA_ROLES and run.strip("ー・") else 0
    family, gap, given = run.partition(" ")
    if gap and _LEAD_END.search(family):
        return _named_tail(given, f"{before}{family} ")
    head, lead, tail = run.rpartition("の")
    if lead and tail and _LEAD_END.search(head):
        return _named_tail(tail, f"{before}{head}の")
    if gap and len(family) <= 4 and (given in JA_GIVEN or family in JA_SURNAMES):
        return len(run)
    for start in range(len(run)):  # a surname, alone or with a listed given name, as long as possible
        for surname in _surnames_of(run[start : start + 3]) if run[start] in _FIRST else ():
            rest = run[start + len(surname) :].lstrip(" ")
            if not rest and (len(surname) > 1 or run[start - 1 : start] in _PARTICLES):
                return len(run) - start
            if rest in JA_GIVEN:
                return len(run) - start
    for surname in _surnames_of(run):  # a surname and up to three more letters
        rest = run[len(surname) :].lstrip(" ")
        if len(rest) <= 3 and run[-1] not in _ROLE_END:
            return len(run)
    if _given_after(run):
        return len(run)
    if run in JA_GIVEN and not before.endswith(("お", "ご", "御")):
        return len(run)
    if gap:  # neither part is listed: 桜木 花道様
        length = _unlisted(given, " ")
        plain = 1 <= len(family) <= 4 and not _common(family) and not _HIRAGANA.search(family)
        return len(run) if length and plain else length
    tail = _HIRAGANA.split(run)[-1]
    if tail != run:
        return _unlisted(tail, run[: -len(tail)]) if tail and run[-len(tail) - 1] in _PARTICLES else 0
    return _unlisted(run, before)


_PARTICLES = tuple("はがをにともへで、")
_HIRAGANA = re.compile("[ぁ-ん]")


def _unlisted(run: str, before: str) -> int:
    """Length of a run that is a name by its looks alone."""
    plain = 2 <= len(run) <= 4 and not _common(run) and not before.endswith(("お", "ご", "御"))
    return len(run) if plain and (not before.endswith("の") or _LEAD_END.search(before)) else 0


def _given_after(run: str) -> bool:
    """Whether a listed given name of two letters or more ends the run, with what may be a surname before it."""
    return any(run[-size:] in JA_GIVEN and 2 <= len(run[:-size].rstrip()) <= 4 for size in (2, 3))


def _western(folded: str) -> Iterator[tuple[int, int]]:
    for pattern, cues in _WESTERN:
        if not any(cue in folded for cue in cues):
            continue
        for m in pattern.finditer(folded):
            words = m["name"].split()
            if words[0] not in _NOT_NAMES:
                kept = next((i for i, word in enumerate(words) if word in _NOT_NAMES), len(words))
                yield m.start("name"), m.start("name") + len(re.sub("['’]s$", "", " ".join(words[:kept])))
    for m in _SELF_EN.finditer(folded):
        if m["name"] in EN_GIVEN:
            yield m.span("name")
    pair = _TWO.search(folded) if _PAIR.search(folded) else None
    while pair:  # overlapping on purpose: "Yesterday Anna Smith" starts again at Anna
        m, pair = pair, _TWO.search(folded, pair.end("first"))
        if m["first"] in EN_GIVEN and m["last"] not in _NOT_NAMES and m["next"].strip() not in _PLACES:
            yield m.start("first"), m.end("last")


_PLACES = words(
    """Street St Road Rd Avenue Ave Lane Drive Park University College School Hospital Hotel Airport Award"""
)
