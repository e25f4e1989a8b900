"""``python -m src.evaluate model.path=FOLDER``: evaluate a policy, write records and summary.json."""

from __future__ import annotations

import sys
from pathlib import Path
from signal import SIGINT

from src.config import EvaluationConfig
from src.config.command_line import command, override, shown
from src.launch.entry import entry
from src.run.interrupts import Interrupt


@entry("evaluate", EvaluationConfig, alone=True)
def main(cfg: EvaluationConfig, run_dir: Path) -> None:
    """Run the evaluation; the imports are here so that a bad configuration fails in seconds."""
    from src.rollout.engines.vllm_variables import set_vllm_variables

    set_vllm_variables(cfg.engine)
    from src.experiment.evaluation.benchmark_run import run
    from src.problems import ProblemError
    from src.rollout.collector import PromptError
    from src.rollout.engines import EngineError
    from src.sandbox import SandboxError

    try:
        run(cfg, run_dir)
    except KeyboardInterrupt as error:
        raise Interrupt(getattr(error, "number", SIGINT), _goes_on(run_dir)) from None
    except (EngineError, ProblemError, PromptError, SandboxError) as error:
        sys.exit(f"{type(error).__name__}: {error}")


def _goes_on(run_dir: Path) -> str:
    """Return with which command an interrupted evaluation goes on: its own, in its folder."""
    given = [
        one for one in sys.argv[1:] if not one.lstrip("+").startswith(("hydra.run.dir=", "evaluate.resume="))
    ]
    given += [override("hydra.run.dir", shown(run_dir)), "evaluate.resume=true"]
    return f"interrupted; it goes on with: {command('src.evaluate', given)}"


if __name__ == "__main__":
    main()
