"""TensorBoard: ``RUN/tensorboard``, for ``tensorboard --logdir RUN``; needs no account.

The step of a tag is that of its axis. TensorBoard groups charts by what is before a tag's first slash, so
that ``train/tokens/policy`` is ``train.tokens/policy``, and ``eval/heldout/free/reward`` is
``eval.heldout.free/reward``. Accuracies on benchmarks stay together: ``eval/heldout/free/accuracy``.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from src.run.records import TrajectoryRecord
from src.run.tracking import panels
from src.run.tracking.artifacts import Artifact
from src.run.tracking.backend import EVAL, TRAIN, Card, Entry

TENSORBOARD = "tensorboard"  # folder in that of the run
_HYPERPARAMETERS = (
    *("model.path", "curriculum.kind", "rollout.max_tokens", "benchmark.name", "evaluate.k"),
    *(f"trainer.{name}" for name in ("learning_rate", "batch_size", "samples_per_prompt", "minibatches")),
    *(f"trainer.{name}" for name in ("advantage", "loss_type", "steps", "seed")),
)


def tag(axis: str, name: str) -> str:
    """Return under which tag a metric is logged."""
    *groups, last = name.split("/", maxsplit=2 if axis == EVAL else 1)
    if not groups or (axis == EVAL and last == "accuracy"):
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
        experiment, begin, self._end = hparams(_hyperparameters(card), dict.fromkeys(metrics, 0.0))
        for summary in (experiment, begin):
            self._writer.file_writer.add_summary(summary)
        self._writer.add_custom_scalars(_layout(card))
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


def _layout(card: Card) -> dict[str, dict[str, list[Any]]]:
    """Return what the dashboard of custom scalars shows: accuracies with intervals, and the panels."""
    bands = {
        curve: ["Margin", [tag(EVAL, f"{curve}/accuracy{end}") for end in ("", "_low", "_high")]]
        for curve in (name.removesuffix("/accuracy") for name in card.curves)
    }
    found: dict[str, dict[str, list[Any]]] = {"accuracy on benchmarks, 95 % intervals": bands}
    for name, shown in panels.TRAINING.items() if card.job_type == TRAIN else ():
        found[name] = {
            one.title: ["Multiline", [f"^{re.escape(tag(TRAIN, x))}$" for x in one.names]] for one in shown
        }
    return found


def _hyperparameters(card: Card) -> dict[str, Any]:
    """Return the arm, and the values of the settings that matter most or were given."""
    given = [one.partition("=")[0].lstrip("+") for one in card.overrides]
    found: dict[str, Any] = {"arm": card.config.get("arm", card.name)}
    for name in dict.fromkeys([*_HYPERPARAMETERS, *given]):
        value: Any = card.config
        for part in name.split("."):
            value = value.get(part) if isinstance(value, Mapping) else None
        if isinstance(value, bool | int | float | str):
            found[name] = value
    return found


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
    head = f"{record.problem_id}, {record.mode}, sample {record.sample}: {'; '.join(facts)}"
    said = "".join(segment.text for segment in record.segments)
    parts = ["---", _code(head), "problem", _code(record.problem), "trajectory", _code(said)]
    return "\n\n".join(parts)


def _code(text: str) -> str:
    """Return text as a block of code; lone surrogates, which a program may print, have no UTF-8 encoding."""
    text = text.encode("utf-8", "replace").decode()
    return "\n".join(f"    {line}" for line in text.splitlines()) or "    "
