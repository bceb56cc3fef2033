"""A corpus with planted personal data, made from a seed, so that the rules can fail.

A third of the names are in no list of sodate, spellings, forms and widths are mixed, and half of the rows hold things
that only look personal (order numbers, dates, prices, roles, places, numbers of companies).
"""

from __future__ import annotations

import random

from sodate.data.identity import corporate_valid, licence_valid

Row = tuple[str, str, list[tuple[str, int, int]]]  # language, text, true spans (kind, start, end)

JA_FAMILY = [
    "佐藤", "鈴木", "高橋", "田中", "渡辺", "伊藤", "中村", "小林", "山口", "斎藤", "長谷川", "佐々木", "森", "原",
]  # fmt: skip
JA_FAMILY_VARIANT = [
    "高橋", "山崎", "渡辺", "斎藤", "斉藤", "浜田", "長島", "沢田", "桜井", "広瀬", "滝沢", "徳永", "桑田",
]  # fmt: skip
JA_FAMILY_RARE = [
    "鬼塚",
    "御手洗",
    "喜屋武",
    "四月朔日",
    "小鳥遊",
    "猪狩",
    "勅使河原",
    "蓬田",
    "桜木",
    "神宮寺",
    "東雲",
]
JA_GIVEN = ["太郎", "花子", "健一", "美咲", "陽菜", "翔太", "直樹", "裕子", "葵", "大輔"]
JA_GIVEN_RARE = ["琉偉", "心陽", "穂乃花", "龍之介", "絢音", "颯真", "花道", "楓"]
EN_FIRST = ["James", "Emily", "Anna", "Robert", "Sarah", "Michael", "Laura", "David", "Maria", "Kevin"]
EN_FIRST_RARE = ["Xiulan", "Oluwaseun", "Thandiwe", "Bartholomew", "Siobhan", "Ingeborg"]
EN_LAST = ["Smith", "Baker", "Johnson", "O'Brien", "Nguyen", "Garcia", "Okonkwo", "Müller", "Taylor", "McDonald"]
TOWNS = [
    "東京都新宿区西新宿", "大阪府大阪市北区梅田", "神奈川県横浜市西区みなとみらい", "北海道札幌市中央区北一条西",
    "福岡市博多区博多駅前", "埼玉県さいたま市大宮区桜木町", "京都市中京区御池通", "長野県諏訪郡下諏訪町社",
]  # fmt: skip
STREETS = [
    "Baker Street", "Evergreen Terrace", "Main St", "Park Avenue", "Elm Road", "Queen's Gate", "Market St.",
    "Via Roma", "Lakeshore Drive",
]  # fmt: skip
CITIES = ("London SW1A 1AA", "Springfield, IL 62704", "Austin, TX 78701", "Leeds LS1 4DY", "Portland, OR 97201")


def _digits(rng: random.Random, n: int) -> str:
    return "".join(rng.choice("0123456789") for _ in range(n))


def _wide(rng: random.Random, text: str) -> str:
    """Full-width digits and signs in one of five cases, with the hyphens people type."""
    if rng.random() < 0.8:
        return text
    return text.translate({i: i + 0xFEE0 for i in range(0x21, 0x7F)}).replace("－", rng.choice("－ー−‐"))


def _my_number(rng: random.Random) -> str:
    body = _digits(rng, 11)
    weights = (6, 5, 4, 3, 2, 7, 6, 5, 4, 3, 2)
    rest = sum(int(d) * w for d, w in zip(body, weights, strict=True)) % 11
    number = body + str(0 if rest <= 1 else 11 - rest)
    return rng.choice([number, f"{number[:4]} {number[4:8]} {number[8:]}", f"{number[:4]}-{number[4:8]}-{number[8:]}"])


def _card(rng: random.Random) -> str:
    prefix, length = rng.choice([("4", 16), ("5412", 16), ("3782", 15), ("3530", 16), ("6011", 16), ("2221", 16)])
    body = prefix + _digits(rng, length - len(prefix) - 1)
    number = next(body + c for c in "0123456789" if _luhn(body + c))
    if length == 16 and rng.random() < 0.6:
        return rng.choice(" -").join(number[i : i + 4] for i in range(0, 16, 4))
    return number


def _luhn(number: str) -> bool:
    digits = [int(d) for d in number]
    for i in range(len(digits) - 2, -1, -2):
        digits[i] = digits[i] * 2 - 9 * (digits[i] > 4)
    return sum(digits) % 10 == 0


def _licence(rng: random.Random) -> str:
    body = rng.choice(("30", "62", "45", "97", "10")) + _digits(rng, 8)
    return next(body + c + last for c in "0123456789" for last in (_digits(rng, 1),) if licence_valid(body + c + last))


def _company(rng: random.Random) -> str:
    body = _digits(rng, 12)
    return next(c + body for c in "123456789" if corporate_valid(c + body))


def _passport(rng: random.Random) -> str:
    return rng.choice("MT") + rng.choice("KRSUZ") + _digits(rng, 7)


def _account(rng: random.Random) -> str:
    return _digits(rng, 7)


def _pension(rng: random.Random) -> str:
    return f"{_digits(rng, 4)}-{_digits(rng, 6)}"


def _insurance(rng: random.Random) -> str:
    return _digits(rng, 8)


def _residence(rng: random.Random) -> str:
    return "".join(rng.choices("ABEFGHKLMN", k=2)) + _digits(rng, 8) + "".join(rng.choices("ABEFGHKLMN", k=2))


def _birthday(rng: random.Random) -> str:
    month, day, era = rng.randint(1, 12), rng.randint(1, 28), rng.randint(2, 63)
    return rng.choice([f"昭和{era}年{month}月{day}日", f"S{era}.{month}.{day}", "平成元年十二月三日",
        "昭和六十年一月二日",
                       f"{1925 + era}年{month}月{day}日", f"{1925 + era}/{month:02}/{day:02}"])  # fmt: skip


def _hidden_phone(rng: random.Random) -> str:
    """A mobile number as people spell it to get past a filter, or dictate it."""
    a, b = _digits(rng, 4), _digits(rng, 4)
    kanji = str.maketrans("0123456789", "〇一二三四五六七八九")
    words = dict(
        zip(
            "0123456789",
            ["ゼロ", "イチ", "ニー", "サン", "ヨン", "ゴー", "ロク", "ナナ", "ハチ", "キュウ"],
            strict=True,
        )
    )
    return rng.choice([
        f"090-{a}-{b}".translate(kanji), f"090の{a}の{b}".translate(kanji), f"090の{a}の{b}", f"090・{a}・{b}",
        f"090/{a}/{b}", f"090_{a}_{b}", f"090~{a}~{b}", f"090 - {a} - {b}",
        " ".join("090" + a + b), f"０９０－{a}ー{b}",
        f"090\u200b{a}\u200b{b}", f"(+81)90-{a}-{b}", f"+81(0)90-{a}-{b}", f"0081-90-{a}-{b}", f"O9O-{a}-{b}",
        f"（０９０）{a}-{b}", f"090　{a}　{b}", f"090—{a}—{b}",
        "".join(words[c] for c in "090" + a + b), f"09{'0'}{a}{b}",
    ])  # fmt: skip


def _hidden_email(rng: random.Random) -> str:
    user = rng.choice(["taro.yamada", "kenji_88", "info", "x-y-z"])
    at, dot = rng.choice([
        ("[at]", "."), (" [at] ", " [dot] "), ("(at)", "(dot)"), ("（アット）", "."),
        ("アットマーク", "ドット"), ("★", "."),
        ("＠", "．"), (" at ", " dot "), ("【at】", "."), ("%40", "."), ("&#64;", "."), ("[@]", "[.]"), ("_at_", "."),
        (" @ ", "."), ("@\u200b", "."), ("(a)", "."), ("◎", "."), ("＜at＞", "。"),
    ])  # fmt: skip
    return f"{user}{at}example{dot}{rng.choice(['com', 'jp', 'co.jp'])}"


def _email(rng: random.Random) -> str:
    user = rng.choice(["taro.yamada", "info+shop", "a", "kenji_88", "j.o'neil", "SALES", "x-y-z"])
    domain = rng.choice(["example.co.jp", "mail.example.com", "example.museum", "ex-ample.io", "a.b.c.example.org"])
    return f"{user}@{domain}"


def _phone_ja(rng: random.Random) -> str:
    a, b, c = _digits(rng, 4), _digits(rng, 4), _digits(rng, 3)
    return rng.choice([
        f"090-{a}-{b}", f"080{a}{b}", f"03-{a}-{b}", f"(06){a}-{b}", f"045({c}){a}", f"0120-{c}-{_digits(rng, 3)}",
        f"+81 90-{a}-{b}", f"050 {a} {b}", f"0465-{_digits(rng, 2)}-{a}", f"070.{a}.{b}", f"+81-3-{a}-{b}", f"03{a}{b}",
    ])  # fmt: skip


def _phone_en(rng: random.Random) -> str:
    area, mid, last = f"{rng.randint(2, 9)}{_digits(rng, 2)}", f"{rng.randint(2, 9)}{_digits(rng, 2)}", _digits(rng, 4)
    return rng.choice([
        f"({area}) {mid}-{last}", f"{area}-{mid}-{last}", f"{area}.{mid}.{last}", f"+1 {area} {mid} {last}",
        f"1-{area}-{mid}-{last}", f"+44 20 7946 {last}", f"020 7946 {last}", f"+49 30 {_digits(rng, 6)}",
        f"07700 900{_digits(rng, 3)}", f"{area}{mid}{last}",
    ])  # fmt: skip


# Variants that stand in family registers, by the form in everyday use.
VARIANTS = {
    "高": "髙", "崎": "﨑", "辺": "邉邊", "斎": "齋", "斉": "齊", "浜": "濵濱", "徳": "德", "桑": "桒", "島": "嶋嶌",
    "沢": "澤", "桜": "櫻", "広": "廣", "真": "眞", "国": "國", "栄": "榮", "恵": "惠", "渕": "淵", "滝": "瀧",
    "橋": "槗",
}  # fmt: skip


def _name_variant(rng: random.Random) -> str:
    """A listed name in which each kanji that has a variant is one, or stands with a selector of its shape."""
    name = rng.choice(JA_FAMILY_VARIANT) + rng.choice(["", *JA_GIVEN])
    shaped = rng.random() < 0.2
    return "".join(c + "\U000e0100" if shaped and c in VARIANTS else rng.choice(VARIANTS.get(c, c)) for c in name)


def _name_ja(rng: random.Random) -> str:
    if rng.random() < 0.25:
        return _name_variant(rng)
    family = rng.choice(JA_FAMILY_RARE if rng.random() < 0.33 else JA_FAMILY)
    given = rng.choice(JA_GIVEN_RARE if rng.random() < 0.33 else JA_GIVEN)
    return rng.choice([family, family + given, f"{family} {given}", f"{family}　{given}"])


def _name_en(rng: random.Random) -> str:
    return f"{rng.choice(EN_FIRST_RARE if rng.random() < 0.33 else EN_FIRST)} {rng.choice(EN_LAST)}"


def _address_ja(rng: random.Random) -> str:
    n = [rng.randint(1, 30) for _ in range(3)]
    number = rng.choice(
        [f"{n[0]}-{n[1]}-{n[2]}", f"{n[0]}丁目{n[1]}番{n[2]}号", f"{n[0]}-{n[1]}", f"{n[0]}番地", "二丁目三番"]
    )
    room = rng.choice(["", "", f" パークハイツ{_digits(rng, 3)}号室", f" {rng.randint(101, 999)}号室"])
    return rng.choice(["", f"〒{_digits(rng, 3)}-{_digits(rng, 4)} "]) + rng.choice(TOWNS) + number + room


def _address_en(rng: random.Random) -> str:
    street = f"{rng.randint(1, 9999)} {rng.choice(STREETS)}"
    return street + rng.choice(["", f", Apt {rng.randint(1, 40)}"]) + rng.choice(["", f", {rng.choice(CITIES)}"])


JA = {
    "email": (_email, ("連絡先は{}です。", "{}までご返信ください", "メール：{}", "宛先<{}>に送りました。")),
    "phone": (_phone_ja, ("電話番号は{}です。", "TEL：{}", "{}にお電話ください。", "携帯({})へ折り返し希望")),
    "card": (_card, ("カード番号は{}です。", "{}で決済しました", "VISA {} 有効期限 12/28")),
    "my-number": (_my_number, ("マイナンバーは{}です。", "個人番号：{}", "{}を登録したい")),
    "name": (
        _name_ja,
        (
            "{}様、いつもお世話になっております。",
            "{}さんから連絡がありました。",
            "氏名：{}",
            "私は{}と申します。",
            "担当の{}が伺います。",
        ),
    ),
    "name, in passing": (
        _name_ja,
        (
            "お客様 {}様",
            "お客様の{}様よりお電話です",
            "お名前は{}です。",
            "お名前：{}",
            "お客様名 {}",
            "ご契約者様 {} 様",
            "私は{}です。",
            "{}と申しますが、注文の件で",
            "担当の{}さんに代わってください",
            "店長の{}さんにお礼を",
            "営業部の{}です。お世話になっております",
            "申込者 {}様",
            "受取人は{}です",
            "{}さまのご予約",
            "{}課長にご確認ください",
            "患者の{}さんが来院",
            "友人の{}くんと",
            "先日は{}氏に伺いました",
            "こちらは株式会社青空の{}と申します",
            "会員の{}様、ご当選です",
            "担当：{}",
            "宛名は{}様で領収書を",
        ),
    ),
    "address": (_address_ja, ("住所は{}です。", "{}に届けてください。", "送付先：{}", "{}へ引っ越しました")),
}
JA |= {
    "phone, hidden": (_hidden_phone, ("連絡先は{}です。", "{}", "{}まで折り返しを", "本人（{}）")),
    "email, hidden": (_hidden_email, ("連絡先は{}です。", "{}", "{} までご返信ください", "本人（{}）")),
    "driver-licence": (_licence, ("免許証番号は{}です。", "運転免許証：{}", "免許証の番号（{}）を控えました", "{}")),
    "passport": (_passport, ("旅券番号は{}です。", "パスポート {}", "パスポート番号：{}")),
    "bank-account": (_account, ("口座番号は{}です。", "みずほ銀行 新宿支店 普通 {}", "振込先 普通預金 {}", "口座：{}")),
    "pension": (_pension, ("基礎年金番号は{}です。", "年金番号：{}", "年金手帳の番号 {}")),
    "health-insurance": (_insurance, ("被保険者番号は{}です。", "保険証の番号：{}", "健康保険証 番号 {}")),
    "residence-card": (_residence, ("在留カード番号は{}です。", "在留カード：{}", "{}を確認しました")),
    "birthday": (_birthday, ("生年月日は{}です。", "{}生まれの者です", "生年月日：{}", "誕生日が{}なので")),
}
EN = {
    "email": (_email, ("Write to {} please.", "My e-mail: {}", "<{}> bounced", "contact {}, thanks")),
    "phone": (_phone_en, ("Call me at {}.", "Phone: {}", "My number is {}, evenings only", "I rang {} twice")),
    "card": (_card, ("My card {} was declined.", "Card number: {}", "charged to {} yesterday")),
    "my-number": (_my_number, ("My individual number is {}.", "My Number: {}")),
    "name": (
        _name_en,
        (
            "Dear {},\nyour parcel left.",
            "It broke.\nBest regards,\n{}",
            "My name is {} and I moved.",
            "Yesterday {} called.",
            "Mr. {} is waiting.",
            "Customer name: {}",
        ),
    ),
    "address": (_address_en, ("Please ship to {}.", "I live at {}", "New address: {}", "Moved from {} last week")),
}
WIDE = ("email", "phone", "card", "my-number", "address", "driver-licence", "bank-account", "pension")
CLEAN_JA = (
    "法人番号は{company}です。",
    "登録番号 T{company}",
    "インボイスの番号はT{company}",
    "平成{m}年4月1日施行の規程",
    "会議は2026年{m}月{m}日です",
    "記号と番号をご確認ください。",
    "普通の{d3}個入りです",
    "注文番号は{d10}です。",
    "{y}-0{m}-1{m} 10:3{m} に届きました。",
    "価格は{m},{d3}円（税込）です。",
    "お客様の声をお聞かせください。",
    "担当者様にお伝えください。",
    "東京都の人口は約1,400万人です。",
    "皆さん、こんにちは。",
    "大阪市内の3店舗で販売中",
    "品番 AB-{d4}-{d4}",
    "同様の仕様で{m}個お願いします。",
    "追跡番号 {d4}-{d4}-{d4}",
    "第{m}回の会議は会議室3で行います。",
    "バージョン1.{m}.{m}に更新",
    "森は静かだった。",
    "お客様専用窓口様式を送ります。",
    "私は学生です。",
    "私は東京の会社員です。",
    "担当の部署が確認します。",
    "担当の者が伺います。",
    "お名前は漢字でお願いします。",
    "お名前は不要です。",
    "店長の判断で返品できます。",
    "弊社の製品です。",
    "営業部の方針です。",
    "お客様 各位",
    "お取引先様 各位 様式{m}",
    "会社の同僚さんと相談しました。",
    "近所の花屋さんで買いました。",
    "新任課長にお伝えください。",
    "営業課長と部長が出席します。",
    "友人の結婚式で使います。",
    "千葉です。",
    "受取人は家族です。",
    "宛名は空欄で結構です。",
    "会員の皆様、ご来場の皆様",
    "患者の容体は安定しています。",
    "お客様のご都合に合わせます。",
    "届かない様です。",
    "原因は調査中です。",
    "本屋さんで買いました。",
    "国道{m}号線が渋滞",
    "JANコード 49{d11}",
    "ISBN978-4-{d4}-{d4}-{m}",
    "{m}-{m}で引き分けた",
)
CLEAN_EN = (
    "Order number {d10} has shipped.",
    "It was {y}-0{m}-1{m} at 10:3{m}.",
    "The price is ${m},{d3}.00 in total.",
    "Dear Customer,\nthank you.",
    "Invoice INV-{d4}-{d4} is open.",
    "The New York Times wrote about it.",
    "Tracking: 1Z{d10}",
    "Version 2.{m}.{m} of Visual Studio Code",
    "Flight BA{d3} leaves on Monday.",
    "Serial 4{d11}{d4}",
    "Thanks Team!",
    "Open from 9 to 1{m}, Monday to Friday",
    "Room {d3} on floor {m}",
    "ISBN 978-3-16-{d6}-0",
    "I am Happy with it",
    "Total of {d3}-{d3} points in 20{m}0",
    "Win {m} Park Tickets",
    "IP 192.168.{m}.{m}",
)


def corpus(seed: int, rows: int) -> list[Row]:
    """`rows` rows, half of them with one true span, languages alternating. `phone, hidden` is of the kind phone."""
    rng = random.Random(seed)
    made: list[Row] = []
    for i in range(rows):
        language = "ja" if i % 2 else "en"
        if i % 4 < 2:
            all_kinds = JA if language == "ja" else EN
            kind = list(all_kinds)[(i // 4) % len(all_kinds)]
            make, frames = all_kinds[kind]
            value = _wide(rng, make(rng)) if language == "ja" and kind in WIDE else make(rng)
            before, after = rng.choice(frames).split("{}")
            made.append((language, before + value + after, [(kind, len(before), len(before) + len(value))]))
        else:
            frame = rng.choice(CLEAN_JA if language == "ja" else CLEAN_EN)
            fill = {"company": _company(rng)} | {f"d{n}": _digits(rng, n) for n in (3, 4, 6, 10, 11)}
            made.append((language, frame.format(y=rng.randint(2001, 2026), m=rng.randint(1, 9), **fill), []))
    return made
