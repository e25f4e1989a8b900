"""Word problems about shopping, stock and savings."""

from __future__ import annotations

from random import Random

from src.problems.mini.notation import FRACTION
from src.problems.mini.template import Exercise, Params, Template
from src.problems.worded.phrasing import Phrasings
from src.problems.worded.stories.cast import casting, joined, people

GOODS = (
    ("notebooks", "pens", "folders"),
    ("apples", "melons", "lemons"),
    ("mugs", "plates", "bowls"),
    ("bulbs", "cables", "batteries"),
    ("muffins", "rolls", "cakes"),
    ("brushes", "canvases", "frames"),
)
SHOPPING = Phrasings(
    trained=(
        "{name} goes shopping and buys {bought}.{coupon} {She} pays with {paid} dollars. How many dollars "
        "does {she} get back?",
        "At a market, {name} pays with {paid} dollars.{coupon} {She} has bought {bought}. What is {her} "
        "change, in dollars?",
        "{name} has {paid} dollars and a long list. {She} buys {bought}.{coupon} Find how many dollars "
        "{she} has left.",
        "A customer hands {paid} dollars to the cashier for {bought}.{coupon} The cashier, {name}, has to "
        "give the right change. How many dollars must {she} hand back?",
        "It was raining when {name} reached the shop. {She} took {bought}.{coupon} {She} gave the cashier "
        "{paid} dollars. Compute the change in dollars.",
        "For a party, {name} buys {bought}.{coupon} Before, {she} had {paid} dollars in {her} purse. How "
        "many dollars are in it afterwards?",
    ),
    unseen=(
        "How much change, in dollars, is due in the following purchase? {name} takes {bought}.{coupon} "
        "{She} pays with {paid} dollars.",
        "{name} puts {paid} dollars on the counter. {She} wants to pay for {bought}.{coupon} Work out the "
        "number of dollars that come back to {name}.",
    ),
)


def _draw_shopping(rng: Random, level: int) -> Params:
    most, price = ((6, 6), (9, 12), (14, 20), (25, 40), (40, 75))[level - 1]
    pairs = [(rng.randint(2, most), rng.randint(2, price)) for _ in range((1, 2, 2, 3, 3)[level - 1])]
    cost = 0
    for count, each in pairs:
        cost += count * each
    coupon = rng.randint(2, min(9, cost - 2)) if level > 2 else 0
    note = (10, 10, 50, 50, 100)[level - 1]
    paid = (cost // note + rng.randint(1, 3)) * note
    return paid, coupon, *(number for pair in pairs for number in pair)


def _shopping(params: Params) -> Exercise:
    paid, coupon, *numbers = params
    pairs = list(zip(numbers[::2], numbers[1::2], strict=True))
    rng = casting("shopping", params)
    goods = rng.choice(GOODS)
    bought = joined(
        [f"{n} {what} at {each} dollars each" for (n, each), what in zip(pairs, goods, strict=False)]
    )
    costs = [sum(each for _ in range(n)) for n, each in pairs]
    told = SHOPPING.fill(
        **people(rng),
        bought=bought,
        paid=paid,
        coupon=f" A coupon takes {coupon} dollars off the whole bill." if coupon else "",
    )
    total = " + ".join(f"{n}*{each}" for n, each in pairs)
    off = f" - {coupon}" if coupon else ""
    summed = " + ".join(map(str, costs)) + off
    price = sum(costs) - coupon
    said = f"The goods cost ${costs[0]}$ dollars. " if summed == str(price) else ""
    said = said or f"The bill is ${summed} = {price}$ dollars. "
    return Exercise(
        wordings=told.trained,
        unseen=told.unseen,
        answer=str(paid - price),
        steps=f"{said}The change is ${paid} - {price} = {paid - price}$ dollars.",
        code=f"paid = {paid}\ncost = {total}{off}\nprint(paid - cost)",
        errors=(("cost = ", "costs = "), ("*", " x "), ("paid - cost", "paid - Cost")),
        blunders=(
            ("paid - cost", "cost - paid"),
            *(((off, f" + {coupon}"),) if coupon else ((f"{pairs[-1][0]}*", f"{pairs[-1][0]} + "),)),
        ),
    )


PLACES = (
    ("bakery", "loaves", "bakes"),
    ("workshop", "chairs", "makes"),
    ("printing shop", "calendars", "prints"),
    ("pottery", "vases", "makes"),
    ("toy factory", "kites", "produces"),
)
INVENTORY = Phrasings(
    trained=(
        "On Monday morning, a {place} has {start} {things} in stock. Every day it {makes} {made} more and "
        "sells {sold}.{broken} How many {things} are in stock after {days} days?",
        "A {place} {makes} {made} {things} a day and sells {sold} a day.{broken} It began with {start} "
        "{things} in stock. Find the number of {things} in stock at the end of day {days}.",
        "The owner of a {place} counts {start} {things} in stock. During each of the next {days} days, "
        "{made} {things} are added and {sold} are sold.{broken} Determine the stock after these days.",
        "A {place} has been in the same street for years. It now has {start} {things} in stock, sells "
        "{sold} of them daily, and {makes} {made} new ones daily.{broken} How large is the stock {days} "
        "days from now?",
        "For {days} days, a {place} follows the same routine. Each day {sold} {things} are sold and {made} "
        "new ones come in.{broken} If {start} {things} were there at the beginning, how many are there at "
        "the end?",
        "What is the stock of a {place} after {days} days, if it has {start} {things} now? Each day it "
        "{makes} {made} and sells {sold}.{broken} All other changes can be ignored.",
    ),
    unseen=(
        "Starting with {start} {things} in stock, a {place} sells {sold} per day. At the same time it "
        "{makes} {made} per day.{broken} Give the number of {things} that it has in stock when {days} days "
        "are over.",
        "A clerk keeps the books of a {place}. In each line, one per day, she adds {made} {things} that "
        "come in and subtracts {sold} that are sold.{broken} The stock before the first line is {start}. "
        "Which stock stands after line {days}?",
    ),
)


def _draw_inventory(rng: Random, level: int) -> Params:
    top = (9, 25, 60, 150, 400)[level - 1]
    made, sold = rng.randint(3, top), rng.randint(3, top)
    if made == sold:
        made += 1
    days = rng.randint(*((3, 6), (4, 9), (6, 14), (12, 30), (15, 60))[level - 1])
    broken = rng.randint(2, 5 + level) if level > 2 else 0
    lost = max(0, sold - made) * days + broken * (days // 2)
    return lost + sold + rng.randint(5, 10 * top), made, sold, days, broken


def _inventory(params: Params) -> Exercise:
    start, made, sold, days, broken = params
    rng = casting("inventory", params)
    place, things, makes = rng.choice(PLACES)
    told = INVENTORY.fill(
        place=place,
        things=things,
        makes=makes,
        start=start,
        made=made,
        sold=sold,
        days=days,
        broken=(
            f" On the second day, the fourth day and so on, {broken} of them are damaged and thrown away."
            if broken
            else ""
        ),
    )
    stock = start
    for day in range(1, days + 1):
        stock += made - sold
        if day % 2 == 0:
            stock -= broken
    change = (made - sold) * days
    steps = (
        f"Without damage, the stock changes by ${made} - {sold} = {made - sold}$ a day, which is ${change}$ "
    )
    steps += f"in ${days}$ days."
    if broken:
        steps += f" On ${days // 2}$ days ${broken}$ are damaged, together ${broken * (days // 2)}$."
    else:
        steps = steps.replace("Without damage, the", "The")
    lines = [
        f"stock = {start}",
        f"for day in range(1, {days} + 1):",
        f"    stock += {made} - {sold}",
        *(["    if day % 2 == 0:", f"        stock -= {broken}"] if broken else []),
        "print(stock)",
    ]
    return Exercise(
        wordings=told.trained,
        unseen=told.unseen,
        answer=str(stock),
        steps=f"{steps} So ${stock}$ are left.",
        code="\n".join(lines),
        errors=((f"{days} + 1):", f"{days} + 1)"), ("range(", "days("), ("    stock += ", "stock += ")),
        blunders=(
            (f"{days} + 1", f"{days}"),
            (f"+= {made} - {sold}", f"-= {made} - {sold}"),
        ),
    )


BANKS = ("a bank", "a savings bank", "a credit union", "an online bank")
INTEREST = Phrasings(
    trained=(
        "{name} puts {start} dollars into an account at {bank}. At the end of every year, {rate} percent "
        "interest is added to what is in the account.{deposit} How many dollars are in it after {years} "
        "years?",
        "An account at {bank} pays {rate} percent interest, added once a year.{deposit} {name} opens it "
        "with {start} dollars. Find the balance in dollars after {years} years.",
        "{name} has saved {start} dollars. {She} invests this money for {years} years at {rate} percent "
        "interest per year, and the interest earns interest, too.{deposit} What is the final amount in "
        "dollars?",
        "For {years} years, {name} leaves {start} dollars at {bank} and never withdraws anything. The "
        "balance grows by {rate} percent each year.{deposit} Determine the number of dollars at the end.",
        "The branch of {bank} in the main street has new doors. {name} enters and deposits {start} dollars "
        "at a yearly rate of {rate} percent, compounded yearly.{deposit} Compute {her} balance after "
        "{years} years, in dollars.",
        "How many dollars are in the account of {name} after {years} years? {She} starts with {start} "
        "dollars, which grow by {rate} percent a year.{deposit} There are no taxes or fees.",
    ),
    unseen=(
        "At {rate} percent compound interest per year, {name} lets {start} dollars grow.{deposit} {She} "
        "looks at the balance when {years} years have passed. Which number of dollars does {she} see?",
        "{bank_} multiplies every savings account by the same factor at the end of a year, which adds "
        "{rate} percent to it.{deposit} An account of {name} holds {start} dollars at first. Give its "
        "balance in dollars after {years} such multiplications.",
    ),
)
RATES = ((5, 20), (10, 10), (20, 5), (25, 4), (50, 2))  # percent, and the part of the whole that it is


def _draw_interest(rng: Random, level: int) -> Params:
    years = (2, rng.randint(2, 3), 3, 3, 4)[level - 1]
    rate, part = rng.choice(RATES if years == 2 else RATES[1:])
    unit = part**years  # whole dollars in every year
    least = 200 // unit + 1
    most = max(least + 3, (4000, 9000, 9000, 20000, 60000)[level - 1] // unit)
    deposit = part ** (years - 1) * rng.randint(1, 9) if level > 3 else 0
    return unit * rng.randint(least, most), rate, years, deposit


def _interest(params: Params) -> Exercise:
    start, rate, years, deposit = params
    rng = casting("interest", params)
    slots = people(rng)
    bank = rng.choice(BANKS)
    extra = (
        f" At the end of every year, the last one included, {deposit} more dollars are put into the account "
        f"right after the interest."
        if deposit
        else ""
    )
    told = INTEREST.fill(
        **slots,
        bank=bank,
        bank_=bank.capitalize(),
        start=start,
        rate=rate,
        years=years,
        deposit=extra,
    )
    part = 100 // rate
    balance, balances = start, []
    for _ in range(years):
        balance += balance // part + deposit
        balances.append(str(balance))
    return Exercise(
        wordings=told.trained,
        unseen=told.unseen,
        answer=str(balance),
        steps=f"Year by year, the balance is ${', '.join(balances)}$ dollars.",
        code=f"{FRACTION}balance = Fraction({start})\nfor year in range({years}):\n"
        f"    balance = balance*(100 + {rate})/100{f' + {deposit}' if deposit else ''}\nprint(balance)",
        errors=((":\n", "\n"), ("balance*(", "balance("), ("print(balance", "print(balances")),
        blunders=((f"range({years})", f"range({years} - 1)"), (f"100 + {rate}", f"{rate}")),
    )


TEMPLATES = (
    Template("shopping", "Prealgebra", _draw_shopping, _shopping),
    Template("inventory", "Prealgebra", _draw_inventory, _inventory),
    Template("compound_interest", "Intermediate Algebra", _draw_interest, _interest),
)
