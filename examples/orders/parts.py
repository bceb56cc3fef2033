"""What the order mails are made of: names, products, phrases and templates, three sets that share nothing.

All of it is invented. To make an example of your own, replace these lists with mails you know; `make.py` does the rest.
"""

from __future__ import annotations

from dataclasses import dataclass

MONTHS = ["January", "February", "March", "April", "May", "June"]
MONTHS += ["July", "August", "September", "October", "November", "December"]
NUMBER_WORDS = {
    2: "two",
    3: "three",
    4: "four",
    5: "five",
    6: "half a dozen",
    8: "eight",
    10: "ten",
    12: "a dozen",
    15: "fifteen",
    20: "twenty",
}


@dataclass(frozen=True)
class Parts:
    """Everything one set of mails is written from."""

    companies: list[str]
    people: list[str]
    products: list[str]
    when: list[str]  # sentences with {date}
    urgent: list[str]  # sentences that make the order urgent
    calm: list[str]  # sentences that do not
    flags: tuple[str, str]  # how a form says urgent, not urgent
    layouts: list[str]  # one line of an item list: {q} quantity, {p} product, {n} line number
    mails: list[str]  # templates of mails from companies
    private_mails: list[str]  # templates of mails from private persons


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.replace("\n", ";").split(";") if name.strip()]


def _pairs(first: str, second: str) -> list[str]:
    """Every first with every second."""
    return [f"{left} {right}" for left in _names(first) for right in _names(second)]


TRAIN = Parts(
    # Many names, each seen once or twice: what a mail calls its buyer has to be copied, it cannot be remembered.
    companies=[
        *_names("Alder & Finch; Osborne & Daughters; Café Milano; Hotel Bellevue; Lindqvist Optik; Sato Seisakusho"),
        *_pairs(
            """
            Birchwood; Harbor Lane; Kestrel; Northgate; Tidewater; Copperfield; Maple Row; Redstone
            Pinecrest; Brightwell
            Orchard Hill; Delta; Vega; Silverline; Granite Peak; Willow Street; Nakamura; Fenwick; Blue Heron; Castellan
            Juniper; Rosewood; Quayside; Ironbridge; Summit Ridge; Paperknife; Oakham; Zephyr; Larkspur; Hashimoto
            """,
            """
            Bakery; Dental; Cycles; Primary School; Yachts; Studio; Nursery; Joinery; Lodge; Clinic; Farm; Print Works
            Robotics; Couriers; Gym; Library; Shokai; Autos; Pottery; Security; Events; Tailors
            Theatre; Brewing; Welding
            Camping; Press; Veterinary; Kites; Florists; Logistics; Bank; Hospital; Construction
            Foods; & Sons; GmbH; Ltd
            """,
        ),
    ],
    people=_pairs(
        """
        Anna; Tom; Priya; Luis; Mei; Greg; Sofia; Omar; Ellen; Kenji; Ruth; Dmitri; Clara; Paul
        Hana; Victor; Leila; Ben
        Ingrid; Marco; Yuki; Stella; Frank; Amy; Julia; Sven; Fatima; Robert
        """,
        """
        Keller; Whitaker; Raman; Ortega; Tanaka; Holloway; Lindholm; Haddad; Brandt; Mori; Okafor
        Volkov; Jensen; Marchetti
        Suzuki; Ames; Farouk; Crosby; Solberg; Bianchi; Arai; Novak; Dunmore; Prescott; Weber; Kowalski; Nguyen; Ibrahim
        """,
    ),
    products=[
        *_names("""
            M8 hex bolts; desk lamps; ring binders; A4 paper packs; cable ties; work gloves
            paint rollers; LED bulbs; envelopes
            whiteboard markers; office chairs; toner cartridges; garden hoses; safety goggles; sanding discs; ink pads
            masking tape rolls; USB keyboards; wall clocks; shipping boxes; bubble wrap rolls
            extension cords; tool bags
            curtain rods; filing cabinets; dust masks; drill bits; key tags; label printers; mouse pads; cleaning cloths
            smoke alarms; padlocks; hex keys; gate valves; ceiling fans; chalk boards; lever arch folders; laptop stands
            water filters; spray bottles; HDMI adapters; first aid kits; floor lamps; paper rolls; batteries; staplers
        """),
        *_pairs(
            "oak; steel; brass; nylon; rubber; plastic; copper; "
            "wire; aluminium; bamboo; walnut; foldable; heavy-duty; small",
            "shelves; brackets; hinges; handles; ropes; mats; "
            "crates; baskets; pipes; screws; ladders; trolleys; panels",
        ),
    ],
    when=[
        "Please deliver by {date}.",
        "We need everything on {date}.",
        "Delivery on {date} would be perfect.",
        "It should arrive by {date}.",
        "Can you ship so that it is here on {date}?",
        "Required date: {date}.",
    ],
    urgent=[
        "This is urgent.",
        "Please rush this one.",
        "We need it as soon as possible.",
        "It is an emergency, our stock ran out.",
        "ASAP please!",
        "Please treat this as urgent.",
        "We cannot wait long, so please hurry.",
        "This is time-critical.",
        "Express shipping, please.",
        "High priority.",
        "Customers are waiting, be quick please.",
        "We are desperate for these.",
        "I need this fast!",
    ],
    calm=[
        "No hurry.",
        "There is no rush.",
        "Take your time.",
        "Thanks for the quick help last time.",
        "The last parcel was perfect.",
        "Hope you are well.",
        "Please send the invoice as usual.",
        "Not urgent.",
        "Standard shipping is fine.",
        "Greetings to everyone in the office.",
        "We loved the samples.",
        "Your driver is always so friendly.",
        "Whenever you can.",
    ],
    flags=("urgent", "normal"),
    layouts=["- {q} x {p}", "- {p}: {q}", "* {p} ({q})", "{q} {p}", "{p} - {q} pcs"],
    mails=[
        "Hello,\n\nwe would like to order {items}. {when} {rush}\n\nBest regards,\n{contact}\n{customer}",
        "Hi there,\nplease send us {items}.\n{rush} {when}\nThanks, {contact} ({customer})",
        "Dear team,\n\n{customer} needs the following:\n{list}\n\n{when} {rush}\n\nKind regards\n{contact}",
        "Subject: Order from {customer}\n\n{list}\n\n{when}\n{rush}",
        "{contact} from {customer} here. Could we get {items}? {when} {rush}",
        "Good morning,\n{rush}\nOrder for {customer}:\n{list}\n{when}\nThank you",
        "order: {items}\nfor: {customer}\n{when} {rush}",
        "Hi, it's {contact}. We at {customer} are running low again, so {items} please. {when} {rush}",
        "Good afternoon, this is {customer}. I am writing to order {items}. {when} {rush} Sincerely, {contact}",
        "Customer: {customer}\nItems:\n{list}\nDelivery: {date}\nPriority: {flag}",
        "Ref {ref}\n{customer} orders {items}.\n{when}\n{rush}\n{contact}",
        "From: {contact}\nDate: {sent}\n\nHello, {items} for {customer}, please. {when} {rush}",
        "---- Forwarded ----\nSent: {sent}\n{customer} asks for:\n{list}\n{rush} {when}",
        "Hello again! {when} We want {items}, but no {not} this time. {rush}\n{contact}, {customer}",
        "Dear Sir or Madam,\nplease find order {ref} below.\n{list}\n{when}\n{rush}\nYours faithfully,\n{customer}",
        "{customer}\n{contact}, purchasing\n\nWe hereby order:\n{list}\n\n{when} {rush}",
        "{rush} Restock for {customer}: send {items}. {when}",
        "Hey, quick one: {items}. {when} {rush} Cheers, {contact} / {customer}",
        "Can I place an order for {customer}? It is {items}. {when} {rush} Many thanks!",
        "Please cancel the {not}. The rest of our order stays:\n{list}\n{when} {rush}\n{customer}",
        "As discussed on the phone, {customer} takes {items}. {when}\n{rush}",
        "PO {ref} | {customer}\n{list}\ndue {date} | {flag}",
    ],
    private_mails=[
        "Hello, my name is {customer} and I would like {items}. {when} {rush}",
        "Hi,\n\nI saw your shop online. Please send me {items}.\n{when} {rush}\n\n{customer}",
        "Dear shop,\nmy order:\n{list}\n{rush}\n{when}\nRegards, {customer}",
        "Please reserve {items} for me. {rush} {when} Thanks! {customer}",
        "{customer} here, private order.\n{list}\n{when} {rush}",
    ],
)

VALID = Parts(
    companies=_names("""
        Thornbury Museum; Polaris Freight; Ebony Piano House; Crescent Pharmacy; Takeda Ryokan; Amberley Golf Club
        Stonemill Cheese; Falcon Drones; Riverside Hostel
    """),
    people=_names("Nadia Petrov; Simon Blythe; Aiko Hayashi; Carlos Mendes; Judith Lang; Peter Osman"),
    products=_names("""
        glass jars; picture frames; bar stools; felt pens; wool blankets; silk lanterns; zinc buckets; tea towels
        shower heads; bicycle pumps; cork coasters; magnetic hooks; serving spoons; candle holders
    """),
    when=["We count on arrival by {date}.", "Our preferred day is {date}.", "Have it with us on {date}, please."],
    urgent=["Speed matters here.", "Please handle this first.", "We need it in a great hurry."],
    calm=["Whenever it suits you.", "The weather is lovely here.", "This can wait."],
    flags=("rush", "standard"),
    layouts=["+ {p}, {q} pieces", "{n}) {q} of {p}"],
    mails=[
        "To the order desk. {customer} wishes to buy {items}. {rush} {when} Signed: {contact}",
        "Our shopping list at {customer} for you today:\n{list}\n{when} {rush}",
        "Buyer {customer}, contact {contact}\n{list}\nWanted on {date}, {flag}",
        "May we have {items}? {rush} {when} Bill it to {customer}.",
        "I'm ordering on behalf of {customer}. You can pack {items}. {when} {rush} Bye, {contact}",
    ],
    private_mails=["I need {items} for my flat. {when} {rush} With thanks, {customer}"],
)

HELDOUT = Parts(
    companies=_names("""
        Marlowe Tea Rooms; Ostrava Lighting; Gullwing Ferries; Hearthside Inn; Yamabuki Bento; Bramble Patch Jams
        Cobalt Swim Academy; Everly Opticians; Sundial Greenhouse; Pemberton Law; Tamarind Kitchen; Wexford Stables
        Arctic Fox Outfitters; Mirabelle Patisserie; Hollis Plumbing; Kingfisher Boatyard; Ito Kenchiku
        Starling Records
        Verdant Roofing; Calloway Barbers; Moonbeam Daycare; Salt Marsh Oysters; Duval Perfumery; Ravenscroft Archives
    """),
    people=_names("""
        Gwen Atherton; Rajesh Iyer; Naoko Fujita; Bruno Castillo; Esther Mbeki; Liam Gallagher; Katya Orlova
        Henrik Dahl; Beatriz Rocha; Shun Kobayashi; Olga Wirth; Nathan Pike
    """),
    products=_names("""
        soup bowls; bread knives; linen napkins; tulip seeds; watering cans; clay pots; yoga bricks; swimming caps
        tennis balls; canvas tents; camp beds; violin strings; guitar picks; sewing needles; cotton threads
        pillow cases; bath sponges; hair dryers; soap dispensers; coffee grinders; espresso cups; wine corks
        cake tins; baking sheets; rolling pins; seed trays; bird feeders; dog leashes; cat collars; horse brushes
        fishing nets; life jackets; anchor chains; roof tiles; brick trowels; spirit levels; paving stones
    """),
    when=[
        "The latest day for us is {date}.",
        "Our van collects the goods on {date}.",
        "{date} is when the event starts, so no later than that.",
        "Drop them off at our back door on {date}.",
        "We'd be glad to unpack them on {date}.",
    ],
    urgent=[
        "Top priority, I'm afraid.",
        "Time is very short, could you push it through?",
        "This is quite pressing.",
        "Urgently needed over here!",
        "Kindly expedite.",
    ],
    calm=[
        "You don't have to hurry with it.",
        "Nothing pressing.",
        "Say hello to your colleagues.",
        "Your new catalogue looks great.",
        "A slow courier is fine with me.",
    ],
    flags=("high", "low"),
    layouts=["#{n} {p} / {q}", "{q} pieces: {p}", "[{q}] {p}", "{p} = {q}", "{n}. {p}, quantity {q}"],
    mails=[
        "Would you be able to supply {items} to {customer}? {rush} {when}",
        "{customer} has run into a little shortage: {items} are missing. {when} {rush} Yours, {contact}",
        "What we lack at {customer}\n\n{list}\n\n{rush}\n{when}\n\nGreetings from {contact}",
        "Account name: {customer}\nOperator: {contact}\nBasket\n{list}\nArrival date = {date}\nUrgency = {flag}",
        "> {contact} wrote on {sent}:\n> get me {items}\n\nSee above, charge it to {customer}. {rush} {when}",
        "Morning all! Put {items} on the next truck to {customer}, will you? {when} {rush}",
        "The list on our fridge says {items}. {when} {rush} Put it on the account of {customer}. {contact}",
        "Note for the warehouse / caller {contact} / company {customer} / wants {items} / {when} {rush}",
        "After a long meeting the board of {customer} chose your offer {ref}:\n{list}\n{rush} {when}",
        "I was told to write to you by my boss at {customer}. She has her eye on {items}. {rush} {when} {contact}",
        "Scrap the {not} from offer {ref}! What {customer} really wants: {items}. {rush} {when}",
        "Web form {ref}, received {sent}\nOrganisation » {customer}\n{list}\nWish date » {date}\nUrgency » {flag}",
        "Thank you for your offer. Accepted for {customer}:\n\n{list}\n\n{when} {rush}\n\n{contact} (accounts)",
    ],
    private_mails=[
        "Might a private buyer get {items} from you? If so, pack them for {customer}. {rush} {when}",
        "My grandmother's birthday calls for {items}! {when} {rush} Love, {customer}",
        "Parcel label: {customer}\nContents:\n{list}\n{rush} {when}",
    ],
)
