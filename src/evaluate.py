"""``python -m src.evaluate model.path=FOLDER``: evaluate a policy, write records and summary.json."""

from __future__ import annotations

import sys
from pathlib import Path

from src.config import EvaluationConfig
from src.entry import entry


@entry("evaluate", EvaluationConfig)
def main(cfg: EvaluationConfig, run_dir: Path) -> None:
    """Run the evaluation; the imports are here so that a bad configuration fails in seconds."""
    from src.rollout.engines.environment import set_environment

    set_environment(cfg.engine)
    from src.benchmarking import run
    from src.problems import ProblemError
    from src.rollout.collector import PromptError
    from src.rollout.engines import EngineError
    from src.sandbox import SandboxError

    try:
        run(cfg, run_dir)
    except (EngineError, ProblemError, PromptError, SandboxError) as error:
        sys.exit(f"{type(error).__name__}: {error}")


if __name__ == "__main__":
    main()
