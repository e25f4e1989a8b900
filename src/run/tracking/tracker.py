"""Logs a training run or an evaluation, to Weights & Biases or TensorBoard; neither needs an account.

``train/...``: the metrics of metrics.jsonl, histograms and a table of samples, over the rollout steps.
``eval/BENCHMARK/MODE/...``: accuracies, over the steps that the policy was trained for.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any

from rich.markup import escape

from src.config import Config, EvaluationConfig
from src.run.console import console
from src.run.evaluations import HELDOUT, Point
from src.run.records import TrajectoryRecord
from src.run.tracking import artifacts, naming
from src.run.tracking.backend import EVAL, TRAIN, Backend, Card, Entry, Trained
from src.run.tracking.tensorboard_backend import TensorBoardBackend
from src.run.tracking.wandb_backend import WandbBackend

BACKENDS: Mapping[str, Callable[[Card], Backend]] = MappingProxyType(
    {"wandb": WandbBackend, "tensorboard": TensorBoardBackend}
)
SAMPLES = "samples"
_NAME, _OVERRIDES = "wandb_name", "overrides"
_OF_THE_ROW = ("step", "attempt")  # in metrics.jsonl, but no metrics


class Tracker:
    """Logs a run; every method is a no-op when ``tracking.mode`` is ``none``.

    A backend that fails is left out from then on, with a warning: no run ends because of it.

    Args:
        cfg: the whole configuration, stored with the run.
        run_dir: its folder.
        earlier: :attr:`identity` of the resumed run.
        step: rollout step with which it begins.
        write: True on rank 0 only.
    """

    def __init__(
        self,
        cfg: Config | EvaluationConfig,
        run_dir: Path,
        earlier: Mapping[str, Any] | None = None,
        *,
        step: int = 0,
        write: bool = True,
    ) -> None:
        self._cfg, self._run_dir, earlier = cfg.tracking, run_dir, earlier or {}
        self._backends: dict[str, Backend] = {}
        self._curves: dict[tuple[str, str], dict[int, Point]] = defaultdict(dict)
        self._logged: set[tuple[int, str, str]] = set()
        if cfg.tracking.mode == "none" or not write:
            return
        given, resumed = naming.overrides(), _NAME in earlier
        # a resumed run keeps its name; what is given then, is added
        self._overrides = naming.merged(earlier.get(_OVERRIDES, []), given) if resumed else given
        named = earlier[_NAME] if resumed else naming.run_name(given)
        self._name: str = cfg.tracking.name or named or run_dir.name
        training = isinstance(cfg, Config)
        benchmark = HELDOUT if isinstance(cfg, Config) else cfg.benchmark.name
        card = Card(
            folder=run_dir,
            tracking=cfg.tracking,
            name=self._name,
            group=cfg.tracking.group or naming.sweep_name(),
            job_type=TRAIN if training else EVAL,
            config={**asdict(cfg), "arm": naming.arm_name(self._overrides)},
            overrides=self._overrides,
            curves=[f"{benchmark}/{mode}/accuracy" for mode in cfg.evaluate.modes],
            step=step,
            earlier=earlier,
        )
        for name in cfg.tracking.backends:
            self._try(name, partial(self._open, name, card))

    @property
    def identity(self) -> dict[str, Any]:
        """What a run that resumes this one needs in order to be the same run; empty if nothing is logged."""
        if not self._backends:
            return {}
        found: dict[str, Any] = {_NAME: self._name, _OVERRIDES: self._overrides}
        for backend in self._backends.values():
            found |= backend.identity
        return found

    def step(
        self,
        step: int,
        metrics: Mapping[str, float],
        records: Sequence[TrajectoryRecord] = (),
        trained: Sequence[Trained] = (),
    ) -> None:
        """Log a rollout step.

        Args:
            step: rollout step, from 0.
            metrics: its metrics.
            records: all its trajectories, of this process.
            trained: those that are trained on, of which the first of each problem are shown.
        """
        if not self._backends:
            return
        scalars = {name: value for name, value in metrics.items() if name not in _OF_THE_ROW}
        shown = spread(trained, self._cfg.samples)
        samples = {SAMPLES: shown} if shown else {}
        self._log(Entry(TRAIN, step, scalars, _histograms(records, trained), samples))

    def points(self, points: Sequence[Point]) -> None:
        """Log the accuracies of evaluations, each once."""
        rows: dict[int, dict[str, float]] = defaultdict(dict)
        for point in points:
            self._curves[point.benchmark, point.mode][point.step] = point
            if (key := (point.step, point.benchmark, point.mode)) not in self._logged:
                self._logged.add(key)
                rows[point.step] |= point.metrics()
        for step, row in rows.items():
            self._log(Entry(EVAL, step, row))

    def samples(self, step: int, records: Sequence[TrajectoryRecord]) -> None:
        """Log trajectories of an evaluation."""
        if records:
            shown = {SAMPLES: [(record, None) for record in records]}
            self._log(Entry(EVAL, step, {}, samples=shown))

    def resume(self, points: Sequence[Point], step: int) -> None:
        """Take over the accuracies of the resumed run; log those of the step at which it begins.

        Args:
            points: all accuracies of the run so far.
            step: finished steps.
        """
        self._logged |= {(one.step, one.benchmark, one.mode) for one in points if one.step < step}
        self.points(points)

    def finish(self, phases: Mapping[str, Any] | None = None) -> None:
        """Store the summary and the files, and close the run; a second call does nothing.

        Args:
            phases: results by phase; None: the run is not complete, and has neither summary nor files.
        """
        summary, files = {}, list[artifacts.Artifact]()
        if phases is not None and self._backends:
            summary = {**phases, **final(self._curves)}
            files = artifacts.of_run(self._run_dir, self._cfg.artifacts)
        for name, backend in list(self._backends.items()):
            self._try(name, partial(backend.finish, summary, files))
        self._backends.clear()

    def _open(self, name: str, card: Card) -> None:
        self._backends[name] = BACKENDS[name](card)

    def _log(self, entry: Entry) -> None:
        for name, backend in list(self._backends.items()):
            self._try(name, partial(backend.log, entry))

    def _try(self, name: str, action: Callable[[], None]) -> None:
        """Do something with a backend; without it from then on if that fails."""
        try:
            action()
        except Exception as error:  # a full disk, a missing package: not worth a run
            self._backends.pop(name, None)
            reason = " ".join(f"{type(error).__name__}: {error}".split())  # W&B's have several lines
            console.print(f"[bold yellow]{escape(f'{name} failed ({reason}); the run goes on without it')}")


def final(curves: Mapping[tuple[str, str], Mapping[int, Point]]) -> dict[str, float]:
    """Return the last accuracy of each benchmark and mode with its interval, and the best with its step.

    Args:
        curves: benchmark and mode -> step -> accuracy.
    """
    found: dict[str, float] = {}
    for (benchmark, mode), curve in curves.items():
        known = {step: one.result for step, one in curve.items() if one.result.get("accuracy") is not None}
        if not known:
            continue
        at = f"{benchmark}/{mode}"
        last, best = known[max(known)], max(known, key=lambda step: float(known[step]["accuracy"]))
        low, high = last["interval"]
        found |= {f"final/{at}/accuracy": last["accuracy"]}
        found |= {f"final/{at}/accuracy_low": low, f"final/{at}/accuracy_high": high}
        found |= {f"best/{at}/accuracy": known[best]["accuracy"], f"best/{at}/step": best}
    return found


def spread(trained: Sequence[Trained], number: int) -> list[Trained]:
    """Return the first trajectory of each problem, then the second of each, and so on, ``number`` in all."""
    seen: dict[str, int] = defaultdict(int)
    order = []
    for index, (record, _) in enumerate(trained):
        order.append((seen[record.problem_id], index))
        seen[record.problem_id] += 1
    return [trained[index] for _, index in sorted(order)[:number]]


def _histograms(records: Sequence[TrajectoryRecord], trained: Sequence[Trained]) -> dict[str, list[float]]:
    """Return what is shown as histograms, of the trajectories of this process."""
    kept = [record for record in records if record.stop_reason != "infrastructure"]
    values = {
        "tokens": [float(record.tokens("policy")) for record in kept],
        "reward": [record.rewards["total"] for record in kept if record.rewards is not None],
        "executions": [float(len(record.executions)) for record in kept],
        "advantage": [x for _, x in trained if x is not None and math.isfinite(x)],
    }
    return {name: numbers for name, numbers in values.items() if numbers}
