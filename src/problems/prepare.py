"""``python -m src.problems.prepare data=dapo_math_17k``: writes the training problems of a run.

They are written to ``problems.jsonl``, which ``data=file`` and ``benchmark=file`` read, with a report of
removed problems in ``data.json``. They can then be inspected, evaluated, and filtered by
:mod:`src.problems.filter`.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from pathlib import Path

from src.config import DataConfig
from src.launch.entry import entry
from src.problems.files import write_problems
from src.problems.problem import ProblemError
from src.problems.training import load_data
from src.run.disk import write_json


@dataclass
class PrepareConfig:
    """Settings of a preparation."""

    data: DataConfig = field(default_factory=DataConfig)


@entry("prepare", PrepareConfig)
def main(cfg: PrepareConfig, run_dir: Path) -> None:
    """Load, clean and write the training problems."""
    from src.run.console import console

    try:
        data = load_data(cfg.data)
    except ProblemError as error:
        sys.exit(f"ProblemError: {error}")
    write_problems(run_dir / "problems.jsonl", data.train)
    write_json(run_dir / "data.json", data.report)
    console.print(data.line)
    console.print(f"{run_dir / 'problems.jsonl'}")


if __name__ == "__main__":
    main()
