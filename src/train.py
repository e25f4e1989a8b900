"""``python -m src.train +experiment=mini``: evaluate, train, evaluate again, write summary.json."""

from __future__ import annotations

import sys
from pathlib import Path

from src.config import Config
from src.entry import entry


@entry("train", Config, parallel=True)
def main(cfg: Config, run_dir: Path) -> None:
    """Run the whole experiment; the imports are here so that a bad configuration fails in seconds."""
    if cfg.estimate:
        from src.estimate import run as run_estimate

        sys.exit(run_estimate(cfg, run_dir))
    from src.rollout.engines.environment import set_environment

    set_environment(cfg.engine)
    from src.alarms import AlarmError
    from src.checkpoints import CheckpointError
    from src.experiment import run
    from src.problems import ProblemError
    from src.rollout.collector import PromptError
    from src.rollout.engines import EngineError
    from src.sandbox import SandboxError
    from src.trainer import InfrastructureError

    try:
        run(cfg, run_dir)
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


if __name__ == "__main__":
    main()
