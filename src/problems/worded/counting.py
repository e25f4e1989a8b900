"""Counting & Probability: the mini family's templates in several phrasings."""

from __future__ import annotations

from src.problems.mini import counting as mini
from src.problems.mini.template import Params
from src.problems.worded.phrasing import Phrasings, Told, rephrase

GROUP = Phrasings(
    trained=(
        "A coach selects ${k}$ of her ${n}$ players for a match. How many selections are possible?",
        "How many subsets with exactly ${k}$ elements does a set of ${n}$ elements have?",
        "From ${n}$ different books, ${k}$ are taken along on a trip. Count the possible choices.",
        "Determine the number of ways to choose ${k}$ out of ${n}$ candidates when the order does not "
        "matter.",
        "A pizzeria offers ${n}$ toppings. How many different pizzas have exactly ${k}$ different toppings?",
        "Out of ${n}$ volunteers, a group of ${k}$ is formed, in which no one has a special role. How many "
        "groups are possible?",
    ),
    unseen=(
        "Compute the number of combinations of ${n}$ objects taken ${k}$ at a time.",
        "In a club of ${n}$ members, any ${k}$ of them may represent the club. How many different "
        "delegations are there?",
    ),
)
GROUPS = Phrasings(
    trained=(
        "A jury consists of ${k}$ men and ${j}$ women. There are ${n}$ men and ${m}$ women to choose from. "
        "How many juries are possible?",
        "How many ways are there to choose ${k}$ of ${n}$ novels and ${j}$ of ${m}$ comics, all of them "
        "different?",
        "A team needs ${k}$ of ${n}$ doctors and ${j}$ of ${m}$ nurses. Count the possible teams.",
        "Choose ${k}$ cards from ${n}$ different red ones, and ${j}$ cards from ${m}$ different blue ones. "
        "How many outcomes are there if the order does not matter?",
        "At a school meeting there are ${n}$ teachers and ${m}$ parents. Determine the number of groups "
        "with exactly ${k}$ teachers and ${j}$ parents.",
        "A florist has ${n}$ different roses and ${m}$ different tulips, and a customer in a hurry wants "
        "${k}$ roses and ${j}$ tulips. How many bouquets are possible?",
    ),
    unseen=(
        "Of ${n}$ sopranos, ${k}$ are to sing in a concert, and of ${m}$ tenors, ${j}$ are. In how many "
        "ways can the singers be selected?",
        "An exam has ${n}$ questions in its first part and ${m}$ in its second part. A student must answer "
        "exactly ${k}$ from the first and ${j}$ from the second part. How many choices of questions are "
        "there?",
    ),
)
BAG = Phrasings(
    trained=(
        "An urn contains ${red}$ red and ${blue}$ blue marbles. If ${k}$ marbles are taken out at once, "
        "what is the probability that every one of them is red?",
        "Someone takes ${k}$ socks at random from a drawer with ${red}$ red and ${blue}$ blue socks. Find "
        "the probability that no blue sock is taken.",
        "Of ${red}$ girls and ${blue}$ boys, ${k}$ children are picked at random. What is the probability "
        "that only girls are picked? Give a fraction.",
        "A box holds ${blue}$ blue pens and ${red}$ red pens. If ${k}$ pens are drawn without putting any "
        "back, what is the probability of getting red pens only?",
        "Determine the probability that ${k}$ cards drawn from ${red}$ red and ${blue}$ black cards, "
        "without replacement, are all red.",
        "In a shipment, ${red}$ lamps work and ${blue}$ are broken. An inspector tests ${k}$ different "
        "lamps chosen at random. With what probability do all of them work?",
    ),
    unseen=(
        "What is the probability that a random choice of ${k}$ fish from a tank with ${red}$ goldfish and "
        "${blue}$ guppies consists of goldfish only?",
        "A bag has ${blue}$ lemon sweets and ${red}$ cherry sweets. A child eats ${k}$ sweets picked at "
        "random. Compute the probability that all of these are cherry sweets.",
    ),
)
MULTIPLES = Phrasings(
    trained=(
        "How many of the numbers $1, 2, \\ldots, {n}$ are divisible {said}?",
        "Among the first ${n}$ positive integers, how many are divisible {said}?",
        "Determine the number of positive integers not greater than ${n}$ that are divisible {said}.",
        "Lockers are numbered from $1$ to ${n}$. A sticker goes on every locker whose number is divisible "
        "{said}. How many stickers are needed?",
        "A computer prints each integer from $1$ to ${n}$ that is divisible {said}. How many numbers does "
        "it print?",
        "Pick out all integers between $1$ and ${n}$, both included, that are divisible {said}. How many "
        "are there?",
    ),
    unseen=(
        "The set $S$ consists of the positive integers up to ${n}$ that are divisible {said}. What is the "
        "size of $S$?",
        "Tickets carry the numbers $1$ to ${n}$, and exactly those divisible {said} win a prize. How many "
        "tickets win?",
    ),
)


def _committee(params: Params) -> Told:
    if len(params) == 2:
        n, k = params
        return GROUP.fill(n=n, k=k)
    n, k, m, j = params
    return GROUPS.fill(n=n, k=k, m=m, j=j)


def _bag(params: Params) -> Told:
    red, blue, k = params
    return BAG.fill(red=red, blue=blue, k=k)


def _multiples(params: Params) -> Told:
    kind, n, a, b = params
    said = f"by ${a}$ or ${b}$ (or both)" if kind == 0 else f"by ${a}$ but not by ${b}$"
    return MULTIPLES.fill(n=n, said=said)


TEMPLATES = rephrase(
    mini.TEMPLATES, {"committee": _committee, "red_balls": _bag, "divisible_count": _multiples}
)
