"""What the training loop of transformers tells us: that it begins, that a step is over, what was logged."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from transformers import TrainerCallback

from src.trainer.grpo_settings import TRL_METRICS


class AtStart(TrainerCallback):
    """Does something once the model is ready to be trained, before its first step.

    Args:
        what: to do.
    """

    def __init__(self, what: Callable[[], None]) -> None:
        self._what = what

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """See TrainerCallback."""
        self._what()


class StopCallback(TrainerCallback):
    """Ends training once that is asked for: after the rollout step under way, with a checkpoint.

    Args:
        asked: whether it is; of several processes all must say the same.
        minibatches: optimizer steps per rollout step.
    """

    def __init__(self, asked: Callable[[], bool], minibatches: int) -> None:
        self._asked, self._minibatches = asked, minibatches

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """See TrainerCallback."""
        if state.global_step % self._minibatches == 0 and self._asked():
            control.should_save = control.should_training_stop = True


class FinishStep(TrainerCallback):
    """Says when a rollout step's optimizer steps are done.

    Args:
        finish: called with the rollout step (from 0), TRL's metrics of it, and its seconds.
        minibatches: optimizer steps per rollout step.
    """

    def __init__(self, finish: Callable[[int, dict[str, float], float], None], minibatches: int) -> None:
        self._finish, self._minibatches = finish, minibatches
        self._start = time.perf_counter()

    def on_step_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Start the clock at the first optimizer step of a rollout."""
        if state.global_step % self._minibatches == 0:
            self._start = time.perf_counter()

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, Any], **_: Any) -> None:
        """See TrainerCallback."""
        if "loss" not in logs:
            return  # TRL's closing summary of the whole run
        metrics = {name: logs[name] for name in TRL_METRICS if logs.get(name) is not None}
        step = state.global_step // self._minibatches - 1
        self._finish(step, metrics, time.perf_counter() - self._start)
