"""Word problems about whole numbers: schedules, and packing with a remainder."""

from __future__ import annotations

from random import Random

from src.problems.mini.template import Exercise, Params, Template
from src.problems.worded.phrasing import Phrasings
from src.problems.worded.stories.cast import casting, joined, people

LINES = (
    ("bus lines", "the main station"),
    ("ferry lines", "the old harbor"),
    ("tram lines", "Market Square"),
    ("cable car lines", "the valley station"),
    ("shuttle lines", "the airport"),
)
SCHEDULE = Phrasings(
    trained=(
        "At {place}, {count} {lines} start together at noon. There is a departure {more}. {name} has time "
        "to watch. {ask}",
        "The {count} {lines} at {place} have departures every {listed} minutes, respectively. {Both} of "
        "them depart at noon. Assume that nothing is late. {find}",
        "{name} reads the timetable at {place}. It lists {count} {lines} with departures every {listed} "
        "minutes, respectively, and at noon they {both} depart at once. {She} does not need a ticket. {ask}",
        "Every {listed} minutes, respectively, there is a departure on one of the {count} {lines} at "
        "{place}. Noon is a moment at which they {both} depart. The timetable never changes. {ask}",
        "There are {count} {lines} at {place}. Their departures are {listed} minutes apart, respectively, "
        "and {name} sees a departure on {both} of them at noon. {find}",
        "Noon is when {all} {lines} at {place} have a departure. From then on, they keep to intervals of "
        "{listed} minutes, respectively. It is a windy day. {ask}",
    ),
    unseen=(
        "{name} plans a photograph of {all} {lines} departing from {place} at once. This happens at noon, "
        "and the intervals between departures are {listed} minutes, respectively. {ask}",
        "Think of {count} {lines} that {both} depart from {place} at noon and then every {listed} minutes, "
        "respectively. No departure is ever cancelled. {find}",
    ),
)


def _draw_schedule(rng: Random, level: int) -> Params:
    top = (20, 24, 20, 30, 45)[level - 1]
    count = 2 if level < 3 else 3
    every = tuple(sorted(rng.sample(range(3 + level, top + 1), count)))
    common = _multiple(every)
    hours = rng.randint(common // 60 + 1, common // 60 + 12 * level) if level in (2, 4, 5) else 0
    return hours, *every


def _multiple(numbers: tuple[int, ...]) -> int:
    """The least common multiple, by counting up."""
    value = numbers[0]
    for number in numbers[1:]:
        step = value
        while value % number:
            value += step
    return value


def _schedule(params: Params) -> Exercise:
    hours, *every = params
    common = _multiple(tuple(every))
    rng = casting("schedule", params)
    lines, place = rng.choice(LINES)
    ordinals = ("first", "second", "third")
    both = ("both", "all")[len(every) - 2]
    span = f"in the {hours} hours after noon, counting the end of this time but not noon itself"
    ask = f"How many minutes after noon do they {both} next depart at the same moment?"
    find = f"Find the number of minutes from noon until they {both} next depart at the same moment."
    if hours:
        ask = f"How often do they {both} depart at the same moment {span}?"
        find = f"Find how often they {both} depart at the same moment {span}."
    told = SCHEDULE.fill(
        **people(rng),
        lines=lines,
        place=place,
        count=("two", "three")[len(every) - 2],
        both=both,
        Both=both.capitalize(),
        all=("both", "all three")[len(every) - 2],
        more=joined([f"on the {o} every {n} minutes" for o, n in zip(ordinals, every, strict=False)]),
        listed=joined(list(map(str, every))),
        ask=ask,
        find=find,
    )
    minutes = 0
    for _ in range(hours):
        minutes += 60
    times = f" In ${minutes}$ minutes it fits ${minutes // common}$ times." if hours else ""
    return Exercise(
        wordings=told.trained,
        unseen=told.unseen,
        answer=str(minutes // common if hours else common),
        steps=f"The least common multiple of the intervals is ${common}$ minutes.{times}",
        code=f"from math import lcm\nevery = lcm({', '.join(map(str, every))})\n"
        f"print({f'{hours}*60//every' if hours else 'every'})",
        errors=(("lcm(", "lmc("), ("every = ", "each = "), (f", {every[-1]})", f" {every[-1]})")),
        blunders=(("lcm(", "max("), ("*60", "") if hours else (f", {every[-1]})", ")")),
    )


HARVEST = (
    ("crates", "apples", "bags", "floor"),
    ("boxes", "tiles", "packs", "shelf"),
    ("trays", "eggs", "cartons", "counter"),
    ("chests", "coins", "rolls", "table"),
    ("bins", "tennis balls", "tubes", "bench"),
    ("racks", "bottles", "cases", "cart"),
)
PACKING = Phrasings(
    trained=(
        "{name} has {a} {crates} with {b} {things} each. Another {c} {things} are on the {spot}. {She} "
        "packs all the {things} into {bags} of {m} until fewer than {m} are left. How many {things} are "
        "left over?",
        "A company stores {things} in {a} {crates} of {b}, and {c} more {things} lie on a {spot}. All of "
        "them are sold in full {bags} of {m}. Find the number of {things} that cannot be sold.",
        "There are {c} {things} on the {spot}. In addition, {name} empties {a} {crates}, each with {b} "
        "{things}. {She} fills as many {bags} of {m} as possible. How many {things} remain?",
        "Every one of {a} {crates} contains {b} {things}. Together with {c} loose {things}, they are put "
        "into {bags} that hold exactly {m} each. The {bags} are yellow. If only full {bags} count, how many "
        "{things} are not in any of them?",
        "{name} fills {bags} with {m} {things} each. {She} uses up the contents of {a} {crates} with {b} "
        "{things} each and {c} {things} from a {spot}. Only full {bags} are closed. Determine how many "
        "{things} the last, unfinished one would hold.",
        "How many {things} are left when as many {bags} of {m} as possible have been filled? At the start "
        "there are {a} {crates} of {b} {things}. Besides, {c} single {things} were found on the {spot}.",
    ),
    unseen=(
        "From {a} {crates} holding {b} {things} each, and {c} {things} that were not in any of them, full "
        "{bags} of {m} are made. {name} may keep what does not fill another one. How many {things} does "
        "{she} keep?",
        "A robot counts {things} into {bags} of {m}. It receives {c} {things} first and then the {b} "
        "{things} of each of {a} {crates}. When nothing more comes, how many {things} does it hold that are "
        "too few to fill another of the {bags}?",
    ),
)


def _draw_packing(rng: Random, level: int) -> Params:
    many, each = ((9, 12), (20, 30), (60, 75), (150, 250), (400, 999))[level - 1]
    m = rng.randint(3, (8, 15, 30, 60, 99)[level - 1])
    return rng.randint(3, many), rng.randint(4, each), rng.randint(2, 20 * level), m


def _packing(params: Params) -> Exercise:
    a, b, c, m = params
    rng = casting("packing", params)
    crates, things, bags, spot = rng.choice(HARVEST)
    told = PACKING.fill(**people(rng), crates=crates, things=things, bags=bags, spot=spot, a=a, b=b, c=c, m=m)
    total = sum(b for _ in range(a)) + c
    full = int(total / m)
    return Exercise(
        wordings=told.trained,
        unseen=told.unseen,
        answer=str(total - full * m),
        steps=rf"There are ${a} \cdot {b} + {c} = {total}$ {things}. ${full}$ full {bags} take "
        rf"${full} \cdot {m} = {full * m}$ of them.",
        code=f"a, b, c = {a}, {b}, {c}\nprint((a*b + c) % {m})",
        errors=(("a*b", "ab"), (" % ", " mod "), ("a, b, c", "a, b c")),
        blunders=((" % ", " // "), ("a*b", "a + b")),
    )


TEMPLATES = (
    Template("schedule", "Number Theory", _draw_schedule, _schedule),
    Template("packing", "Number Theory", _draw_packing, _packing),
)
