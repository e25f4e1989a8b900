"""Training runs as arms, which differ in one idea; the i-th run of each arm has the i-th seed."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from analysis.data import AnalysisError, Source, load, summary_settings
from analysis.record_table import of_phase
from analysis.stats import Floats
from src.run.records import CONFIG, METRICS, SUMMARY, RecordError, read_metrics

PHASE = "after"


@dataclass(frozen=True)
class Run:
    """One training run.

    Attributes:
        name: ``arms.ARM[i]=FOLDER``, for messages.
        seed: training seed.
        steps: rollout steps.
        curves: metric -> one value per step, nan if it has none; always includes ``budget``.
    """

    name: str
    folder: Path
    seed: int
    steps: list[int]
    curves: dict[str, Floats]

    @cached_property
    def rises(self) -> list[int]:
        """Indices of the steps at which the budget rises."""
        return [int(index) for index in np.flatnonzero(np.diff(self.curves["budget"]) > 0) + 1]


Arms = dict[str, list[Run]]


@dataclass(frozen=True)
class Heldout:
    """Held-out accuracies: for each arm (seeds, problems), with the same problems in the same order."""

    values: dict[str, Floats]
    left_out: int  # problems all of whose trajectories some run lost to the infrastructure
    k: tuple[int, int]  # minimum and maximum of trajectories per problem and run


def load_runs(arms: Mapping[str, list[str]], metrics: list[str]) -> Arms:
    """Return the runs of each arm.

    Args:
        arms: name to folders.
        metrics: names of metrics that must exist.

    Raises:
        AnalysisError: no arms, a folder without a run, runs with different seeds or lengths, or a metric
            that no run has.
    """
    if not arms:
        raise AnalysisError(
            "arms={}: no arm is given; give arms='{staged: [runs/A, runs/B], fixed: [runs/C]}'"
        )
    found = {
        arm: [
            _load_run(f"arms.{arm}[{i}]={folder}", Path(folder).expanduser())
            for i, folder in enumerate(folders)
        ]
        for arm, folders in arms.items()
    }
    for arm, runs in found.items():
        if not runs:
            raise AnalysisError(f"arms.{arm}=[]: give the folders of its runs, one per seed")
    _pair(found)
    known = sorted({name for runs in found.values() for run in runs for name in run.curves})
    for metric in metrics:
        if metric not in known:
            raise AnalysisError(
                f"metrics={metric}: none of these runs has it; choose from {', '.join(known)}"
            )
    return found


def _load_run(name: str, folder: Path) -> Run:
    rows = read_metrics(folder / METRICS)
    if not rows:
        raise AnalysisError(f"{name}: its {METRICS} is missing or empty; give the folder of a training run")
    names = {
        key for row in rows for key, value in row.items()
        if isinstance(value, int | float) and key not in ("step", "attempt")
    } | {"budget"}  # fmt: skip
    curves = {
        metric: np.array(
            [np.nan if row.get(metric) is None else row[metric] for row in rows], dtype=np.float64
        )
        for metric in sorted(names)
    }
    return Run(name, folder, _seed(name, folder), [int(row["step"]) for row in rows], curves)


def _seed(name: str, folder: Path) -> int:
    """Return the seed that a run was trained with, as its config.json or summary.json says."""
    for file, group in ((CONFIG, "trainer"), (SUMMARY, "settings")):
        if (folder / file).is_file():
            seed = json.loads((folder / file).read_text()).get(group, {}).get("seed")
            if seed is not None:
                return int(seed)
    raise AnalysisError(
        f"{name}: neither config.json nor summary.json contains its seed; give the folder of a training run"
    )


def _pair(arms: Arms) -> None:
    """Check that the runs of all arms can be paired. Raises AnalysisError."""
    first, *_ = arms
    for arm, runs in arms.items():
        seeds, expected = ([run.seed for run in group] for group in (runs, arms[first]))
        if len(set(seeds)) < len(seeds):
            raise AnalysisError(f"arms.{arm}: two of its runs have the same seed ({seeds}); remove one")
        if seeds != expected:
            raise AnalysisError(
                f"arms.{arm}: its runs have the seeds {seeds}, those of {first} have {expected}; give runs "
                "with the same seeds in the same order, since they are paired"
            )
        for run in runs:
            if run.steps != arms[first][0].steps:
                raise AnalysisError(
                    f"{run.name}: has {len(run.steps)} rollout steps, {arms[first][0].folder} has "
                    f"{len(arms[first][0].steps)}; give runs with the same steps"
                )


def load_heldout(arms: Arms, mode: str) -> Heldout:
    """Return the accuracy after training of each seed and problem, the mean over its trajectories.

    Raises:
        AnalysisError: a run has no such records, or was evaluated on other problems.
    """
    tables: dict[str, list[dict[str, tuple[float, int] | None]]] = {}
    problems: set[str] = set()
    for arm, runs in arms.items():
        for run in runs:
            table = _after(run, mode)
            problems = problems or set(table)
            if problems != set(table):
                raise AnalysisError(
                    f"{run.name}: {len(problems ^ set(table))} of its held-out problems differ from those of "
                    "the first run; give runs evaluated on the same problems (data.seed, data.heldout_size)"
                )
            tables.setdefault(arm, []).append(table)
    whole = [name for name in sorted(problems) if all(t[name] for ts in tables.values() for t in ts)]
    if not whole:
        raise AnalysisError(
            f"mode={mode}: every held-out problem lost all trajectories to the infrastructure in some run"
        )
    # arms x seeds x problems x (accuracy, trajectories)
    found = np.array([[[t[name] for name in whole] for t in ts] for ts in tables.values()], float)
    values = {arm: found[i, ..., 0] for i, arm in enumerate(tables)}
    return Heldout(values, len(problems) - len(whole), (int(found[..., 1].min()), int(found[..., 1].max())))


def _after(run: Run, mode: str) -> dict[str, tuple[float, int] | None]:
    """Return accuracy and number of trajectories by problem; None if the infrastructure lost all of them."""
    try:
        table = load(Source(run.folder, PHASE).file)
    except RecordError as error:
        raise AnalysisError(str(error)) from None
    after = of_phase(table, PHASE)
    modes = after["mode"].unique().sort().to_list()
    if mode not in modes:
        raise AnalysisError(
            f"{run.name}: has no records of mode {mode} after training (it has: "
            f"{', '.join(modes) or 'none'}); choose another mode, or mode=null to omit held-out accuracy"
        )
    right = pl.col("correct").filter(pl.col("stop_reason") != "infrastructure")
    rows = (
        after.filter(pl.col("mode") == mode)
        .group_by("problem_id")
        .agg(right.mean().alias("accuracy"), right.count().alias("n"))
    )
    return {problem: (accuracy, n) if n else None for problem, accuracy, n in rows.iter_rows()}


def run_settings(arms: Arms) -> dict[str, list[dict[str, Any]]]:
    """Return the settings, seed and folder of each run, for the output."""
    return {
        arm: [summary_settings(run.folder) | {"seed": run.seed, "run": str(run.folder)} for run in runs]
        for arm, runs in arms.items()
    }
