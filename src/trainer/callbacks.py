"""Callbacks of the transformers training loop: start of training, end of a step, logged metrics."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from transformers import TrainerCallback

from src.trainer.grpo_settings import TRL_METRICS


class AtStart(TrainerCallback):
    """Calls a function once the model is ready for training, before the first step.

    Args:
        action: the function.
    """

    def __init__(self, action: Callable[[], None]) -> None:
        self._action = action

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """See TrainerCallback."""
        self._action()


class StopCallback(TrainerCallback):
    """Ends training on request, after the current rollout step and with a checkpoint.

    Args:
        requested: whether a stop is requested; must return the same in all processes.
        minibatches: optimizer steps per rollout step.
    """

    def __init__(self, requested: Callable[[], bool], minibatches: int) -> None:
        self._requested, self._minibatches = requested, minibatches

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """See TrainerCallback."""
        if state.global_step % self._minibatches == 0 and self._requested():
            control.should_save = control.should_training_stop = True


class EvaluationCallback(TrainerCallback):
    """Evaluates the policy after some rollout steps, each time after a checkpoint.

    Args:
        due: whether the policy is evaluated after that many rollout steps.
        evaluate: called with them.
        minibatches: optimizer steps per rollout step.
    """

    def __init__(self, due: Callable[[int], bool], evaluate: Callable[[int], None], minibatches: int) -> None:
        self._due, self._evaluate, self._minibatches = due, evaluate, minibatches

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """See TrainerCallback."""
        if self._is_due(state.global_step):
            control.should_save = True

    def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """See TrainerCallback; called after the metrics of the step, too."""
        if self._is_due(state.global_step):
            self._evaluate(state.global_step // self._minibatches)

    def _is_due(self, optimizer_steps: int) -> bool:
        steps, rest = divmod(optimizer_steps, self._minibatches)
        return rest == 0 and self._due(steps)


class FinishStep(TrainerCallback):
    """Calls a function when the optimizer steps of a rollout step are done.

    Args:
        finish: called with the rollout step (from 0), its TRL metrics and its duration in seconds.
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
