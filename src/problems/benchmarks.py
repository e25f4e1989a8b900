"""Benchmarks: generated families, data sets of the hub, and files; each with a field mapping."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

from src.config import GENERATED, BenchmarkConfig, DataConfig
from src.problems import mini, worded
from src.problems.files import read_problems, read_rows
from src.problems.hub import hub_rows
from src.problems.problem import Problem, ProblemError


def generated(cfg: DataConfig | BenchmarkConfig, size: int, split: str) -> list[Problem]:
    """Return ``size`` different problems of a generated family.

    Raises:
        ProblemError: unknown split, subject or level, or fewer different problems than asked for.
    """
    family = worded if cfg.kind == "worded" else mini
    return family.generate(size, cfg.seed, split, cfg.subjects, cfg.levels)


def load_benchmark(
    cfg: BenchmarkConfig,
    remedy: str = "benchmark.path=FILE",
    taken: Counter[str] | None = None,
    found: dict[str, str] | None = None,
    texts_only: bool = False,
    group: str = "benchmark",
) -> list[Problem]:
    """Return at most the first ``cfg.size`` problems of a benchmark; their source is its name.

    Args:
        cfg: the benchmark.
        remedy: the setting that reads it from a file, for the error message if it cannot be loaded.
        taken, found, texts_only, group: see :func:`src.problems.files.read_rows`.

    Raises:
        ProblemError: it cannot be loaded, a row is malformed, or too many gold answers cannot be graded.
    """
    how = (group, taken, cfg.keep_prompt, found, texts_only)
    if cfg.kind in GENERATED:
        problems = generated(cfg, cfg.size or 400, "heldout" if cfg.kind == "mini" else cfg.split)
    elif cfg.path:
        problems = read_problems(cfg.path, cfg.fields, *how)
    else:
        rows = hub_rows(cfg, f"benchmark {cfg.name}", remedy)
        problems = read_rows(rows, cfg.fields, cfg.name, cfg.name, *how)
    return [replace(problem, source=cfg.name) for problem in problems[: cfg.size]]


def repeated(problems: Sequence[Problem]) -> str:
    """Return how many problems repeat the text of another one, in a sentence; empty if none does."""
    number = len(problems) - len({" ".join(problem.text.split()) for problem in problems})
    if not number:
        return ""
    return (
        f"{number} of {len(problems)} problems repeat the text of another one: they count as different "
        "problems, so intervals are too narrow; give each problem once, and a larger k"
    )


@contextmanager
def named_by(setting: str) -> Iterator[None]:
    """Within this context, errors about the fields of a benchmark that ``setting`` names have its remedy."""
    try:
        yield
    except ProblemError as error:
        if "benchmark.fields." not in str(error):
            raise
        raise ProblemError(
            f"{setting}: {error}, in an option of your own in conf/benchmark (docs/extending.md), or rename "
            "the fields in the file"
        ) from None
