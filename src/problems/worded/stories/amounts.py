"""Word problems about mixtures and ages."""

from __future__ import annotations

from random import Random

from src.problems.mini.notation import FRACTION, latex_ratio
from src.problems.mini.template import Exercise, Params, Template
from src.problems.worded.phrasing import Phrasings
from src.problems.worded.stories.cast import casting, people

LIQUIDS = (
    ("salt", "brine", "a chemist"),
    ("sugar", "syrup", "a cook"),
    ("acid", "solution", "a laboratory assistant"),
    ("juice", "punch", "a waiter"),
    ("alcohol", "cleaning liquid", "a janitor"),
)
MIXTURE = Phrasings(
    trained=(
        "{who_} mixes {first} liters of {liquid} that is {p} percent {part} with {second} liters of "
        "{liquid} that is {q} percent {part}.{water} Everything is stirred well. What percentage of the "
        "mixture is {part}?",
        "One can holds {first} liters of {liquid} with {p} percent {part}, another one holds {second} "
        "liters with {q} percent {part}. Both are poured into a large bowl.{water} Find the percentage of "
        "{part} in the bowl.",
        "In a tank there are {first} liters of {liquid}, of which {p} percent is {part}. Then {who} adds "
        "{second} liters of {liquid}, of which {q} percent is {part}.{water} What percentage of the "
        "contents of the tank is {part} now?",
        "A recipe asks for {second} liters of {liquid} with {q} percent {part} and {first} liters of "
        "{liquid} with {p} percent {part}. {who_} combines them in a blue pot.{water} Determine the "
        "percentage of {part} in the pot.",
        "Two kinds of {liquid} are combined: {first} liters contain {p} percent {part}, and {second} liters "
        "contain {q} percent.{water} Nothing is spilled. Compute the share of {part} in the result, in "
        "percent.",
        "What is the concentration of {part}, in percent, after the following steps? First, {who} fills "
        "{first} liters of {liquid} with {p} percent {part} into an empty barrel. Then {second} liters of "
        "{liquid} with {q} percent {part} are added.{water}",
    ),
    unseen=(
        "{who_} wants to know how strong a mixture is. It was made from {first} liters at {p} percent "
        "{part} and {second} liters at {q} percent {part}.{water} Give its strength in percent of {part}.",
        "Of {first} liters of {liquid}, {p} percent is {part}; of {second} other liters, {q} percent is "
        "{part}. They end up in the same bucket.{water} Work out which percentage of the liquid in the "
        "bucket is {part}.",
    ),
)


def _draw_mixture(rng: Random, level: int) -> Params:
    top = (6, 12, 12, 30, 60)[level - 1]
    step = (10, 5, 5, 1, 1)[level - 1]
    while True:
        first, second = rng.randint(1 + level, top), rng.randint(1 + level, top)
        p, q = (step * rng.randint(1, 60 // step) for _ in range(2))
        water = rng.randint(2, top) if level > 2 else 0
        if p != q and max(p, q) > 1 and (level > 1 or (first * p + second * q) % (first + second) == 0):
            return first, p, second, q, water


def _mixture(params: Params) -> Exercise:
    first, p, second, q, water = params
    rng = casting("mixture", params)
    part, liquid, who = rng.choice(LIQUIDS)
    told = MIXTURE.fill(
        part=part,
        liquid=liquid,
        who=who,
        who_=who.capitalize(),
        first=first,
        p=p,
        second=second,
        q=q,
        water=f" Finally, {water} liters of pure water are added." if water else "",
    )
    above, below = first * p + second * q, first + second + water
    more = f" + {water}" if water else ""
    return Exercise(
        wordings=told.trained,
        unseen=told.unseen,
        answer=latex_ratio(above, below),
        steps=rf"The amount of {part} is ${first} \cdot {p} + {second} \cdot {q} = {above}$ hundredths of a "
        rf"liter in "
        f"${below}$ liters.",
        code=f"{FRACTION}part = {first}*{p} + {second}*{q}\nwhole = {first} + {second}{more}\n"
        "print(Fraction(part, whole))",
        errors=(("Fraction(", "Fractions("), ("part, whole", "part whole"), ("whole = ", "total = ")),
        blunders=((more, "") if water else (f"{first} + {second}", "2"), ("part, whole", "whole, part")),
    )


AGES = Phrasings(
    trained=(
        "{name} is {d} years older than {name2}. {then} {name} {will} {k} times as old as {name2}. Both "
        "have their birthday today. {ask}",
        "Today is the birthday of both {name} and {name2}. {name2} is {d} years younger than {name}. {then} "
        "{name}'s age {will} {k} times {name2}'s age. {find}",
        "The ages of {name} and {name2} differ by {d} years, and {name} is the older one. {then} the age of "
        "{name} {will} exactly {k} times the age of {name2}. Their birthdays are on the same day. {ask}",
        "{name} and {name2} were born on the same day of the year, {d} years apart, {name} first. {then} "
        "{name} {will} {k} times as old as {name2}. {find}",
        '{name2} likes puzzles about ages. "I am {d} years younger than {name}," {she2} says. "{then} '
        "{name} {will} "
        '{k} times as old as I." {ask} Ages are whole numbers of years.',
        "Consider two cousins, {name} and {name2}, who share a birthday. {then} {name} {will} {k} times as "
        "old as {name2}. Between them there are {d} years, and {name2} is the younger. {find}",
    ),
    unseen=(
        "When {name2} was born, {name} turned {d} on the same day. {then} {name} {will} {k} times as old as "
        "{name2}. Use whole years. {ask}",
        "Subtract the age of {name2} from that of {name} and you get {d}. {then} the older of the two, "
        "{name}, {will} {k} times as old as {name2}. They have the same birthday. {find}",
    ),
)


def _draw_ages(rng: Random, level: int) -> Params:
    kind = rng.randrange(*((0, 1), (0, 2), (0, 3), (1, 3), (1, 4))[level - 1])
    while True:
        young = rng.randint(*((2, 14), (4, 20), (6, 30), (9, 40), (9, 48))[level - 1])
        k = rng.randint(2, (3, 4, 5, 6, 7)[level - 1])
        shift = rng.randint(2, (6, 6, 9, 12, 15)[level - 1])
        if level > 2 and rng.randrange(2) and young - shift > 1:
            shift = -shift
        d = (k - 1) * (young + shift)
        if young + d < 100:  # an age that a person can have
            return kind, d, k, shift


def _ages(params: Params) -> Exercise:
    kind, d, k, shift = params
    rng = casting("ages", params)
    slots = people(rng, 2)
    young = d // (k - 1) - shift
    name, name2 = slots["name"], slots["name2"]
    asks = (
        f"How old is {name2} now?",
        f"How old is {name} now?",
        "What is the sum of their present ages?",
        "What is the product of their present ages?",
    )
    finds = (
        f"Find the present age of {name2}.",
        f"Find the present age of {name}.",
        "Find the sum of their present ages.",
        "Find the product of their present ages.",
    )
    told = AGES.fill(
        **slots,
        d=d,
        k=k,
        then=f"In {shift} years," if shift > 0 else f"Exactly {-shift} years ago,",
        will="will be" if shift > 0 else "was",
        ask=asks[kind],
        find=finds[kind],
    )
    answer = (young, young + d, young + young + d, young * (young + d))[kind]
    final = ("young", "young + d", "2*young + d", "young*(young + d)")[kind]
    time = f"In ${shift}$ years" if shift > 0 else f"Then, ${-shift}$ years ago,"
    sign, size = ("-", shift) if shift > 0 else ("+", -shift)
    reach = "" if kind == 0 else f" {name} is ${young} + {d} = {young + d}$."
    return Exercise(
        wordings=told.trained,
        unseen=told.unseen,
        answer=str(answer),
        steps=f"{time} the difference ${d}$ is ${k - 1}$ times the age of {name2}, so that is "
        f"${d // (k - 1)}$, and "
        f"${d // (k - 1)} {sign} {size} = {young}$ now.{reach}",
        code=f"d, k, n = {d}, {k}, {size}\nyoung = d//(k - 1) {sign} n\nprint({final})",
        errors=(("d//(k - 1)", "d//(k - 1"), ("young = ", "younger = "), ("k, n = ", "k n = ")),
        blunders=((f"(k - 1) {sign} n", f"(k - 1) {'+' if sign == '-' else '-'} n"), ("k - 1", "k")),
    )


TEMPLATES = (
    Template("mixture", "Algebra", _draw_mixture, _mixture),
    Template("ages", "Algebra", _draw_ages, _ages),
)
