"""Records with planted effects, for tests and to measure the analyses.

    python -m experiments.analysis.synthetic OUT --problems 100 --samples 1024

Two policies, *base* and *rl*, in the modes text and code. Each problem has a difficulty; an arm solves it
with a probability that depends on it. ``rl`` is better with few samples and the base with many: the curves of
``base_code`` and ``rl_code`` cross.
"""

from __future__ import annotations

import argparse
import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from src.run.records import ExecutionRecord, RecordWriter, SegmentRecord, TrajectoryRecord

SUBJECTS = ("Algebra", "Combinatorics", "Geometry", "Number Theory")
ERRORS = (
    "NameError: name 'x' is not defined",
    "TypeError: bad operand",
    "ZeroDivisionError: division by zero",
)
WORDS = (
    "We look for the number of ways to write the total as a sum of squares and then take what is left modulo "
    "seven, which is the same as counting the pairs whose difference is divisible by it. "
)


@dataclass(frozen=True)
class Plan:
    """What is planted in an arm.

    Attributes:
        solvable: fraction of the problems of each subject that it can solve at all.
        rate: probability that a trajectory solves a solvable problem.
        fails: probability that an execution fails.
        repairs: probability that the next program is a repaired version and runs.
        rewrites: probability that it is a different program, which runs.
        again: probability that it is a repaired version and fails, too.
        tokens: mean number of policy tokens.
    """

    solvable: dict[str, float]
    rate: float
    fails: float = 0.2
    repairs: float = 0.6
    rewrites: float = 0.25
    again: float = 0.1
    tokens: float = 200.0


PLANS = {
    ("base", "text"): Plan(dict.fromkeys(SUBJECTS, 0.5), 0.05, tokens=400),
    ("base", "code"): Plan({**dict.fromkeys(SUBJECTS, 0.9), "Geometry": 0.6}, 0.06, fails=0.4, repairs=0.3),
    ("rl", "text"): Plan(dict.fromkeys(SUBJECTS, 0.45), 0.3, tokens=300),
    ("rl", "code"): Plan({**dict.fromkeys(SUBJECTS, 0.7), "Geometry": 0.4}, 0.6, fails=0.1),
}  # fmt: skip


def make(mode: str, plan: Plan, problems: int, samples: int, seed: int) -> Iterator[TrajectoryRecord]:
    """Yield ``problems * samples`` records of one arm."""
    draw = random.Random(f"{seed} {mode} {plan}")
    for number in range(problems):
        subject = SUBJECTS[number % len(SUBJECTS)]
        # the same problems are hard for every arm: an arm solves the first of each subject
        rank = (number // len(SUBJECTS) + 0.5) / (problems / len(SUBJECTS))
        rate = plan.rate if rank < plan.solvable[subject] else 0.0
        for sample in range(samples):
            yield _record(mode, plan, number, subject, rank, sample, draw.random() < rate, draw)


def _record(
    mode: str,
    plan: Plan,
    number: int,
    subject: str,
    rank: float,
    sample: int,
    correct: bool,
    draw: random.Random,
) -> TrajectoryRecord:
    segments, executions = [], []
    text = WORDS * max(1, int(draw.gammavariate(4, plan.tokens / 160)))
    if mode == "code":
        code = f"import math\ntotal = sum(1 for a in range({number}) if a % {sample + 2} == 1)\nprint(total)"
        failed = draw.random() < plan.fails
        for _ in range(8):
            segments.append(SegmentRecord("policy", f"{text}\n```python\n{code}\n```", len(text) // 4 + 40))
            error = draw.choice(ERRORS) if failed else None
            executions.append(ExecutionRecord("error" if failed else "ok", draw.expovariate(20), error))
            said = f"\n```output\n{error or draw.randrange(99)}\n```\n"
            segments.append(SegmentRecord("sandbox", said, 12))
            if not failed:
                break
            chance = draw.random()
            if chance < plan.repairs:
                failed, code = False, code.replace("total", "count")
            elif chance < plan.repairs + plan.again:
                code = code.replace("total", "count")
            elif chance < plan.repairs + plan.again + plan.rewrites:
                failed, code = (
                    False,
                    f"from sympy import *\nx = symbols('x')\nprint(solve(x**2 - {sample}, x))",
                )
            else:
                break
            text = "So again."
    answer = str(number) if correct else "no"
    segments.append(SegmentRecord("policy", f"{text if mode == 'text' else 'So'} \\boxed{{{answer}}}", 12 + (
        len(text) // 4 if mode == "text" else 0
    )))  # fmt: skip
    return TrajectoryRecord(
        phase="evaluate", mode=mode, step=0, attempt=0, sample=sample, problem_id=f"p{number}",
        problem=f"What is {number}? " + WORDS, gold=str(number), subject=subject, level=1 + int(5 * rank),
        source="synthetic", budget=8, prompt_tokens=50, segments=segments, executions=executions,
        stop_reason="answered", dropped_tokens=0, answer=answer, correct=correct,
        rewards={"accuracy": 1.0 if correct else -1.0, "total": 1.0 if correct else -1.0},
    )  # fmt: skip


def write(out: Path, problems: int, samples: int, seed: int = 0) -> None:
    """Write one folder of records for each policy."""
    for policy in ("base", "rl"):
        with RecordWriter(out / policy / "trajectories.jsonl") as writer:
            for (name, mode), plan in PLANS.items():
                if name == policy:
                    batch: list[TrajectoryRecord] = []
                    for record in make(mode, plan, problems, samples, seed):
                        batch.append(record)
                        if len(batch) == 4096:
                            writer.write_records(batch)
                            batch.clear()
                    writer.write_records(batch)


def main() -> None:
    """Parse the arguments and write."""
    parser = argparse.ArgumentParser(description="records with planted effects")
    parser.add_argument("out", type=Path)
    parser.add_argument("--problems", type=int, default=100)
    parser.add_argument("--samples", type=int, default=1024)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    write(arguments.out, arguments.problems, arguments.samples, arguments.seed)


if __name__ == "__main__":
    main()
