"""What a tracker logs, and the interface of what it logs to: Weights & Biases, TensorBoard."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from src.config import TrackingConfig
from src.run.records import TrajectoryRecord
from src.run.tracking.artifacts import Artifact

TRAIN, EVAL = "train", "eval"  # axes: steps that are done, steps that the policy was trained for

# A trajectory, and its advantage; None: it is not trained on.
Trained = tuple[TrajectoryRecord, float | None]


@dataclass(frozen=True)
class Card:
    """What a run is, for whoever looks at it.

    Attributes:
        folder: of the run, absolute.
        tracking: the settings.
        name: by its overrides, or its folder.
        group: the sweep that it belongs to.
        job_type: train or eval.
        config: every setting.
        overrides: those of the command.
        curves: the accuracies that it will log, without the prefix of their axis.
        step: rollout step with which it begins; what an earlier attempt logged from there on is superseded.
        earlier: the identity of the resumed run.
    """

    folder: Path
    tracking: TrackingConfig
    name: str
    group: str | None
    job_type: str
    config: Mapping[str, Any]
    overrides: Sequence[str] = ()
    curves: Sequence[str] = ()
    step: int = 0
    earlier: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Entry:
    """What is logged for one step of an axis; names are without the axis.

    Attributes:
        axis: train or eval.
        step: on this axis.
        scalars: by name.
        histograms: the values by name.
        samples: trajectories by the name of their table.
    """

    axis: str
    step: int
    scalars: Mapping[str, float]
    histograms: Mapping[str, Sequence[float]] = field(default_factory=dict)
    samples: Mapping[str, Sequence[Trained]] = field(default_factory=dict)


class Backend(Protocol):
    """Receives what a run logs; may raise anything, which costs the run no more than this log."""

    @property
    def identity(self) -> Mapping[str, Any]:
        """What a resumed run needs in order to be the same run."""

    def log(self, entry: Entry) -> None:
        """Log one step."""

    def finish(self, summary: Mapping[str, Any], artifacts: Sequence[Artifact]) -> None:
        """Store the summary and the files, and close."""
