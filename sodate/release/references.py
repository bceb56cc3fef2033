"""The twenty conversations over which an exported version has to answer as it does here.

Each brings something that engines are known to read differently: other scripts, kanji that no token has whole, wide
spaces and digits, line breaks, code, tools, many turns, prompts longer than a sliding window.
"""

from __future__ import annotations

from typing import Any

from sodate.core.types import Conversation, Message, ToolCall


def user(text: str) -> Message:
    return Message("user", text)


def system(text: str) -> Message:
    return Message("system", text)


def said(text: str) -> Message:
    return Message("assistant", text)


def tool(name: str, about: str, **fields: str) -> dict[str, Any]:
    properties = {field: {"type": kind} for field, kind in fields.items()}
    parameters = {"type": "object", "properties": properties, "required": list(fields)}
    return {"type": "function", "function": {"name": name, "description": about, "parameters": parameters}}


WEATHER = tool("get_weather", "The weather in a city today.", city="string")
STOCK = tool("find_stock", "商品の在庫数を調べます。", product="string", quantity="integer")

LETTER = (
    "Dear colleagues, as agreed in our call on 12 March I am sending the list of open points for the spring catalogue. "
    "The photographs of pages 14 to 21 are still missing, the price of the oak table (item 40-117) is 1,249.00 EUR and "
    "not 1,294.00 EUR, and the delivery terms on the last page are those of 2019. Please check them before Friday.\n\n"
)
LETTER_JA = (
    "平素より大変お世話になっております。先日ご相談した春の新商品カタログにつきまして、確認事項をお送りします。"
    "14ページから21ページの写真がまだ届いておりません。また、オーク材のテーブル（品番40-117）の価格は124,900円です。"
    "最終ページの配送条件は2019年のもののようですので、金曜日までにご確認いただけますと幸いです。\n\n"
)

REFERENCES = (
    Conversation((user("What is the capital of France, and what is it known for?"),)),
    Conversation((system("You answer in one short sentence."), user("Why is the sky blue?"))),
    Conversation((user("日本で一番高い山は何ですか。高さも教えてください。"),)),
    Conversation((
        system("あなたは通販会社の丁寧な問い合わせ窓口です。"),
        user("注文した商品がまだ届きません。注文番号は A-20931 です。"),
    )),
    Conversation((
        user("Name a fruit."),
        said("An apple."),
        user("And one that is yellow?"),
        said("A banana."),
        user("Which of the two has more sugar?"),
    )),
    Conversation((
        user("おすすめの本はありますか?"),
        said("どのようなジャンルがお好きですか?"),
        user("推理小説です。"),
    )),
    Conversation((user(
        "Hello,\n\nplease send us 12 boxes of A4 paper and 3 staplers by 2026-03-02.\n\nRegards\nAnna Weber"
    ),)),
    Conversation((user(
        "What does this print?\n\n```python\nfor i in range(3):\n    if i % 2:\n        print(i ** 2)\n```"
    ),)),
    Conversation((user("Add 1,234.56 + 78.9 - 0.001, then 15 % of 2,000, and 10^3."),)),
    Conversation((user("Translate these: 🍎 🍣 👩‍👩‍👧 🇯🇵 — and ½ of №7 for 5 €?"),)),
    Conversation((user("Same word: Straße, naïve, Łódź, любовь, 사랑, 爱, حب, प्यार."),)),
    Conversation((user("「薔薇」「鬱蒼」「髙橋」「山﨑」「𠮷野家」「贔屓」の読み方を教えてください。"),)),
    Conversation((user("ＡＢＣ　１２３　ｶﾀｶﾅ と ABC 123 カタカナ は同じですか？"),)),
    Conversation((user(
        "| item | price |\n|---|---:|\n| tea | 3.50 |\n| milk | 1.20 |\n\nWhich is cheaper? <b>One</b> *word*."
    ),)),
    Conversation((user("How is the weather in Oslo?"),), (WEATHER,)),
    Conversation(
        (
            user("Is it warmer in Rome or in Oslo?"),
            Message("assistant", tool_calls=(ToolCall("call00001", "get_weather", '{"city": "Rome"}'),)),
            Message("tool", '{"celsius": 24}', tool_call_id="call00001", name="get_weather"),
            said("It is 24 degrees in Rome."),
            user("And in Oslo?"),
        ),
        (WEATHER,),
    ),
    Conversation(
        (
            user("りんごを12個注文できますか。"),
            Message("assistant", tool_calls=(
                ToolCall("call00002", "find_stock", '{"product": "りんご", "quantity": 12}'),
            )),
            Message("tool", '{"在庫": 40}', tool_call_id="call00002", name="find_stock"),
        ),
        (STOCK,),
    ),
    Conversation((user(LETTER * 5 + "Which item has a wrong price?"),)),
    Conversation((user(LETTER_JA * 3 + "価格はいくらですか。"),)),
    Conversation((
        user("Let us count."),
        *(turn for n in range(1, 9) for turn in (said(f"{n}"), user("Next, please."))),
    )),
)  # fmt: skip
"""Prompts: each ends where the assistant is to speak."""
