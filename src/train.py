"""``python -m src.train +experiment=mini``: evaluate, train, evaluate again, write summary.json."""

from __future__ import annotations

import sys
from pathlib import Path
from shlex import quote
from signal import SIGINT

from src.config import Config
from src.config.command_line import command, override, shown
from src.launch.entry import entry
from src.run import checkpoints
from src.run.processes import world_size


@entry("train", Config, parallel=True, alone=True)
def main(cfg: Config, run_dir: Path) -> None:
    """Run the whole experiment; the imports are here so that a bad configuration fails in seconds."""
    if cfg.estimate:
        from src.estimate import run as run_estimate

        sys.exit(run_estimate(cfg, run_dir))
    from src.rollout.engines.vllm_variables import set_vllm_variables

    set_vllm_variables(cfg.engine)
    from src.experiment.training import run
    from src.problems import ProblemError
    from src.rollout.collector import PromptError
    from src.rollout.engines import EngineError
    from src.run.alarms import AlarmError
    from src.run.checkpoints import CheckpointError
    from src.run.interrupts import Interrupt, interrupts
    from src.sandbox import SandboxError
    from src.trainer import InfrastructureError

    try:
        run(cfg, run_dir)
        if interrupts.asked is not None:
            raise Interrupt(interrupts.asked)
    except KeyboardInterrupt as error:
        raise Interrupt(getattr(error, "number", SIGINT), _goes_on(run_dir)) from None
    except (
        AlarmError,
        CheckpointError,
        EngineError,
        InfrastructureError,
        ProblemError,
        PromptError,
        SandboxError,
    ) as error:
        sys.exit(f"{type(error).__name__}: {error}")


def _goes_on(run_dir: Path) -> str:
    """Return what is said of an interrupted run: with which command it goes on, and from where."""
    found = checkpoints.complete(run_dir / "checkpoints")
    if not found:
        return "interrupted before the first checkpoint: there is nothing to go on from, start it anew"
    resume = override("trainer.resume", shown(run_dir))
    how = command("src.train", [resume])
    if world_size() > 1:
        how = f"accelerate launch ... -m src.train {quote(resume)}"
    return f"interrupted; it goes on from step {checkpoints.step_of(found[-1])} with: {how}"


if __name__ == "__main__":
    main()
