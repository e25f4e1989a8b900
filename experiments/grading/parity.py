"""Whether ``reward.grader=math_verify`` gives the verdicts of math-verify itself.

    python -m experiments.grading.parity --path MATH_OAI.jsonl

Each gold answer is compared with itself, with the same value written differently, and with altered answers
(a changed digit, the answer of another problem, a unit, a repeated item, a rounded value, text), 2,000 of
them by default. The verdicts of the grading processes are set against those of math-verify, called in this
process with its own defaults. Ends with status 1 if a pair differs or could not be compared.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from math_verify import parse, verify

from experiments.grading.check import alter, respell
from src.rewards import Grade, Grader

Pair = tuple[str, str]
_SECONDS = 60.0  # per pair: math-verify's own limits are 5 s for each parsing and comparison

ALTERATIONS: tuple[Callable[[str, str, random.Random], str], ...] = (
    lambda gold, other, rng: alter(gold, rng) or other,
    lambda gold, other, rng: other,
    lambda gold, other, rng: respell(gold),
    lambda gold, other, rng: rf"{gold} \text{{ {rng.choice(['cm', 'or more', 'dollars'])}}}",
    lambda gold, other, rng: f"{gold}, {rng.choice([gold, other])}",
    lambda gold, other, rng: f"x = {gold}",
    lambda gold, other, rng: f"the answer is {gold}",
    lambda gold, other, rng: f"{gold}{rng.choice(['00001', '.0', '%', '+0', '=0', '^2'])}",
    lambda gold, other, rng: gold[: rng.randrange(len(gold)) + 1],
    lambda gold, other, rng: f"-{gold}",
)


def altered(golds: Sequence[str], number: int, seed: int = 0) -> list[Pair]:
    """Return ``number`` different pairs of a gold answer and another answer, each alteration as often."""
    rng = random.Random(seed)
    found: dict[Pair, None] = {}
    turn = 0
    while len(found) < number and turn < 20 * number:
        gold = golds[turn % len(golds)] if turn < len(golds) else rng.choice(golds)
        answer = ALTERATIONS[turn % len(ALTERATIONS)](gold, rng.choice(golds), rng)
        if answer != gold:
            found[gold, answer] = None
        turn += 1
    return list(found)


def by_math_verify(gold: str, answer: str) -> bool:
    """Return math-verify's verdict; an exception counts as wrong, as in the paper's released training."""
    try:
        return bool(verify(parse(f"${gold}$"), parse(f"${answer}$")))
    except Exception:
        return False


def differences(pairs: Sequence[Pair], workers: int) -> list[tuple[Pair, Grade, bool]]:
    """Return the pairs on which the grading processes and math-verify differ, with both verdicts."""
    with Grader(workers, _SECONDS, mode="math_verify") as grader:
        grades = grader.grade(pairs)
    verdicts = [by_math_verify(*pair) for pair in pairs]
    return [
        (pair, grade, verdict)
        for pair, grade, verdict in zip(pairs, grades, verdicts, strict=True)
        if grade.correct != verdict or grade.failure in ("timeout", "crash")
    ]


def main() -> int:
    """Print the pairs that differ; return 0 if none does."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--path", type=Path, required=True, help="JSON Lines with the field answer")
    parser.add_argument("--altered", type=int, default=2000, help="number of altered answers")
    parser.add_argument("--workers", type=int, default=2)
    arguments = parser.parse_args()
    golds = [json.loads(line)["answer"] for line in arguments.path.read_text().splitlines()]
    pairs = [(gold, gold) for gold in golds] + altered(golds, arguments.altered)
    start = time.perf_counter()
    found = differences(pairs, arguments.workers)
    for (gold, answer), grade, verdict in found:
        print(f"    {gold!r}  {answer!r}  {grade}, math-verify: {verdict}")
    print(f"{len(pairs)} pairs, {len(found)} differ, {time.perf_counter() - start:.0f} s")
    return int(bool(found))


if __name__ == "__main__":
    sys.exit(main())
