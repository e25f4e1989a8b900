"""Word problems about rates: meeting on the way, and working together."""

from __future__ import annotations

from math import gcd
from random import Random

from src.problems.mini.notation import FRACTION, latex_ratio
from src.problems.mini.template import Exercise, Params, Template
from src.problems.worded.phrasing import Phrasings
from src.problems.worded.stories.cast import casting, joined, people

TRIPS = (
    ("Avon", "Brook", "roads"),
    ("Linden", "Marsh", "roads"),
    ("Oakley", "Penn", "bicycle paths"),
    ("Quarry", "Ridge", "canals"),
    ("Stone", "Thorn", "trails"),
    ("Upton", "Vale", "roads"),
)
MEETING = Phrasings(
    trained=(
        "The towns {here} and {there} are {far} kilometers apart. {name} leaves {here} and travels toward "
        "{there} at {fast} kilometers per hour. {name2} leaves {there} {when} and travels toward {here} on "
        "the same route at {slow} kilometers per hour. How many hours after {name2} sets out do they meet?",
        "{name} and {name2} travel toward each other on a route of {far} kilometers between {here} and "
        "{there}. {name}, starting in {here}, covers {fast} kilometers each hour, and {name2}, starting in "
        "{there} {when}, covers {slow}. Find the number of hours that {name2} travels until they meet.",
        "From {here} to {there} it is {far} kilometers. {name} goes from {here} to {there} at a constant "
        "speed of {fast} kilometers per hour. {name2} starts in {there} {when} and comes the other way at "
        "{slow} kilometers per hour. After how many hours of travel does {name2} meet {name}?",
        "{name2} wants to meet {name} on the way. {name} starts in {here} at {fast} kilometers per hour. "
        "{name2} starts in {there}, {far} kilometers away, {when} and comes toward {name} at {slow} "
        "kilometers per hour. Determine how many hours {name2} is on the way when they meet.",
        "Among the {paths} of the region, one connects {here} and {there} and is {far} kilometers long. "
        "{name} moves on it from {here} at {fast} kilometers per hour. From {there}, {name2} leaves {when} "
        "and moves toward {name} at {slow} kilometers per hour. How long does {name2} travel before they "
        "meet, in hours?",
        "When do {name} and {name2} meet? {name} leaves {here} at {fast} kilometers per hour. {name2} "
        "leaves {there}, which is {far} kilometers from {here}, {when} and heads for {here} at {slow} "
        "kilometers per hour. Count the hours from the start of {name2}.",
    ),
    unseen=(
        "A gap of {far} kilometers lies between {name} in {here} and {name2} in {there}. {name} shortens it "
        "by {fast} kilometers per hour, and {name2}, who starts {when}, by {slow} kilometers per hour. For "
        "how many hours does {name2} travel until the gap is gone?",
        "How many hours of travel does {name2} need until the meeting with {name}? {name2} rides from "
        "{there} to {here} at {slow} kilometers per hour and starts {when}. {name} rides from {here} to "
        "{there} at {fast} kilometers per hour. The distance is {far} kilometers.",
    ),
)


def _draw_meeting(rng: Random, level: int) -> Params:
    low, high = ((4, 15), (10, 30), (10, 40), (25, 75), (30, 120))[level - 1]
    fast, slow = rng.randint(low, high), rng.randint(low, high)
    ahead = rng.randint(1, 3) if level > 2 else 0
    if level < 3:  # a whole number of hours
        return (fast + slow) * rng.randint(2, 9), fast, slow, 0
    return ahead * fast + rng.randint(fast, 6 * (fast + slow)), fast, slow, ahead


def _meeting(params: Params) -> Exercise:
    far, fast, slow, ahead = params
    rng = casting("meeting", params)
    here, there, paths = rng.choice(TRIPS)
    hours = "hour" if ahead == 1 else "hours"
    slots = people(rng, 2)
    told = MEETING.fill(
        **slots,
        here=here,
        there=there,
        paths=paths,
        far=far,
        fast=fast,
        slow=slow,
        when=f"{ahead} {hours} later" if ahead else "at the same time",
    )
    left = far - fast * ahead
    first = f"In ${ahead}$ {hours} alone, ${fast * ahead}$ kilometers are covered, and ${left}$ are left. "
    return Exercise(
        wordings=told.trained,
        unseen=told.unseen,
        answer=latex_ratio(left, fast + slow),
        steps=f"{first if ahead else ''}Together they cover ${fast} + {slow} = {fast + slow}$ kilometers "
        f"per hour, "
        f"so we divide ${left}$ by ${fast + slow}$.",
        code=f"{FRACTION}far, u, v = {far}, {fast}, {slow}\nleft = far{f' - u*{ahead}' if ahead else ''}\n"
        "print(Fraction(left, u + v))",
        errors=(("Fraction(", "Fractions("), ("left, u + v", "left u + v"), ("left = ", "rest = ")),
        blunders=(
            ("u + v", "u - v") if fast != slow else ("u + v", "u"),
            (f" - u*{ahead}", "") if ahead else ("u + v", "v"),
        ),
    )


JOBS = (
    ("fill the pool", "pump", "pumps"),
    ("print the newspapers", "machine", "machines"),
    ("harvest the field", "tractor", "tractors"),
    ("sort the mail", "robot", "robots"),
    ("pack the parcels", "conveyor", "conveyors"),
)
WORK = Phrasings(
    trained=(
        "Working alone, {each}. {All} of them start at the same moment and work together.{done} How many "
        "hours do they need to {job}?",
        "To {job}, there are {count} {tools} of different size. Alone, {each}.{done} Find the number of "
        "hours that they need together.",
        "The {count} {tools} of a company are used to {job}. If only one of them works, {each}.{done} "
        "Determine how many hours it takes when {all} of them work at once.",
        "A foreman must {job} and has {count} {tools}, which are painted green. On its own, {each}. He "
        "turns {all} of them on at once.{done} After how many hours is the job done?",
        "Each {tool} of a set works at a constant rate. To {job} alone, {each}. They are used at the same "
        "time.{done} How many hours does this take?",
        "How many hours do {count} {tools} need to {job} if they work side by side? By itself, "
        "{each}.{done} They do not slow each other down.",
    ),
    unseen=(
        "Suppose that {count} {tools} share the job to {job}. One at a time, {each}.{done} Give the time in "
        "hours for {all} of them together.",
        "Before noon, someone switches on {count} {tools} in order to {job}. Without help, {each}. Every "
        "one keeps its pace.{done} For how many hours must they run?",
    ),
)


def _draw_work(rng: Random, level: int) -> Params:
    top = (16, 24, 12, 15, 24)[level - 1]
    count = 2 if level < 3 else 3
    hours = tuple(sorted(rng.sample(range(2, top + 1), count)))
    return rng.randint(3, 9) if level > 3 else 0, *hours


def _work(params: Params) -> Exercise:
    done, *hours = params
    rng = casting("work_together", params)
    job, tool, tools = rng.choice(JOBS)
    ordinals = ("first", "second", "third")
    needs = [f"the {ordinals[place]} {tool} needs {n} hours" for place, n in enumerate(hours)]
    told = WORK.fill(
        job=job,
        tool=tool,
        tools=tools,
        count=("two", "three")[len(hours) - 2],
        all=("both", "all")[len(hours) - 2],
        All=("Both", "All")[len(hours) - 2],
        each=joined(needs),
        done=rf" Before they start, $\frac{{1}}{{{done}}}$ of the job has already been done." if done else "",
    )
    common = 1
    for n in hours:
        common = common * n // gcd(common, n)
    rate = sum(common // n for n in hours)
    total = " + ".join(f"Fraction(1, {n})" for n in hours)
    left = f"(1 - Fraction(1, {done}))" if done else "1"
    remains = rf", and $\frac{{{done - 1}}}{{{done}}}$ of it is left" if done else ""
    return Exercise(
        wordings=told.trained,
        unseen=told.unseen,
        answer=latex_ratio(common * (done - 1), rate * done) if done else latex_ratio(common, rate),
        steps=rf"Together they do $\frac{{{rate}}}{{{common}}}$ of the job in an hour{remains}.",
        code=f"{FRACTION}rate = {total}\nprint({left}/rate)",
        errors=(("rate = ", "r = "), ("Fraction(1", "Fractions(1"), ("/rate", "/ / rate")),
        blunders=((f"{left}/rate", "rate"), (left, f"Fraction(1, {done})") if done else (" + ", " - ")),
    )


TEMPLATES = (
    Template("meeting", "Algebra", _draw_meeting, _meeting),
    Template("work_together", "Intermediate Algebra", _draw_work, _work),
)
