"""Word problems that are never trained on, one per subject: the split ``heldout_templates``."""

from __future__ import annotations

from math import gcd
from random import Random

from src.problems.mini.notation import FRACTION, latex_ratio
from src.problems.mini.template import Exercise, Params, Template
from src.problems.worded.phrasing import Phrasings
from src.problems.worded.stories.cast import casting, people

SHOWS = ("a concert", "a circus show", "a puppet theater", "a museum", "a football match")
TICKETS = Phrasings(
    (
        "For {show}, {n} tickets were sold. An adult's ticket costs {p} dollars and a child's ticket {q} "
        "dollars. In all, {total} dollars were taken in. How many adults' tickets were sold?",
        "{name} counts {total} dollars after selling {n} tickets for {show}. {She} took {p} dollars from "
        "every adult and {q} dollars from every child, and each of them got one ticket. Find the number of "
        "adults.",
        "Adults pay {p} dollars for {show}, and children pay {q}. The {n} guests paid {total} dollars "
        "altogether. The show began late. How many of the guests were adults?",
        "The cash box at {show} holds {total} dollars, and nothing was in it at first. It comes from {n} "
        "people, some of them adults at {p} dollars each and the rest children at {q} dollars each. "
        "Determine the number of adults.",
    )
)


def _draw_tickets(rng: Random, level: int) -> Params:
    most, price = ((15, 9), (40, 12), (120, 20), (400, 35), (2000, 60))[level - 1]
    n = rng.randint(6, most)
    q = rng.randint(2, price - 3)
    p = rng.randint(q + 1, price)
    adults = rng.randint(2, n - 2)
    return n, p, q, adults * p + (n - adults) * q


def _tickets(params: Params) -> Exercise:
    n, p, q, total = params
    rng = casting("tickets", params)
    told = TICKETS.fill(**people(rng), show=rng.choice(SHOWS), n=n, p=p, q=q, total=total)
    more = total
    for _ in range(n):
        more -= q
    return Exercise(
        wordings=told.trained,
        answer=str(more // (p - q)),
        steps=f"If all were children, ${total - more}$ dollars would come in, ${more}$ too few. Each adult "
        f"adds "
        f"${p} - {q} = {p - q}$.",
        code=f"n, p, q, total = {n}, {p}, {q}, {total}\nprint((total - n*q)//(p - q))",
        errors=(("n*q", "nq"), ("(p - q)", "p - q)"), ("n, p, q", "n p, q")),
        blunders=(("n*q", "n*p"), ("(total - n*q)", "total")),
    )


READING = Phrasings(
    (
        "{name} reads a book of {pages} pages. On each of the first {m} days {she} reads {a} pages, and "
        "after that {b} pages a day. How many pages are left after {days} days?",
        "A book has {pages} pages. {name} reads {a} pages a day for {m} days and then {b} pages a day, "
        "until {days} days are over in total. Find the number of pages that {she} has not read.",
        "During a holiday of {days} days, {name} reads in a book of {pages} pages. {She} begins with {a} "
        "pages a day, but after day {m} it is {b} a day. It rains all the time. How many pages remain?",
        "How many of the {pages} pages of a book are still unread when {name} has read for {days} days? "
        "{She} reads {b} pages a day, except on the first {m} days. On those {she} reads {a} pages a day.",
    )
)


def _draw_reading(rng: Random, level: int) -> Params:
    top, most = ((12, 4), (25, 7), (40, 12), (60, 25), (95, 60))[level - 1]
    m, more = rng.randint(2, most), rng.randint(2, most)
    a, b = rng.sample(range(3, top + 1), 2)
    return m * a + more * b + rng.randint(3, 10 * top), a, m, b, m + more


def _reading(params: Params) -> Exercise:
    pages, a, m, b, days = params
    rng = casting("reading", params)
    told = READING.fill(**people(rng), pages=pages, a=a, m=m, b=b, days=days)
    left = pages
    for day in range(days):
        left -= a if day < m else b
    return Exercise(
        wordings=told.trained,
        answer=str(left),
        steps=rf"First ${m} \cdot {a} = {m * a}$ pages are read, and then ${days - m} \cdot {b} = "
        rf"{(days - m) * b}$.",
        code=f"pages = {pages}\nread = {m}*{a} + ({days} - {m})*{b}\nprint(pages - read)",
        errors=((")*", ")"), ("read = ", "seen = "), (" - read", " read")),
        blunders=((f"({days} - {m})", f"{days}"), (" - read", " + read")),
    )


WHEELS = (("gear", "teeth", "tooth"), ("cogwheel", "pins", "pin"))
GEARS = Phrasings(
    (
        "A {gear} with {a} {teeth} drives another with {b} {teeth}. A white dot is painted on each, where "
        "they touch. After how many full turns of the first {gear} do the dots meet again for the first "
        "time?",
        "Two {gear}s mesh, and {name} marks the place where they touch on both. The first has {a} {teeth}, "
        "and the second has {b}. They turn slowly. How many full turns must the first make until both marks "
        "are back at this place together for the first time?",
        "{name} turns a {gear} with {a} {teeth}, and it moves a {gear} with {b} {teeth}, one {tooth} for "
        "each {tooth}. At the start, an arrow on each points to the other. Find the smallest positive "
        "number of turns of the first {gear} after which both arrows point like this again.",
        "In a clockwork, a {gear} with {b} {teeth} is moved by one with {a} {teeth}. Both are in their "
        "starting positions. The one with {a} {teeth} makes full turns. Determine after how many of them "
        "both are in their starting positions for the first time.",
    )
)


def _draw_gears(rng: Random, level: int) -> Params:
    low, high = ((6, 20), (10, 40), (20, 90), (40, 200), (100, 600))[level - 1]
    common = rng.choice((1, 2, 3, 4, 5, 6))
    a, b = (common * number for number in rng.sample(range(low // common + 1, high // common + 1), 2))
    return a, b


def _gears(params: Params) -> Exercise:
    a, b = params
    rng = casting("gears", params)
    gear, teeth, tooth = rng.choice(WHEELS)
    told = GEARS.fill(**people(rng), gear=gear, teeth=teeth, tooth=tooth, a=a, b=b)
    turns = 1
    while turns * a % b:
        turns += 1
    return Exercise(
        wordings=told.trained,
        answer=str(turns),
        steps=f"The number of {teeth} that pass must be a multiple of ${a}$ and of ${b}$. The smallest is "
        f"${turns * a}$, "
        f"and we divide it by ${a}$.",
        code=f"from math import lcm\na, b = {a}, {b}\nprint(lcm(a, b)//a)",
        errors=(("lcm(a, b)", "lcm(a b)"), ("lcm(a", "lmc(a"), ("a, b = ", "a b = ")),
        blunders=(("//a", ""), ("//a", "//b")),
    )


LOCKS = (
    ("a bicycle lock", "symbols", "symbol"),
    ("a safe", "signs", "sign"),
    ("a suitcase", "letters", "letter"),
)
CODES = Phrasings(
    (
        "The code of {lock} is a sequence of {k} {signs}, each one of {n} possible {signs}. {rule} {name} "
        "has forgotten the code. How many codes are there to try?",
        "{name} sets a code for {lock}. It consists of {k} {signs} in a certain order, and for each place "
        "the same {n} {signs} are available. {rule} Find the number of codes that {she} can set.",
        "With {n} different {signs} on its keys, {lock} opens after the right {k} {signs} in the right "
        "order. {rule} The keys are old. How many codes are possible?",
        "How many codes does {lock} allow? A code has {k} places, and each is one of {n} {signs}. {rule} "
        "The order matters.",
    )
)


def _draw_codes(rng: Random, level: int) -> Params:
    places = ((2, 3), (2, 3), (3, 4), (3, 5), (4, 6))[level - 1]
    signs = ((4, 15), (7, 20), (8, 24), (8, 26), (10, 26))[level - 1]
    return rng.randrange(3), rng.randint(*signs), rng.randint(*places)


def _codes(params: Params) -> Exercise:
    kind, n, k = params
    rng = casting("codes", params)
    lock, signs, sign = rng.choice(LOCKS)
    rule = (
        f"No {sign} may occur twice.",
        f"Neighboring {signs} must be different.",
        f"Not all {k} {signs} may be the same.",
    )[kind]
    told = CODES.fill(**people(rng), lock=lock, signs=signs, rule=rule, n=n, k=k)
    factors = [n - place if kind == 0 else n - (place > 0 and kind == 1) for place in range(k)]
    count = 1
    for factor in factors:
        count *= factor
    count -= n if kind == 2 else 0
    head = "from math import perm\n" if kind == 0 else ""
    code = ("perm(n, k)", "n*(n - 1)**(k - 1)", "n**k - n")[kind]
    product = r" \cdot ".join(map(str, factors)) + (f" - {n}" if kind == 2 else "")
    return Exercise(
        wordings=told.trained,
        answer=str(count),
        steps=f"Place by place, there are ${product}$ codes.",
        code=f"{head}n, k = {n}, {k}\nprint({code})",
        errors=(("n, k = ", "n k = "), (("perm(", "permutations(") if kind == 0 else ("**", "* *"))),
        blunders=(
            (("perm(n, k)", "n**k"), ("perm(n, k)", "perm(n, k)//2")),
            (("(k - 1)", "k"), ("n*(n - 1)", "(n - 1)")),
            ((" - n", ""), ("n**k", "k**n")),
        )[kind],
    )


NTH = {2: "2nd", 3: "3rd", 4: "4th", 5: "5th"}
BALLS = ("A rubber ball", "A tennis ball", "A golf ball", "A beach ball")
BOUNCE = Phrasings(
    (
        "{ball} is dropped from a height of {h} meters. After each time it hits the ground, it rises to "
        "$\\frac{{{p}}}{{{q}}}$ of the height from which it last fell. How many meters has it traveled in "
        "total when it hits the ground for the {nth} time? Give an exact value.",
        "From {h} meters above the ground, {name} lets a ball fall. Every bounce takes it to "
        "$\\frac{{{p}}}{{{q}}}$ of its previous height, straight up. Find the exact length of its way, up "
        "and down, in meters until it touches the ground for the {nth} time.",
        "A ball falls {h} meters, bounces, and reaches $\\frac{{{p}}}{{{q}}}$ of the height it came from. "
        "The same happens at every further bounce. {name} adds up all distances, up and down, and stops "
        "when the ball lands for the {nth} time. What is the exact sum in meters?",
        "What distance in meters, exactly, does a ball cover until it meets the ground for the {nth} time? "
        "It starts at rest at a height of {h} meters. With each bounce, the height becomes "
        "$\\frac{{{p}}}{{{q}}}$ of what it was.",
    )
)


def _draw_bounce(rng: Random, level: int) -> Params:
    q = rng.randint(2, (4, 5, 7, 9, 12)[level - 1])
    while True:
        p = rng.randint(1, q - 1)
        if gcd(p, q) == 1:
            break
    return rng.randint(2, (20, 30, 60, 90, 99)[level - 1]), p, q, (2, 3, 3, 4, 5)[level - 1]


def _bounce(params: Params) -> Exercise:
    h, p, q, n = params
    rng = casting("bounce", params)
    told = BOUNCE.fill(**people(rng), ball=rng.choice(BALLS), h=h, p=p, q=q, nth=NTH[n])
    below = q ** (n - 1)
    above = h * below
    for bounce in range(1, n):
        above += 2 * h * p**bounce * q ** (n - 1 - bounce)
    rises = ", ".join(f"${latex_ratio(h * p**bounce, q**bounce)}$" for bounce in range(1, n))
    return Exercise(
        wordings=told.trained,
        answer=latex_ratio(above, below),
        steps=f"After the fall of ${h}$ meters, each of these heights counts twice: {rises}.",
        code=f"{FRACTION}height = Fraction({h})\nway = height\nfor bounce in range({n} - 1):\n"
        f"    height = height*{p}/{q}\n    way += 2*height\nprint(way)",
        errors=(("Fraction(", "Fractions("), (":\n", "\n"), ("2*height", "2height")),
        blunders=((f"range({n} - 1)", f"range({n})"), ("2*height", "height")),
    )


TANK = Phrasings(
    (
        "An aquarium has a rectangular floor, {l} by {w} centimeters, and water stands {h} centimeters high "
        "in it. Stones with a volume of {v} cubic centimeters sink into the water, and nothing spills. They "
        "are covered by it. How high, in centimeters, does the water stand then?",
        "{name} puts a piece of metal of {v} cubic centimeters into a tank. The tank has vertical walls and "
        "a rectangular base of {l} by {w} centimeters. Before, the water was {h} centimeters deep, and "
        "afterwards it covers the metal. Find the new depth in centimeters, exactly.",
        "The base of a water tank is a rectangle with sides of {w} and {l} centimeters, and its walls are "
        "vertical. Then {v} cubic centimeters of water are poured into it. The water was {h} centimeters "
        "deep before. Determine how deep it is now, in centimeters.",
        "What is the depth of the water, in centimeters, in a box with vertical walls after {v} cubic "
        "centimeters of water are added? The box is open at the top and does not overflow. It measures {l} "
        "by {w} centimeters on the inside, and the water in it was {h} centimeters deep.",
    )
)


def _draw_tank(rng: Random, level: int) -> Params:
    top = (12, 20, 40, 60, 90)[level - 1]
    w = rng.randint(4, top - 1)
    length = rng.randint(w + 1, top)
    if level < 3:
        return length, w, rng.randint(3, top), length * w * rng.randint(2, 9)
    return length, w, rng.randint(3, top), 10 * rng.randint(2, 20 * top)


def _tank(params: Params) -> Exercise:
    length, w, h, v = params
    rng = casting("tank", params)
    told = TANK.fill(**people(rng), l=length, w=w, h=h, v=v)
    base = length * w
    return Exercise(
        wordings=told.trained,
        answer=latex_ratio(h * base + v, base),
        steps=rf"The floor has ${length} \cdot {w} = {base}$ square centimeters, so the water rises by "
        rf"${latex_ratio(v, base)}$.",
        code=f"{FRACTION}l, w, h, v = {length}, {w}, {h}, {v}\nprint(h + Fraction(v, l*w))",
        errors=(("Fraction(", "Fractions("), ("l*w", "lw"), ("v, l*w", "v l*w")),
        blunders=(("h + ", ""), ("l*w", "l + w")),
    )


TEMPLATES = (
    Template("tickets", "Algebra", _draw_tickets, _tickets),
    Template("reading", "Prealgebra", _draw_reading, _reading),
    Template("gears", "Number Theory", _draw_gears, _gears),
    Template("lock_codes", "Counting & Probability", _draw_codes, _codes),
    Template("bouncing_ball", "Intermediate Algebra", _draw_bounce, _bounce),
    Template("water_tank", "Geometry", _draw_tank, _tank),
)
