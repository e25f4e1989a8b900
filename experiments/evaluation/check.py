"""``python -m experiments.evaluation.check FOLDER``: are the original benchmark files read correctly?

The folder holds MATH_OAI.jsonl, AIME24.jsonl, amc23.jsonl and OlymMATH-EN-EASY.jsonl. Each is loaded as a
user would, by ``benchmark=NAME benchmark.path=FILE`` and by ``benchmark=file benchmark.path=FILE``,
without naming fields; problems and subjects are counted against the lines themselves, and no answer may be
empty. Exits with code 1 and prints what fails.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from pathlib import Path

from src.config import EvaluationConfig
from src.config.composition import compose
from src.launch.checks import load
from src.problems import ProblemError, load_benchmark

FILES = {  # file: benchmark, number of problems
    "MATH_OAI.jsonl": ("math500", 500),
    "AIME24.jsonl": ("aime24", 30),
    "amc23.jsonl": ("amc23", 40),
    "OlymMATH-EN-EASY.jsonl": ("olymmath_easy", 100),
}


def configuration(name: str, path: Path, *fields: str) -> EvaluationConfig:
    """Return what the command line would give."""
    overrides = [f"benchmark={name}", f"benchmark.path='{path}'"]
    overrides += ["rollout.max_tokens=1024"]  # what the mini policy has positions for
    return load(EvaluationConfig, compose("evaluate", EvaluationConfig, [*overrides, *fields]))


def faults(folder: Path) -> list[str]:
    """Return the failed checks of the four files."""
    found = []
    for file, (name, number) in FILES.items():
        problems = load_benchmark(configuration(name, folder / file).benchmark)
        unnamed = load_benchmark(configuration("file", folder / file).benchmark)
        rows = [json.loads(line) for line in (folder / file).read_text().splitlines()]
        subjects = Counter(problem.subject for problem in problems)
        print(f"{problems[0].source}: {len(problems)} problems; {dict(subjects)}")
        if len(problems) != number:
            found.append(f"{file}: {len(problems)} problems, not {number}")
        if [(one.text, one.answer) for one in unnamed] != [(one.text, one.answer) for one in problems]:
            found.append(f"{file}: benchmark=file reads other problems")
        if subjects != Counter(row.get("subject") for row in rows):
            found.append(f"{file}: the subjects are not those of its lines")
        if any(not problem.answer or "boxed" in problem.answer for problem in problems):
            found.append(f"{file}: an answer is empty, or still in its box")
        if len({problem.id for problem in problems}) != number:
            found.append(f"{file}: ids are not unique")
    try:
        wrong = configuration("math500", folder / "MATH_OAI.jsonl", "benchmark.fields.answer=anser")
        load_benchmark(wrong.benchmark)
        found.append("a wrong field name was not noticed")
    except ProblemError as error:
        if "field 'anser' is missing (benchmark.fields.answer=anser)" not in str(error):
            found.append(f"a wrong field name gives: {error}")
    return found


def main() -> None:
    """Parse the arguments, check, exit."""
    parser = argparse.ArgumentParser(description="reading of benchmark files")
    parser.add_argument("folder", type=Path)
    found = faults(parser.parse_args().folder)
    for fault in found:
        print(fault, file=sys.stderr)
    sys.exit(bool(found))


if __name__ == "__main__":
    main()
