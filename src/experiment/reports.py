"""What a training run says on its way: metrics.jsonl, tracking, status.json, console and progress bar."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Self

from rich.markup import escape

from src.config import Config
from src.rollout.collector import Collector
from src.run.alarms import Alarm
from src.run.console import console, progress, step_line
from src.run.evaluations import Point, read_points
from src.run.records import METRICS, LineWriter, TrajectoryRecord
from src.run.status import RunStatus
from src.run.tracking.tracker import Tracker, Trained


class Reports:
    """Reports of one training run; a context manager.

    Args:
        cfg: of the run.
        run_dir: its folder.
        status: of the run; its owner closes it.
        earlier: what the resumed run saved when it started, with its identity for the tracker.
        step: finished rollout steps.
        write: True on rank 0 only; other processes write and show nothing.

    Attributes:
        bar: shows the progress of the evaluations, too.
    """

    def __init__(
        self,
        cfg: Config,
        run_dir: Path,
        status: RunStatus,
        earlier: Mapping[str, Any],
        step: int = 0,
        *,
        write: bool,
    ) -> None:
        self._run_dir, self._steps, self._status, self._begins = run_dir, cfg.trainer.steps, status, step
        self._open = ExitStack()
        self._metrics = self._open.enter_context(LineWriter(run_dir / METRICS)) if write else None
        self._tracker = Tracker(cfg, run_dir, earlier, step=step, write=write)
        self._open.callback(self._tracker.finish)
        self.bar = progress(status.progress)
        self._task = self.bar.add_task("training", total=self._steps, visible=False, lines=False)

    def __enter__(self) -> Self:
        self._open.enter_context(self.bar)
        points = read_points(self._run_dir)  # of a resumed run
        self._tracker.resume(points, self._begins)
        self._status.evaluated([point.json() for point in points])
        return self

    def __exit__(self, *error: Any) -> None:
        self._open.__exit__(*error)

    @property
    def identity(self) -> dict[str, Any]:
        """See Tracker.identity."""
        return self._tracker.identity

    def begin_training(self, collector: Collector, follows: float) -> None:
        """Show the bar of the steps.

        Args:
            collector: of the rollouts, whose speed is shown.
            follows: expected seconds of the evaluation after training.
        """
        self._status.begin_training(follows)
        self.bar.update(self._task, visible=True, meter=collector)

    def step(
        self,
        step: int,
        metrics: dict[str, float],
        fired: Sequence[Alarm],
        records: Sequence[TrajectoryRecord],
        trained: Sequence[Trained],
    ) -> None:
        """Report a step.

        Args:
            step: rollout step, from 0.
            metrics: its line in metrics.jsonl.
            fired: its alarms.
            records: its trajectories, of this process.
            trained: those that are trained on, with their advantages.
        """
        if self._metrics is not None:
            self._metrics.write([metrics])
        self._tracker.step(step, metrics, records, trained)
        self._status.step(step + 1, metrics, [(alarm.step, str(alarm)) for alarm in fired])
        console.print(step_line(step, self._steps, metrics))
        for alarm in fired:
            console.print(f"[bold yellow]{escape(str(alarm))}")
        described = f"training, reward {metrics['reward']:+.2f}, accuracy {metrics['accuracy']:.2f}"
        self.bar.update(self._task, completed=step + 1, visible=True, description=described)

    def points(self, points: Sequence[Point]) -> None:
        """Report accuracies."""
        self._tracker.points(points)
        self._status.evaluated([point.json() for point in points])

    def end_training(self) -> None:
        """Remove the bar of the steps."""
        self.bar.remove_task(self._task)

    def finish(self, evaluated: dict[str, Any]) -> None:
        """Report the end of the run, with the results of its phases."""
        self._tracker.finish(evaluated)
        self._status.finish()
