"""Word problems about choices and chances, and one about a path around a garden."""

from __future__ import annotations

from random import Random

from src.problems.mini.notation import FRACTION, latex_ratio
from src.problems.mini.template import Exercise, Params, Template
from src.problems.worded.phrasing import Phrasings
from src.problems.worded.stories.cast import casting, people

OCCASIONS = (
    ("starters", "main courses", "desserts", "orders a meal"),
    ("shirts", "pairs of trousers", "hats", "gets dressed"),
    ("frames", "saddles", "bells", "puts together a bicycle"),
    ("kinds of bread", "spreads", "drinks", "prepares breakfast"),
    ("cones", "flavors", "toppings", "buys an ice cream"),
)
MENU = Phrasings(
    trained=(
        "{name} {does} and chooses from {a} {first} and {b} {second}. {She} takes exactly one of "
        "each.{third} How many different combinations can {name} choose?",
        "There are {a} {first} and {b} {second}, all different. {name} {does} with one of each kind.{third} "
        "Find the number of possible combinations.",
        "When {name} {does}, {she} picks one of {a} {first} and one of {b} {second}.{third} {She} has "
        "plenty of time. In how many ways can {she} choose?",
        "One of {b} different {second} goes with one of {a} different {first}. {name} {does} in this "
        "way.{third} Determine how many choices {she} has.",
        "{name} wants a new combination every day. Whenever {she} {does}, {she} chooses one of {a} {first} "
        "and one of {b} {second}.{third} For how many days can {she} do so without repeating a combination?",
        "How many different combinations are possible in the following situation? {name} {does} and needs "
        "one of {a} {first}, then one of {b} {second}.{third} Nothing else is up to {name}.",
    ),
    unseen=(
        "Counting combinations is what {name} likes to do. {She} {does}, and there are {b} {second} and {a} "
        "{first} to choose from; one of each is taken.{third} What number should {she} get?",
        "Out of {a} {first}, {name} takes one, and out of {b} {second}, one more. That is how {she} "
        "{does}.{third} Give the number of combinations that {she} can end up with.",
    ),
)


def _draw_menu(rng: Random, level: int) -> Params:
    top = (9, 12, 12, 15, 20)[level - 1]
    kind = (0, rng.randrange(2), rng.randint(1, 2), rng.randint(2, 3), 3)[level - 1]
    c = rng.randint(4, top) if kind else 0
    return kind, rng.randint(3, top), rng.randint(3, top), c


def _menu(params: Params) -> Exercise:
    kind, a, b, c = params
    rng = casting("menu", params)
    first, second, third, does = rng.choice(OCCASIONS)
    slots = people(rng)
    extra = (
        "",
        f" {slots['She']} may also add one of {c} {third}, or none.",
        f" In addition, {slots['she']} takes two different {third} out of {c}; their order does not matter.",
        f" In addition, {slots['she']} takes no, one or two different {third} out of {c}; their order does "
        f"not matter.",
    )[kind]
    told = MENU.fill(**slots, first=first, second=second, third=extra, does=does, a=a, b=b)
    pairs = sum(range(c))
    last = (1, c + 1, pairs, pairs + c + 1)[kind]
    code = ("", f"*({c} + 1)", f"*comb({c}, 2)", f"*(comb({c}, 2) + {c} + 1)")[kind]
    head = "from math import comb\n" if kind > 1 else ""
    wrong = ((f"{a}*", f"{a} + "), (" + 1", ""), ("comb(", "perm("), (" + 1", ""))[kind]
    blunders = (wrong,) if kind != 2 else ((", 2)", ", 3)"),)
    of_third = f", and there are ${last}$ choices of {third}" if kind else ""
    return Exercise(
        wordings=told.trained,
        unseen=told.unseen,
        answer=str(a * b * last),
        steps=rf"There are ${a} \cdot {b} = {a * b}$ choices of {first} and {second}{of_third}.",
        code=f"{head}n = {a}*{b}{code}\nprint(n)",
        errors=(("print(n", "print(N"), ("n = ", "m = "), ("*", " x ")),
        blunders=blunders,
    )


EVENTS = (
    ("a raffle", "tickets", "win a prize", "wins a prize"),
    ("a school fair", "lottery tickets", "win a cup", "wins a cup"),
    ("a club evening", "envelopes", "contain a coupon", "contains a coupon"),
    ("a street party", "fortune cookies", "hide a ring", "hides a ring"),
)
RAFFLE = Phrasings(
    trained=(
        "At {event} there are {n} {tickets}, of which {w} {win}. {name} picks {k} of them at random. What "
        "is the probability that {goal}?",
        "{name} takes {k} of {n} {tickets} at {event} without looking. Exactly {w} of all the {tickets} "
        "{win}. Find the probability that {goal}.",
        "Among {n} {tickets} at {event}, {w} {win}, and the others do not. {name} is the first guest and "
        "draws {k} of them at random. Determine the probability that {goal}.",
        "It is late at {event} when {name} arrives. Of the {tickets}, {n} are left, and {w} of these {win}. "
        "{She} is given {k} random ones. With what probability is it true that {goal}?",
        "At {event}, {w} out of {n} {tickets} {win}. A helper mixes them and hands {k} of them to {name}. "
        "Compute, as a fraction, the probability that {goal}.",
        "If {name} chooses {k} {tickets} at random, what is the probability that {goal}? This is at "
        "{event}, where there are {n} {tickets}. Of all these, {w} {win}.",
    ),
    unseen=(
        "{name} has {k} of the {n} {tickets} at {event}, all received at random. It is known that {w} of "
        "the {n} {win}. How probable is it, as a fraction, that {goal}?",
        "A box at {event} holds {n} {tickets}. Blindfolded, {name} pulls out {k} of them. At the start, {w} "
        "of those in the box {win}. Give the probability that {goal}.",
    ),
)


def _draw_raffle(rng: Random, level: int) -> Params:
    n = rng.randint(*((6, 20), (8, 30), (12, 40), (20, 60), (30, 90))[level - 1])
    k = (2, 2, 2, 3, 4)[level - 1]
    return rng.randrange(2), n, rng.randint(2, n - k - 1), k


def _raffle(params: Params) -> Exercise:
    kind, n, w, k = params
    rng = casting("raffle", params)
    event, tickets, win, wins = rng.choice(EVENTS)
    goal = f"at least one of them {wins}" if kind else f"none of them {win}"
    told = RAFFLE.fill(**people(rng), event=event, tickets=tickets, win=win, n=n, w=w, k=k, goal=goal)
    above = below = 1
    for i in range(k):
        above *= n - w - i
        below *= n - i
    chances = r" \cdot ".join(rf"\frac{{{n - w - i}}}{{{n - i}}}" for i in range(k))
    rest = f" We want $1$ minus that, $1 - {latex_ratio(above, below)}$." if kind else ""
    one = "1 - " if kind else ""
    return Exercise(
        wordings=told.trained,
        unseen=told.unseen,
        answer=latex_ratio(below - above if kind else above, below),
        steps=rf"No success has the probability ${chances}$.{rest}",
        code=f"from math import comb\n{FRACTION}n, w, k = {n}, {w}, {k}\n"
        f"none = Fraction(comb(n - w, k), comb(n, k))\nprint({one}none)",
        errors=(("Fraction(", "Fractions("), ("none)", "None_)"), ("comb(n, k)", "choose(n, k)")),
        blunders=(
            (f"{one}none", "none") if kind else ("none)", "1 - none)"),
            ("n - w", "w"),
        ),
    )


GARDENS = (
    ("garden", "path", "gravel"),
    ("swimming pool", "terrace", "stone"),
    ("lawn", "border", "flowers"),
    ("playground", "strip", "sand"),
)
PATH = Phrasings(
    trained=(
        "A rectangular {garden} is {l} meters long and {w} meters wide. A {path} of {gravel}, {p} meters "
        "wide, runs all around it on the outside and has square corners.{price} {ask}",
        "Around a rectangular {garden} of {l} by {w} meters, {name} lays a {path} of {gravel}. It is {p} "
        "meters wide everywhere and its outer edge is a rectangle, too.{price} {find}",
        "{name} owns a {garden} in the form of a rectangle with sides of {l} and {w} meters. {She} "
        "surrounds it with a {path} of {gravel} that is {p} meters wide and, with its corners, forms a "
        "larger rectangle.{price} {ask}",
        "The {garden} of {name}'s house is a rectangle, {w} meters wide and {l} meters long. The house "
        "itself is blue. A {path} of {gravel} encloses the {garden}; outside, too, it is rectangular, and "
        "its width is {p} meters.{price} {find}",
        "A {path} of {gravel} lies around a rectangular {garden}. The {garden} measures {l} by {w} meters. "
        "The {path} extends {p} meters beyond it on each side, and fills the corners, so that the outer "
        "edge is a rectangle.{price} {ask}",
        "Two rectangles have parallel sides and the same center. The inner one is a {garden}, {l} meters "
        "long and {w} meters wide, and the gap of {p} meters between it and the outer one is a {path} of "
        "{gravel}.{price} {ask}",
    ),
    unseen=(
        "{name} measures a rectangle of {l} by {w} meters, the {garden}. Then {she} walks around it at a "
        "distance of {p} meters from its sides, along a larger rectangle. Between the two there is a {path} "
        "of {gravel}.{price} {find}",
        "With a {path} of {gravel} around it, {p} meters wide on every side, a {garden} becomes a larger "
        "rectangle. Without the {path}, it is a rectangle of {w} by {l} meters.{price} {ask}",
    ),
)


def _draw_path(rng: Random, level: int) -> Params:
    top = (15, 30, 40, 75, 150)[level - 1]
    width = rng.randint(3, top - 1)
    return (
        rng.randint(width + 1, top),
        width,
        rng.randint(2, 3 + level),
        rng.randint(3, 9 * level) if level > 2 else 0,
    )


def _path(params: Params) -> Exercise:
    length, width, p, price = params
    rng = casting("path", params)
    garden, path, gravel = rng.choice(GARDENS)
    told = PATH.fill(
        **people(rng),
        garden=garden,
        path=path,
        gravel=gravel,
        l=length,
        w=width,
        p=p,
        price=f" One square meter of the {path} costs {price} dollars." if price else "",
        ask=(
            f"What does the whole {path} cost, in dollars?"
            if price
            else f"What is the area of the {path}, in square meters?"
        ),
        find=(
            f"Find the cost of the whole {path} in dollars."
            if price
            else f"Find the area of the {path} in square meters."
        ),
    )
    area = 2 * length * p + 2 * width * p + 4 * p * p
    outer, inner = length + 2 * p, width + 2 * p
    cost = rf" Each of its square meters costs ${price}$ dollars." if price else ""
    times = f"*{price}" if price else ""
    return Exercise(
        wordings=told.trained,
        unseen=told.unseen,
        answer=str(area * price if price else area),
        steps=rf"Its area is ${outer} \cdot {inner} - {length} \cdot {width} = {area}$ square meters.{cost}",
        code=f"l, w, p = {length}, {width}, {p}\narea = (l + 2*p)*(w + 2*p) - l*w\nprint(area{times})",
        errors=((")*(", ")("), ("2*p", "2p"), ("area = ", "a = ")),
        blunders=(("(l + 2*p)*(w + 2*p)", "(l + p)*(w + p)"), (" - l*w", "")),
    )


TEMPLATES = (
    Template("menu", "Counting & Probability", _draw_menu, _menu),
    Template("raffle", "Counting & Probability", _draw_raffle, _raffle),
    Template("garden_path", "Geometry", _draw_path, _path),
)
