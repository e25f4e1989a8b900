"""Problems: the mini family, problem files, and how a problem is put to a policy."""

from __future__ import annotations

from src.config import DataConfig
from src.problems.benchmarks import load_benchmark
from src.problems.files import read_problems
from src.problems.mini import generate
from src.problems.problem import Problem, ProblemError

__all__ = ["Problem", "ProblemError", "load_benchmark", "load_problems"]


def load_problems(cfg: DataConfig, split: str) -> list[Problem]:
    """Return the problems of one split.

    Args:
        cfg: mini family (``kind: mini``) or problem files (``kind: file``).
        split: ``train`` or ``heldout``. Of a file the first ``train_size`` or ``heldout_size`` rows
            are returned, all of them if it has fewer.

    Raises:
        ProblemError: the settings ask for what is not there, or a row of a file is malformed.
    """
    if split not in ("train", "heldout"):
        raise ProblemError(f"split: {split!r}; choose train or heldout")
    size = cfg.train_size if split == "train" else cfg.heldout_size
    if cfg.kind == "mini":
        return generate(size, cfg.seed, split, cfg.subjects, cfg.levels)
    path = cfg.train_path if split == "train" else cfg.heldout_path
    if path is None:
        raise ProblemError(f"data.{split}_path: null; with data=file it must name a .jsonl or .parquet file")
    return read_problems(path, cfg.fields)[:size]
