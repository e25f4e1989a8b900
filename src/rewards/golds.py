"""Checks before a run that the grader can parse a sample of the gold answers.

Answers whose text alone shows that they cannot be graded have been refused by ``src.problems.gold`` before.
"""

from __future__ import annotations

from collections.abc import Sequence

from src.config import GENERATED, DataConfig, FieldsConfig
from src.config.named import heldout_benchmark
from src.problems import Data, Problem
from src.problems.gold import Unreadable, refuse
from src.rewards.grader import Grader
from src.rewards.literals import plain_number

_SAMPLES = (
    200,
    2000,
)  # sample sizes; the second is used only if too many answers of the first cannot be parsed
_WORKERS = 2


def refuse_unreadable_data(data: Data, cfg: DataConfig, seconds: float) -> None:
    """Check training and held-out problems, see :func:`refuse_unreadable`; not those that are generated."""
    if cfg.kind in GENERATED:
        return
    refuse_unreadable(data.train, cfg.fields, "data", seconds)
    benchmark = None if cfg.heldout.benchmark is None else heldout_benchmark(cfg.heldout)
    if benchmark is None or benchmark.kind not in GENERATED:
        fields = cfg.heldout.fields if benchmark is None else benchmark.fields
        refuse_unreadable(data.heldout, fields, "data.heldout", seconds)


def refuse_unreadable(
    problems: Sequence[Problem], fields: FieldsConfig, group: str, seconds: float, workers: int = _WORKERS
) -> None:
    """Refuse problems whose gold answers the grader cannot parse. Plain numbers need no grading process.

    Args:
        problems: of one file or data set.
        fields: field names with which they were read.
        group: group of the configuration, for the error message.
        seconds: time limit per answer.
        workers: number of grading processes.

    Raises:
        ProblemError: more than ``fields.max_unreadable`` cannot be parsed, estimated from a sample of the
            answers with LaTeX.
        GraderError: the processes cannot be started.
    """
    if fields.max_unreadable == 1:
        return
    latex = [
        problem for problem in problems if "\\" in problem.answer and plain_number(problem.answer) is None
    ]
    if not latex:
        return
    with Grader(workers, seconds) as grader:
        for size in _SAMPLES:
            sample = latex[:: -(-len(latex) // size)]
            read = grader.readable([problem.answer for problem in sample])
            cannot = [problem for problem, can in zip(sample, read, strict=True) if not can]
            number = len(cannot) * len(latex) // len(sample)
            if number <= fields.max_unreadable * len(problems) or len(sample) == len(latex):
                break
    found = [Unreadable(problem.id, problem.answer, "the grader cannot parse it") for problem in cannot]
    refuse(found, number, len(problems), fields, problems[0].source, group)
