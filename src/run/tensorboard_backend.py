"""TensorBoard: ``RUN/tensorboard``, for ``tensorboard --logdir RUN``; needs no account.

The step of a tag is that of its axis. TensorBoard groups charts by what is before a tag's first slash, so
that ``train/tokens/policy`` is ``train.tokens/policy``, and ``eval/heldout/free/reward`` is
``eval.heldout.free/reward``. Accuracies on benchmarks stay together: ``eval/heldout/free/accuracy``.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from src.run.artifacts import Artifact
from src.run.backend import EVAL, TRAIN, Card, Entry
from src.run.records import TrajectoryRecord

TENSORBOARD = "tensorboard"  # folder in that of the run
_GROUPS = ("model", "engine", "rollout", "curriculum", "reward", "trainer", "evaluate", "benchmark")
_ENDS = ("accuracy_low", "accuracy", "accuracy_high")


def tag(axis: str, name: str) -> str:
    """Return under which tag a metric is logged."""
    *groups, last = name.split("/", maxsplit=2 if axis == EVAL else 1)
    if not groups or (axis == EVAL and last.startswith("accuracy")):
        return f"{axis}/{name}"
    return f"{'.'.join([axis, *groups])}/{last}"


class TensorBoardBackend:
    """Writes an event file; see Backend.

    A resumed run writes another one, which supersedes what was logged from its first step on.
    """

    def __init__(self, card: Card) -> None:
        from torch.utils.tensorboard import SummaryWriter
        from torch.utils.tensorboard.summary import hparams

        self._writer = SummaryWriter(str(card.folder / TENSORBOARD), purge_step=card.step)
        curves = [tag(EVAL, name) for name in card.curves]
        metrics = [*(tag(TRAIN, name) for name in ("reward", "accuracy") if card.job_type == TRAIN), *curves]
        experiment, begin, self._end = hparams(
            {"name": card.name, **dict(_hyperparameters(card.config))}, dict.fromkeys(metrics, 0.0)
        )
        for summary in (experiment, begin):
            self._writer.file_writer.add_summary(summary)
        bands = {
            name.removesuffix("/accuracy"): [
                "Margin",
                [tag(EVAL, name.removesuffix("accuracy") + end) for end in ("accuracy", *_ENDS[::2])],
            ]
            for name in card.curves
        }
        if bands:
            self._writer.add_custom_scalars({"accuracy, with 95 % intervals": bands})
        about = {"name": card.name, "group": card.group, "folder": str(card.folder)}
        self._writer.add_text("overrides", _code("\n".join(card.overrides) or "none"), card.step)
        self._writer.add_text("config", _code(json.dumps({**about, **card.config}, indent=2)), card.step)
        self._writer.flush()

    @property
    def identity(self) -> dict[str, Any]:
        """See Backend: it is the folder."""
        return {}

    def log(self, entry: Entry) -> None:
        """See Backend."""
        import numpy as np

        for name, value in entry.scalars.items():
            self._writer.add_scalar(tag(entry.axis, name), value, entry.step)
        for name, values in entry.histograms.items():
            self._writer.add_histogram(tag(entry.axis, f"histogram/{name}"), np.array(values), entry.step)
        for name, samples in entry.samples.items():
            text = "\n\n".join(_sample(*one) for one in samples)
            self._writer.add_text(tag(entry.axis, name), text, entry.step)
        self._writer.flush()  # what is written survives a kill of the run

    def finish(self, summary: Mapping[str, Any], artifacts: Sequence[Artifact]) -> None:
        """See Backend; the files are beside, in the folder of the run."""
        flat = {name: x for name, x in summary.items() if isinstance(x, int | float)}
        if flat:
            rows = "\n".join(f"| {name} | {value:.4g} |" for name, value in flat.items())
            self._writer.add_text("summary", f"| | |\n| --- | --- |\n{rows}")
        self._writer.file_writer.add_summary(self._end)
        self._writer.close()


def _hyperparameters(config: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the settings that are one value, of the groups that change results."""
    for name, value in config.items():
        if not prefix and name not in _GROUPS:
            continue
        if isinstance(value, Mapping):
            yield from _hyperparameters(value, f"{prefix}{name}.")
        elif isinstance(value, bool | int | float | str) and not (
            isinstance(value, float) and math.isnan(value)
        ):
            yield f"{prefix}{name}", value


def _sample(record: TrajectoryRecord, advantage: float | None) -> str:
    """Return a trajectory in Markdown: what was said is indented, so that nothing in it is markup."""
    facts = [
        "correct" if record.correct else "wrong",
        f"answer {record.answer!r}, gold {record.gold!r}",
        *([] if record.rewards is None else [f"reward {record.rewards['total']:.3g}"]),
        *([] if advantage is None else [f"advantage {advantage:.3g}"]),
        record.stop_reason,
        f"{len(record.executions)} executions",
    ]
    title = f"{record.problem_id}, {record.mode}, sample {record.sample}"
    said = "".join(segment.text for segment in record.segments)
    return "\n\n".join(
        [f"#### `{title}`", _code("; ".join(facts)), _code(record.problem), "trajectory:", _code(said)]
    )


def _code(text: str) -> str:
    return "\n".join(f"    {line}" for line in text.splitlines()) or "    "
