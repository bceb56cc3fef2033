"""The questions of a year, each for one of five desks: what people ask about changes from month to month.

Every desk has a list of things that go wrong. One more of them comes up each month, and those of long ago come up no
more; so do products. Nothing here is in `HELD_OUT` but the desks.
"""

from __future__ import annotations

import random
from typing import Any

SYSTEM = "Name the desk that answers this customer."

DESKS = {
    "shipping": """
        Where is the {} that I ordered last week?
        The courier left my {} at a neighbour's house.
        Tracking of the {} has not moved for days.
        Nobody rang the bell, and the {} went back to the depot.
        How long does a {} travel to Norway?
        The van brought only half of it: the {} is missing.
        Please bring the {} to my office, not to my home.
        A drone was to drop the {} in our garden, but it never came.
        My parcel locker stays shut, and the {} is in it.
        Does customs hold up a {} from outside the union?
        The driver says that the {} does not fit into his van.
        Could the {} come on Saturday instead of Monday?
        """,
    "billing": """
        I was charged twice for the {}.
        The invoice for the {} has a wrong VAT number.
        May I pay for the {} in three instalments?
        My card was declined when I bought the {}.
        The {} costs more at the checkout than on its page.
        Our bookkeeping needs a receipt for one {}.
        The voucher was not taken off the price of the {}.
        You remind me to pay for a {}, yet I paid in May.
        Can we settle the {} by bank transfer?
        Do you take crypto coins for a {}?
        The amount for the {} was taken in dollars, not euros.
        Please put our order number on the bill for the {}.
        """,
    "returns": """
        I would like to send the {} back.
        The {} has the wrong colour; how do I exchange it?
        Where do I print the label to return a {}?
        I changed my mind about the {} within the fortnight.
        It was a gift, and we have a {} already: can it go back?
        You sent a {} that none of us wanted; who collects it?
        The {} is too big for our hall, take it back please.
        Is there a restocking fee for an opened {}?
        May I hand in the {} at a shop instead of posting it?
        I lost the box of the {}; can I give it back without?
        Four were too many, so one {} shall go back.
        How many days do I have to return the {}?
        """,
    "repairs": """
        The {} stopped working after a week.
        A screw broke off my {}.
        Is the {} still under warranty?
        Where do I get spare parts for the {}?
        The {} makes a loud noise when I use it.
        Our {} is leaking, can somebody look at it?
        What would mending a cracked {} cost?
        The {} needs new firmware and hangs while it loads.
        Rust shows on the {} although it is new.
        A technician was to see to the {} today.
        The battery of the {} is swelling.
        It fell down the stairs, and now the {} is bent.
        """,
    "account": """
        I can't log in to see my {}.
        How do I change my e-mail address? I wait for a {}.
        The password link expired before I saw the {}.
        Please delete my profile, the {} was my last order.
        My points for the {} do not show in my profile.
        Two of us share a login, and only one sees the {}.
        The code by text message never comes, so I can't confirm the {}.
        My name is spelt wrongly on the page with the {}.
        Stop the newsletter about the {}, please.
        Somebody else ordered a {} with my user name.
        Where do I turn on sign-in in two steps before I order a {}?
        The app logs me out whenever I open the {}.
        """,
}
HELD_OUT = {
    "shipping": "When does it arrive, the {}?/The package with the {} came open./Can I fetch the {} from the depot?"
    "/Is sending a {} to Spain possible?/Two weeks, and still no {} at my door.",
    "billing": "The total for the {} is wrong./Send me the invoice again, for a {}./Why is tax added to the {}?"
    "/The discount on the {} is missing./I paid for the {} with the wrong card.",
    "returns": "Take the {} back, it is not what I wanted./How do I swap the {} for a smaller one?"
    "/We don't need the {} any more. Return?/Who picks up the {} that goes back?/Wrong {}, I want to exchange it.",
    "repairs": "My {} is broken./The {} does not switch on./A part of the {} came loose, who fixes it?"
    "/Does the guarantee cover a split {}?/There is a crack in the {}.",
    "account": "I forgot my password and want the {}./Change the phone number of my login, I ordered a {}."
    "/Close my account, please. No more {}./My login is locked since the {}./How do I sign up to buy a {}?",
}
PRODUCTS = """
    oak shelf/steel ladder/desk lamp/garden hose/office chair/wall clock/label printer/tool bag/floor lamp/water filter
    bamboo basket/smoke alarm/drill/paint roller/rice cooker/camping stove/walnut table/heat pump/bread oven/kayak
    sewing machine/tent/bicycle pump/piano stool/bookcase/wheelbarrow/snow shovel/fish tank/coffee grinder/radiator
    mirror/hammock/chess set/telescope/ceiling fan/door handle/yoga mat/suitcase/microphone/kettle
    beehive/loom/scooter/drum kit/microscope/fountain pen/workbench/globe/vacuum cleaner/projector
    weather station/sandpit/tripod/typewriter/sauna stove/record player/greenhouse/punchbag/lawn mower/bunk bed
    """
OLDEST = 4  # months after which a thing comes up no more


def held_out(rows: int) -> list[dict[str, Any]]:
    """Rows in words of their own, the desks in turn."""
    rng = random.Random("held out")
    asked = [(desk, text) for texts in zip(*(_held_out(desk) for desk in DESKS), strict=True) for desk, text in texts]
    return [_row(text.format(rng.choice(_products())), desk) for desk, text in asked[:rows]]


def _held_out(desk: str) -> list[tuple[str, str]]:
    return [(desk, text) for text in HELD_OUT[desk].split("/")]


def month(number: int, rows: int) -> list[dict[str, Any]]:
    """What is asked in a month, from 0: half of it has come up now, half in the months before. -1 is before all."""
    rng = random.Random(f"month {number}")
    products = _products()[max(0, 4 * (number - OLDEST)) : 4 * number + 16]
    desks = [desk for _ in range(rows) for desk in rng.sample(list(DESKS), len(DESKS))][:rows]
    made = []
    for place, desk in enumerate(desks):
        texts = _lines(DESKS[desk])
        newest = min(number + 1, len(texts) - 1)
        oldest = max(0, newest - OLDEST)
        which = newest if place % 2 else rng.randint(oldest, newest)
        made.append(_row(texts[which].format(rng.choice(products)), desk))
    return made


def _row(question: str, desk: str) -> dict[str, Any]:
    turns = (("system", SYSTEM), ("user", question), ("assistant", desk))
    return {"messages": [{"role": role, "content": content} for role, content in turns]}


def _lines(text: str) -> list[str]:
    return [line.strip() for line in text.strip().splitlines()]


def _products() -> list[str]:
    return [name for line in _lines(PRODUCTS) for name in line.split("/")]
