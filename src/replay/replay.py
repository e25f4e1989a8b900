"""Repeats the updates of a run's rollout steps, and compares each with what the run has recorded of it."""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase, set_seed
from transformers.utils import logging as transformers_logging

from src.config import Config
from src.config.schema import ConfigError
from src.policy.loading import load_codec, load_model
from src.replay import weights
from src.replay.comparison import Comparison
from src.replay.rollouts import RecordedRollouts
from src.replay.trainer import ReplayedTrainer
from src.run import checkpoints
from src.run.console import progress
from src.run.records import METRICS, RECORDS, read_metrics
from src.run.token_columns import read_conditions, read_tokens, token_files
from src.trainer.grpo_settings import TRL_METRICS
from src.trainer.reproducibility import machine

Load = Callable[[Config], tuple[PreTrainedModel, PreTrainedTokenizerBase]]


class ReplayError(RuntimeError):
    """A repeated step is not what the run has recorded; the message names the cause, if it is known."""


@dataclass(frozen=True)
class Repeated:
    """A repeated step.

    Attributes:
        step: the rollout step, from 0.
        metrics: of the loss, by name: (of the run, repeated).
        columns: token columns that are not equal to the run's.
    """

    step: int
    metrics: dict[str, tuple[float, float]]
    columns: list[str]

    @property
    def equal(self) -> bool:
        """Whether everything is equal to the last bit."""
        return not self.columns and all(_same(*pair) for pair in self.metrics.values())

    @property
    def deviation(self) -> float:
        """The larger of the loss's deviation and the relative one of the gradient norm; inf: one is NaN."""
        found = 0.0
        for name, relative in (("loss", False), ("grad_norm", True)):
            old, new = self.metrics[name]
            if not _same(old, new):
                one = abs(new - old) / ((abs(old) or 1.0) if relative else 1.0)
                found = max(found, math.inf if math.isnan(one) else one)
        return found


@dataclass
class Result:
    """What a replay has found.

    Attributes:
        start: the checkpoint that it began with; None: the initial policy.
        steps: the repeated steps, in order.
        weights: digest of the weights after each.
        checkpoints: of each checkpoint on the way, by step: the largest deviation of a weight from it.
        comparison: with another objective, if there is one.
        tokenizer: of the policy.
    """

    start: Path | None
    steps: list[Repeated] = field(default_factory=list)
    weights: dict[int, str] = field(default_factory=dict)
    checkpoints: dict[int, float] = field(default_factory=dict)
    comparison: Comparison | None = None
    tokenizer: PreTrainedTokenizerBase | None = None


def load_policy(cfg: Config) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """Return the initial policy of a run, and its tokenizer."""
    tokenizer = load_codec(cfg.model).tokenizer
    set_seed(cfg.trainer.seed)  # as src/experiment/training.py does: a new adapter is random
    return load_model(cfg.model), tokenizer


class Replay:
    """A replay of a run up to a step.

    Args:
        cfg: settings of the run.
        run: its folder.
        out: the token columns of the repeated steps are written here.
        step: the rollout step, from 0.
        verify: go on to the next checkpoint.
        tolerance: see ReplayConfig.
        load: returns the initial policy.

    Raises:
        ConfigError: the step, or one before it, was not recorded; or ``out`` is the folder of a run.
    """

    def __init__(
        self,
        cfg: Config,
        run: Path,
        out: Path,
        step: int,
        *,
        verify: bool = False,
        tolerance: float = 0.0,
        load: Load = load_policy,
    ) -> None:
        if (out / RECORDS).exists():
            raise ConfigError(
                f"hydra.run.dir={out}: is the folder of a run, whose tokens and checkpoints would be lost; "
                "choose another folder"
            )
        self._cfg, self._run, self._out, self._step = cfg, run, out, step
        self._tolerance, self._load = tolerance, load
        self._metrics = {row["step"]: row for row in read_metrics(run / METRICS)}
        self._saved = {checkpoints.step_of(path): path for path in checkpoints.complete(run / "checkpoints")}
        earlier = [done for done in self._saved if done <= step]
        later = [done for done in self._saved if done > step]
        if verify and not later:
            raise ConfigError(
                f"verify=true: {run} has no checkpoint after step {step}; leave it out, or resume the run"
            )
        self._first = max(earlier, default=0)
        self._last = min(later) - 1 if verify else step
        self._refuse_missing()
        self.result = Result(self._saved.get(self._first))

    def _refuse_missing(self) -> None:
        files = token_files(self._run)
        for step in (self._step, *range(self._first, self._last + 1)):
            on_the_way = "" if step == self._step else f" (from {self._from()} it is on the way)"
            if step not in self._metrics or step not in files:
                done = sorted(self._metrics.keys() & files.keys())
                known = f"those from {done[0]} to {done[-1]} are there" if done else "none is"
                raise ConfigError(
                    f"step={self._step}: step {step} of {self._run} was not finished, or its tokens were not "
                    f"recorded{on_the_way}; {known}"
                )
            if read_conditions(self._run, step) is None:
                raise ConfigError(
                    f"step={self._step}: the token columns of step {step}{on_the_way} are older than their "
                    "random generators, without which its micro-batches are unknown; replay a run of this "
                    "version"
                )

    def _from(self) -> str:
        return f"checkpoint {self._first}" if self._first else "the initial policy"

    def run(self, other: Config | None = None, rewards: Path | None = None) -> Result:
        """Repeat the steps.

        Args:
            other: settings of another objective to compare with in the last step asked for; None: none.
            rewards: folder of the records whose rewards that has; None: the run's.

        Raises:
            ConfigError: the other objective needs what is not recorded.
            ReplayError: a step deviates by more than the tolerance from the run's.
            RecordError: records cannot be read.
        """
        transformers_logging.disable_progress_bar()  # this project shows its own
        steps = range(self._first, self._last + 1)
        model, tokenizer = self._load(self._cfg)
        self.result.tokenizer = tokenizer
        rollouts = RecordedRollouts(self._run, steps)
        threads = torch.get_num_threads()
        with progress() as bar:
            self._bar, self._task = bar, bar.add_task("replay", total=len(steps))
            trainer = self._trainer(self._cfg, self._out, model, tokenizer, rollouts)
            if other is not None:
                if rewards is not None:
                    rollouts = RecordedRollouts(self._run, [self._step], rewards)
                beside = self._trainer(other, self._out / "other", model, tokenizer, rollouts, alone=False)
                self.result.comparison = Comparison(trainer, beside, self._step)
            self._repeating = trainer
            try:
                trainer.train(str(self.result.start) if self.result.start else None)
            finally:
                torch.set_num_threads(threads)
                for name in ("checkpoints", "other", "weights"):  # what only the trainers need
                    shutil.rmtree(self._out / name, ignore_errors=True)
        return self.result

    def _trainer(
        self, cfg: Config, folder: Path, model: Any, tokenizer: Any, rollouts: Any, *, alone: bool = True
    ) -> ReplayedTrainer:
        return ReplayedTrainer(
            cfg,
            folder,
            model,
            tokenizer,
            rollouts,
            self._conditions,
            self._last,
            corrected=self._corrected(cfg, alone),
            **({"report": self._finished} if alone else {}),
        )

    def _conditions(self, step: int) -> dict[str, Any]:
        found = read_conditions(self._run, step)
        if found is None:
            raise ReplayError(f"{self._run}: the token columns of step {step} have changed")
        return found

    def _corrected(self, cfg: Config, alone: bool) -> bool:
        """Whether the loss is weighted by the mismatch of engine and trainer."""
        if cfg.trainer.importance_sampling == "none":
            return False
        rows = read_tokens(self._run, self._step)
        if alone or cfg.trainer.importance_sampling == self._cfg.trainer.importance_sampling:
            return bool(rows["engine_weight"].is_not_null().any())
        if rows.drop_nulls("group")["sampled_logprob"].null_count():
            raise ConfigError(
                f"trainer.importance_sampling={cfg.trainer.importance_sampling}: the engine of {self._run} "
                "gave no logprobs; leave it out"
            )
        return True

    def _finished(self, step: int, metrics: dict[str, float], fired: Sequence[Any]) -> None:
        """Compare a step that has been repeated."""
        row = self._metrics[step]
        pairs = {name: (row[name], metrics[name]) for name in TRL_METRICS if name in row and name in metrics}
        one = Repeated(step, pairs, self._columns(step))
        self.result.steps.append(one)
        model = self._repeating.model
        self.result.weights[step] = weights.digest(model.named_parameters())
        deviation = self._from_checkpoint(step + 1) if step + 1 in self._saved else 0.0
        exact = one.equal and deviation == 0
        if not exact and (self._tolerance == 0 or one.deviation > self._tolerance):
            raise ReplayError(self._why(one, deviation))
        self._bar.advance(self._task)

    def _columns(self, step: int) -> list[str]:
        theirs = read_tokens(self._run, step).drop_nulls("group")
        ours = read_tokens(self._out, step)
        return [name for name in theirs.columns if not theirs[name].equals(ours[name], null_equal=True)]

    def _from_checkpoint(self, step: int) -> float:
        """Return the largest deviation of a weight from the checkpoint after ``step`` steps."""
        written = self._out / "weights"
        self._repeating.save_model(str(written))  # under the names that a checkpoint has
        try:
            found = weights.deviation(self._saved[step], written)
        except ValueError as error:
            raise ReplayError(str(error)) from None
        self.result.checkpoints[step] = found
        return found

    def _why(self, one: Repeated, deviation: float) -> str:
        """Return what is not equal, and why it may be so."""
        changed = {name: pair for name, pair in one.metrics.items() if not _same(*pair)}
        parts = [f"{name} is {new!r}, it was {old!r}" for name, (old, new) in changed.items()]
        if one.columns:
            parts.append(f"the tokens have another {', '.join(one.columns)}")
        if deviation:
            parts.append(f"weights deviate by up to {deviation:.2g} from checkpoint {one.step + 1}")
        here = machine(self._repeating.accelerator.device)
        conditions = self._conditions(one.step)
        others = [f"{name} is {here[name]}, it was {conditions[name]}" for name in here]
        others = [text for text, name in zip(others, here, strict=True) if here[name] != conditions[name]]
        dtype = self._cfg.trainer.autocast or self._cfg.model.dtype
        if others:
            cause = f"the machine is another one: {'; '.join(others)}"
        elif dtype != "float32":
            cause = f"sums in {dtype} need not be repeatable"
        else:
            cause = "the source, the initial policy or the settings have changed since (resume_force does)"
        return (
            f"step {one.step} is not what the run has recorded: {'; '.join(parts)}. Perhaps {cause}; with "
            f"tolerance={_rounded(one.deviation)} it is accepted"
        )


def _same(old: float, new: float) -> bool:
    """Whether two metrics are equal; a loss that is no number may be repeated, too."""
    return old == new or (math.isnan(old) and math.isnan(new))


def _rounded(value: float) -> str:
    """Return a number of one digit that is larger."""
    text = f"{max(value, 1e-9):.0e}"
    return text if float(text) > value else f"{2 * float(text):.0e}"
