"""``python -m analysis.watch run=runs/A``: follows a training run or an evaluation in the terminal.

State, time left, curves, accuracies, alarms and the last trajectory, read from the files in the run's folder:
it needs no connection to the run, which may be on another machine that shares the folder.
"""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.live import Live

from analysis.data import AnalysisError
from analysis.live import Frame, read_frame
from analysis.live_view import show
from src.config.schema import option
from src.launch.entry import entry
from src.run.interrupts import end
from src.run.records import METRICS
from src.run.status import RUNNING, STATUS

NAME = "watch"


@dataclass
class WatchConfig:
    """Settings of this program."""

    run: str = option("???", "folder of a training run or of an evaluation")
    metrics: list[str] = option(
        [
            *("reward", "accuracy", "executions_per_trajectory", "execution_failure_rate"),
            *("tokens/policy", "entropy", "grad_norm", "seconds/step"),
        ],
        "metrics of metrics.jsonl whose curves are shown; those that the run does not have are left out",
    )
    lines: int = option(16, "most lines of the last trajectory", at_least=0)
    every: float = option(2.0, "seconds between two looks", at_least=0.1)
    once: bool = option(False, "show the present state once, then end")


def look(cfg: WatchConfig) -> Frame:
    """Return what the folder holds now. Raises AnalysisError if it is no run."""
    folder = Path(cfg.run).expanduser()
    if not folder.is_dir():
        raise AnalysisError(f"run={cfg.run}: this folder does not exist; give the folder of a run")
    if not (folder / STATUS).is_file() and not (folder / METRICS).is_file():
        raise AnalysisError(
            f"run={cfg.run}: contains neither {STATUS} nor {METRICS}; give the folder of a training run or "
            "of an evaluation, or wait until it has begun"
        )
    return read_frame(folder)


@entry(f"analysis/{NAME}", WatchConfig)
def main(cfg: WatchConfig, folder: Path) -> None:
    """Show the run until it ends, or once; Ctrl-C ends this program, not the run."""
    frame, console = look(cfg), Console(width=None if sys.stdout.isatty() else 120, highlight=False)
    if cfg.once or frame.state != RUNNING:
        console.print(show(frame, cfg.metrics, cfg.lines))
        return
    try:
        with Live(show(frame, cfg.metrics, cfg.lines), console=console, auto_refresh=False) as live:
            while frame.state == RUNNING:
                time.sleep(cfg.every)
                frame = look(cfg)
                live.update(show(frame, cfg.metrics, cfg.lines), refresh=True)
    except KeyboardInterrupt as error:
        raise end(error) from None


if __name__ == "__main__":
    main()
