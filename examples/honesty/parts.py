"""What the FAQ example is put together from. TRAIN and HELDOUT share no company, product, value or wording."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Topic:
    """One thing a customer may ask. `{p}` is a product in topics about products, `{v}` the value that answers."""

    facts: tuple[str, ...]
    questions: tuple[str, ...]
    values: tuple[str, ...]


@dataclass(frozen=True)
class Parts:
    """One set's own companies, products and topics; topics about the shop and topics about a product."""

    companies: tuple[str, ...]
    products: tuple[str, ...]
    shop: dict[str, Topic]
    product: dict[str, Topic]


TRAIN = Parts(
    companies=(
        "Brimwell Cycles", "Tarn & Sons", "Oakmere Tools", "Lantern House", "Fennick Teas", "Copper Lane",
        "Ulverby Books", "Hollow Pine", "Merrow Sails", "Dunsk Audio", "Pellgate Shoes", "Wickham Clay",
    ),
    products=(
        "Halden lamp", "Orsa kettle", "Tivo backpack", "Brakka chair", "Nolan radio", "Lumo desk", "Perrin clock",
        "Vasker mug", "Gelt wallet", "Sorrel blanket", "Kettering bike", "Ambo tent", "Fjell jacket", "Rondo fan",
    ),
    shop={
        "opening": Topic(
            ("We open at {v}.", "The doors open at {v} every day.", "Opening time is {v}.", "From {v} we are here."),
            ("When do you open?", "What time do you open?", "From what time is the shop open?",
             "Is it too early at seven, or when do you begin?"),
            ("8:00", "8:30", "9:15", "10:00", "7:45", "11:00"),
        ),
        "closed": Topic(
            ("We are closed on {v}.", "The shop stays shut on {v}.", "On {v} nobody is here.", "Our day off: {v}."),
            ("Which day are you closed?", "On what day are you shut?", "When is your closing day?",
             "Are there days when I'd stand before a locked door?"),
            ("Mondays", "Sundays", "Wednesdays"),
        ),
        "returns": Topic(
            ("You may return goods within {v}.", "Returns are taken for {v}.", "Not happy? Bring it back within {v}."),
            ("How long can I return something?", "How many days do I have to return goods?",
             "It doesn't fit. How much time is there to bring it back?"),
            ("14 days", "30 days", "21 days", "60 days"),
        ),
        "shipping": Topic(
            ("Shipping costs {v}.", "For shipping we charge {v}.", "Sending an order comes to {v}."),
            ("How much is shipping?", "What do you charge for shipping?", "What does it cost to have an order sent?"),
            ("3 euros", "5 euros", "7 euros", "4 euros"),
        ),
        "delivery": Topic(
            ("Delivery takes {v}.", "Orders are delivered in {v}.", "An order is with you within {v}."),
            ("How long does delivery take?", "How quickly are orders delivered?",
             "If I order now, how long do I wait?"),
            ("2 days", "5 days", "one week", "48 hours"),
        ),
        "city": Topic(
            ("Our shop is in {v}.", "You find us in {v}.", "We are at home in {v}.", "Address: 4 High Street, {v}."),
            ("In which city is your shop?", "Where is your shop?", "Where do I find you?", "What place are you in?"),
            ("Tarnow Hill", "Eastmere", "Port Salden", "Grayfield", "Lower Wend"),
        ),
        "payment": Topic(
            ("You can pay by {v}.", "Payment is by {v} only.", "At the till we take {v}."),
            ("How can I pay?", "Which payment do you take?", "How do I settle the bill?"),
            ("card", "invoice", "bank transfer"),
        ),
        "founder": Topic(
            ("{v} founded the company.", "The company was founded by {v}.", "It all began with {v}, our founder."),
            ("Who founded the company?", "Who is the founder?", "Whose idea was the company?"),
            ("Ida Brandt", "Peter Holm", "Rosa Keller", "Tom Arden"),
        ),
        "staff": Topic(
            ("{v} work here.", "The team has {v}.", "We are {v} in all."),
            ("How many people work for you?", "How big is the team?", "How large is your staff?"),
            ("six people", "nineteen people", "forty people", "three people"),
        ),
        "discount": Topic(
            ("Students get {v} off.", "There is a discount of {v} for students.", "Whoever studies saves {v}."),
            ("Do students get a discount?", "I am a student. What do I save?", "How much less do students pay?"),
            ("5 percent", "12 percent", "20 percent"),
        ),
        "language": Topic(
            ("Besides English we speak {v}.", "Some of us speak {v}.", "You can also talk to us in {v}."),
            ("Which other language do you speak?", "Does anybody speak something other than English?",
             "In what other language can I talk to you?"),
            ("Dutch", "Polish", "Spanish", "Turkish"),
        ),
        "workshop": Topic(
            ("The next workshop is in {v}.", "We hold our next workshop in {v}.",
             "{v} is the month of our next workshop."),
            ("When is the next workshop?", "In which month do you hold a workshop?",
             "I'd love to join a workshop. When?"),
            ("March", "June", "October", "January"),
        ),
    },
    product={
        "price": Topic(
            ("The {p} costs {v}.", "Price of the {p}: {v}.", "You pay {v} for the {p}.", "We sell the {p} at {v}."),
            ("How much is the {p}?", "What does the {p} cost?", "What is the price of the {p}?",
             "How many euros do I need for the {p}?"),
            ("24 euros", "39 euros", "65 euros", "120 euros", "18 euros", "89 euros"),
        ),
        "warranty": Topic(
            ("The {p} has a warranty of {v}.", "The warranty for the {p} is {v}.",
             "Should the {p} break within {v}, we repair it free of charge."),
            ("How long is the warranty for the {p}?", "What warranty does the {p} have?",
             "For how long would you repair the {p} free of charge?"),
            ("2 years", "5 years", "6 months", "one year"),
        ),
        "colour": Topic(
            ("The {p} comes in {v}.", "The colour of the {p} is {v}.", "You get the {p} in {v}."),
            ("What colour is the {p}?", "Which colour does the {p} come in?",
             "If I buy the {p}, what colour is it?"),
            ("dark green", "red", "white", "light blue", "black"),
        ),
        "weight": Topic(
            ("The {p} weighs {v}.", "Weight of the {p}: {v}.", "With {v} the {p} is easy to carry."),
            ("How much does the {p} weigh?", "What is the weight of the {p}?", "How heavy is the {p}?"),
            ("2 kg", "800 g", "12 kg", "450 g", "6 kg"),
        ),
        "material": Topic(
            ("The {p} is made of {v}.", "We make the {p} from {v}.", "All of the {p} is {v}."),
            ("What is the {p} made of?", "What material is the {p}?", "From what do you make the {p}?"),
            ("oak", "steel", "wool", "glass"),
        ),
        "maker": Topic(
            ("The {p} was designed by {v}.", "{v} designed the {p}.", "The design of the {p} is by {v}."),
            ("Who designed the {p}?", "By whom is the design of the {p}?", "Which designer thought of the {p}?"),
            ("Lena Orr", "Max Tyne", "Sofia Rell", "Jon Abel"),
        ),
        "stock": Topic(
            ("There are {v} of the {p} left.", "Of the {p} we have {v} in stock.", "{v} of the {p} are on the shelf."),
            ("How many of the {p} do you have?", "Is the {p} in stock, and how many?", "How many of the {p} are left?"),
            ("seven", "eleven", "twenty", "four", "ninety"),
        ),
    },
)  # fmt: skip

HELDOUT = Parts(
    companies=(
        "Quillon Optics", "Zephyr Garden Centre", "Marlowe Bakery", "Stonebridge Pets", "Yarrow Instruments",
        "Vintner Brothers", "Cobalt Kitchens", "Harrowgate Toys", "Elm Street Surf", "Dovetail Frames",
    ),
    products=(
        "Nimbus telescope", "Arbor rake", "Crispin oven", "Wagtail collar", "Sonata flute", "Bexley decanter",
        "Juno skillet", "Trundle wagon", "Maru surfboard", "Opal mirror", "Zinnia planter", "Corvid binoculars",
    ),
    shop={
        "opening": Topic(
            ("Business hours begin at {v}.", "Customers are welcome from {v} onwards."),
            ("How early can I come in?", "At what hour does business begin?"),
            ("8:15", "9:30", "10:45", "6:30", "12:00"),
        ),
        "closed": Topic(
            ("{v} are our rest days.", "There is no service on {v}."),
            ("Is there a weekday without service?", "What are your rest days?"),
            ("Tuesdays", "Thursdays", "Fridays"),
        ),
        "returns": Topic(
            ("Anything unused can be sent back for {v}.", "We refund unused items up to {v} after purchase."),
            ("How late may I send an item back?", "Until when do I get a refund?"),
            ("10 days", "45 days", "90 days", "28 days"),
        ),
        "shipping": Topic(
            ("Postage adds {v} to each order.", "The postage fee is {v}."),
            ("What is the postage fee?", "How much postage is added?"),
            ("6 dollars", "9 dollars", "11 dollars"),
        ),
        "delivery": Topic(
            ("Parcels arrive after {v}.", "Expect your parcel in {v}."),
            ("When will my parcel arrive?", "How soon can I expect a parcel?"),
            ("3 working days", "two weeks", "72 hours"),
        ),
        "city": Topic(
            ("Our showroom stands in {v}.", "The showroom's home is {v}."),
            ("Which town has the showroom?", "Where does the showroom stand?"),
            ("Cresley", "Northam Bay", "Ashgrove", "Wyndale"),
        ),
        "owner": Topic(
            ("The present owner is {v}.", "{v} has owned the firm since 2011."),
            ("Tell me the owner's name, please.", "Whose firm is this?"),
            ("Clara Voss", "Henrik Maas", "Nadia Quist"),
        ),
        "parking": Topic(
            ("Visitors park {v}.", "Parking is {v}."),
            ("Is there anywhere to park?", "Where should visitors leave their car?"),
            ("behind the building", "on Mill Road", "beside the church"),
        ),
    },
    product={
        "price": Topic(
            ("One {p} sells for {v}.", "For {v} you get a {p}."),
            ("How many dollars for a {p}?", "I'd like to buy one {p}. What would I pay?"),
            ("27 dollars", "48 dollars", "75 dollars", "140 dollars", "310 dollars"),
        ),
        "warranty": Topic(
            ("Every {p} is guaranteed for {v}.", "{v} of guarantee go with each {p}."),
            ("For what time is a {p} guaranteed?", "Does a {p} carry a guarantee, and how long?"),
            ("3 years", "18 months", "ten years"),
        ),
        "colour": Topic(
            ("Each {p} is painted {v}.", "The paint on the {p} is {v}."),
            ("In what paint is the {p} sold?", "How is the {p} painted?"),
            ("yellow", "navy", "silver", "orange"),
        ),
        "length": Topic(
            ("The {p} measures {v} end to end.", "End to end the {p} is {v}."),
            ("How long is the {p}, end to end?", "Give me the length of the {p}."),
            ("30 cm", "85 cm", "110 cm", "2 metres"),
        ),
        "origin": Topic(
            ("The {p} is built in {v}.", "{v} is where each {p} is built."),
            ("In what country is the {p} built?", "Where does the {p} get built?"),
            ("Portugal", "Denmark", "Canada"),
        ),
    },
)  # fmt: skip
