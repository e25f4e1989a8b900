"""Benchmarks: the mini family, data sets of the hub, and files; each with a field mapping."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from src.config import BenchmarkConfig
from src.problems.files import read_problems, read_rows
from src.problems.mini import generate
from src.problems.problem import Problem, ProblemError


def load_benchmark(cfg: BenchmarkConfig) -> list[Problem]:
    """Return the problems of a benchmark, at most ``cfg.size`` from the top; their source is its name.

    Raises:
        ProblemError: it is not there, or a row is malformed.
    """
    if cfg.kind == "mini":
        return generate(cfg.size or 400, cfg.seed, "heldout", cfg.subjects, cfg.levels)
    problems = read_problems(cfg.path, cfg.fields, "benchmark") if cfg.path else _hub(cfg)
    return [replace(problem, source=cfg.name) for problem in problems[: cfg.size]]


def _hub(cfg: BenchmarkConfig) -> list[Problem]:
    from datasets import load_dataset

    try:
        rows: Any = load_dataset(cfg.dataset, cfg.subset, split=cfg.split, revision=cfg.revision)
    except Exception as error:  # whatever network, hub and the data set's own code raise
        raise ProblemError(
            f"benchmark {cfg.name}: the data set {cfg.dataset} cannot be loaded "
            f"({type(error).__name__}: {error}); where there is no network give benchmark.path=FILE"
        ) from None
    places = ((f"{cfg.dataset}, row {number}", dict(row)) for number, row in enumerate(rows, start=1))
    return read_rows(places, cfg.fields, cfg.name, cfg.name, "benchmark")
