"""What the checks look at: one configuration, and what is built of it, each part once."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from src.config import Config

if TYPE_CHECKING:
    from src.experiment.training import TrainingRun
    from src.rollout.environment import Environment

OK, WARNING, ERROR = "ok", "warning", "error"


@dataclass(frozen=True)
class Finding:
    """One line: ``level`` is ok, warning or error, and then ``remedy`` says what helps."""

    level: str
    text: str
    remedy: str = ""


@dataclass(frozen=True)
class Check:
    """``faults``: names of what can be planted, and this check must find."""

    name: str
    faults: tuple[str, ...]
    find: Callable[[Patient], Iterator[Finding]]


class Patient:
    """A configuration under examination; a context manager.

    Args:
        cfg: checked.
        overrides: the command line that gave it, for checks that start the program itself.
        planted: a fault that one check must find; None: none is planted.
    """

    def __init__(self, cfg: Config, overrides: list[str], planted: str | None = None) -> None:
        self.cfg, self.overrides, self.planted = cfg, overrides, planted
        self._open = ExitStack()

    def has(self, fault: str) -> bool:
        """Whether ``fault`` is planted."""
        return self.planted == fault

    @cached_property
    def folder(self) -> Path:
        """A temporary folder."""
        return Path(self._open.enter_context(tempfile.TemporaryDirectory(prefix="doctor-")))

    @cached_property
    def training(self) -> TrainingRun:
        """The run up to its first step: policy, problems, sandbox, grader, trainer and engine."""
        from transformers.utils import logging

        from src.experiment.training import TrainingRun

        logging.disable_progress_bar()
        tracking = replace(self.cfg.tracking, mode="none")
        run = TrainingRun(replace(self.cfg, tracking=tracking), self.folder / "training")
        self._open.push(run)
        run.prepare()
        return run

    @cached_property
    def environment(self) -> Environment:
        """The environment of the run."""
        return self.training.environment

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: Any) -> None:
        self._open.close()
