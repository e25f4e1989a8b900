"""Measures extraction and grading on a benchmark with worked solutions, such as MATH-500.

    python -m experiments.grading.check --path MATH_OAI.jsonl

Prints four figures and ends with status 1 if one misses its target:

- solutions: the boxed answer of each gold solution against the gold answer; at least 99.8 % are equivalent
- respelled: the gold answer written differently (spaces, sizes, ``a/b``), so that comparing strings is not
  enough; at least 99 % are equivalent
- altered: the gold answer with one digit changed; at most 0.5 % are graded as equivalent
- others: gold answers of other problems that differ as strings; at most 2 % are graded as equivalent
"""

from __future__ import annotations

import argparse
import json
import random
import re
import sys
import time
from pathlib import Path

from src.rewards import Grader, extract_answer

Pair = tuple[str, str | None]


def respell(answer: str) -> str:
    """Return ``answer`` in another notation of the same value."""
    answer = re.sub(r"\\left|\\right|\\!\s*", "", answer)
    answer = re.sub(r"\\frac\{(\w+)\}\{(\w+)\}", r"(\1/\2)", answer).replace(r"\frac", r"\dfrac")
    answer = re.sub(r"(?<=\d)(?=[-+])|(?<=[-+])(?=\d)", " ", answer.replace(r"\text", r"\textbf"))
    return re.sub(r"(?<=\d),(?!\d{3})", " , ", answer)


def alter(answer: str, rng: random.Random) -> str | None:
    """Return ``answer`` with one digit changed; None if it has none."""
    digits = [match.start() for match in re.finditer(r"\d", answer)]
    if not digits:
        return None
    place = rng.choice(digits)
    return answer[:place] + str((int(answer[place]) + rng.randint(1, 9)) % 10) + answer[place + 1 :]


def plain(answer: str) -> str:
    """Return ``answer`` without what makes equal answers differ as strings."""
    return re.sub(r"\\left|\\right|\\!|\s+", "", answer).replace(r"\dfrac", r"\frac")


def main() -> int:
    """Print the figures; return 0 if all reach their targets."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--path", type=Path, required=True, help="JSON Lines with fields solution and answer")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=10.0, help="limit per pair")
    parser.add_argument("--others", type=int, default=4, help="answers of other problems per problem")
    arguments = parser.parse_args()

    rows = [json.loads(line) for line in arguments.path.read_text().splitlines()]
    golds = [row["answer"] for row in rows]
    rng = random.Random(0)
    sets: dict[str, list[Pair]] = {
        "solutions": [(row["answer"], extract_answer([row["solution"]])) for row in rows],
        "respelled": [(gold, respell(gold)) for gold in golds],
        "altered": [(gold, altered) for gold in golds if (altered := alter(gold, rng)) is not None],
        "others": [
            (gold, other)
            for gold in golds
            for other in rng.sample(golds, min(arguments.others, len(golds)))
            if plain(gold) != plain(other)
        ],
    }
    targets = {
        "solutions": (0.998, 1.0),
        "respelled": (0.99, 1.0),
        "altered": (0.0, 0.005),
        "others": (0.0, 0.02),
    }
    missed = False
    with Grader(arguments.workers, arguments.seconds) as grader:
        grader.grade([("x", "y")])  # the clock starts when the processes are ready
        for name, pairs in sets.items():
            start = time.perf_counter()
            grades = grader.grade(pairs)
            seconds = time.perf_counter() - start
            count = sum(grade.correct for grade in grades)
            share = count / len(grades)
            low, high = targets[name]
            missed |= not low <= share <= high
            print(
                f"{name:9}  {count:5} of {len(grades):5} equivalent ({share:.2%}, "
                f"target {low:.1%} to {high:.1%})  {len(pairs) / seconds:6.0f} pairs/s"
            )
            for (gold, answer), grade in zip(pairs, grades, strict=True):
                if grade.correct != (low > 0):
                    print(f"    {gold!r}  {answer!r}" + (f"  {grade.failure}" if grade.failure else ""))
        print(", ".join(f"{name} {number}" for name, number in grader.stats().items()))
    return int(missed)


if __name__ == "__main__":
    sys.exit(main())
