"""Checks of where problems come from; see src/checks.py."""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import Any

from src import config as c
from src.schema import show, wrong_choice


def data(cfg: c.DataConfig, at: str) -> list[str]:
    """Return the faults of training and held-out problems."""
    faults = []
    paths = {f"{at}train_path": cfg.train_path, f"{at}heldout_path": cfg.heldout_path}
    if cfg.kind == "mini":
        for name, path in paths.items():
            if path is not None:
                faults.append(
                    f"{name}={path}: problem files are read with {at}kind=file only; choose data=file, or "
                    f"leave {name} null"
                )
        faults += _choices(f"{at}subjects", cfg.subjects, c.SUBJECTS)
        faults += _choices(f"{at}levels", cfg.levels, c.LEVELS)
    for name, path in paths.items():
        if cfg.kind == "file" and path is None and name.endswith("heldout_path"):
            faults.append(f"{name}=null: {at}kind=file needs it; give {name}=FILE, JSON Lines or Parquet")
        elif cfg.kind == "file" and path is not None:
            faults += _problem_file(name, path)
    if cfg.kind == "file":
        faults += _mini_only(cfg, at, "data.kind=mini")
    return faults


def benchmark(cfg: c.BenchmarkConfig, at: str) -> list[str]:
    """Return the faults of a benchmark."""
    faults = []
    if cfg.kind == "file" and cfg.path is None:
        faults.append(f"{at}path=null: benchmark=file needs it; give {at}path=FILE, JSON Lines or Parquet")
    elif cfg.path is not None:
        faults += _problem_file(f"{at}path", cfg.path)
    if cfg.kind == "hub" and not (cfg.dataset or cfg.path):
        faults.append(f"{at}dataset=null: {at}kind=hub needs a data set's id, or {at}path=FILE")
    if cfg.kind == "mini" and cfg.path is not None:
        faults.append(f"{at}path={cfg.path}: the mini family is generated; choose benchmark=file")
    if cfg.kind == "mini":
        faults += _choices(f"{at}subjects", cfg.subjects, c.SUBJECTS)
        faults += _choices(f"{at}levels", cfg.levels, c.LEVELS)
    else:
        faults += _mini_only(cfg, at, "benchmark=mini")
    return faults


def _problem_file(name: str, path: str) -> list[str]:
    file = Path(path).expanduser()
    if file.is_file():
        return []
    remedy = nearby(file) or "give a JSON Lines or Parquet file"
    return [f"{name}={path}: there is no such file (paths start from {Path.cwd()}); {remedy}"]


def _mini_only(cfg: c.DataConfig | c.BenchmarkConfig, at: str, taker: str) -> list[str]:
    return [
        f"{at}{name}={show(chosen)}: only {taker} takes it; leave it null"
        for name, chosen in {"subjects": cfg.subjects, "levels": cfg.levels}.items()
        if chosen is not None
    ]


def _choices(name: str, chosen: list[Any] | None, choices: Any) -> list[str]:
    """Return the faults of a list of the mini family's subjects or levels."""
    if chosen == []:
        return [f"{name}=[]: no problem is left; name some, or null for all"]
    return [
        wrong_choice(f"{name}[{index}]", one, choices)
        for index, one in enumerate(chosen or [])
        if one not in choices
    ]


def nearby(path: Path) -> str:
    """Return ``did you mean PATH?`` for a similar name beside ``path``, or nothing."""
    names = [one.name for one in path.parent.iterdir()] if path.parent.is_dir() else []
    near = difflib.get_close_matches(path.name, names, n=1)
    return f"did you mean {path.parent / near[0]}?" if near else ""
