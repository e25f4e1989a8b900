"""Problems: loading, cleaning, filtering and prompts."""

from __future__ import annotations

from src.problems.benchmarks import load_benchmark
from src.problems.fields import fields_line
from src.problems.problem import Problem, ProblemError
from src.problems.training import Data, answers_taken, load_data, load_problems

__all__ = [
    "Data",
    "Problem",
    "ProblemError",
    "answers_taken",
    "fields_line",
    "load_benchmark",
    "load_data",
    "load_problems",
]
