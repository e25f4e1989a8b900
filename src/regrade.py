"""``python -m src.regrade run=FOLDER reward.grader=math_verify``: grades stored trajectories again."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from src.config.regrade import RegradeConfig
from src.launch.entry import entry


@entry("regrade", RegradeConfig, alone=True)
def main(cfg: RegradeConfig, run_dir: Path) -> None:
    """Grade, and print what has flipped; the imports are here so that a bad configuration fails at once."""
    from src.experiment.regraded_folder import FLIPS, RegradedFolder, read_flips
    from src.experiment.regrading import Regrader, stored_format
    from src.launch.checks.regrade import reward_settings
    from src.rewards import Grader, GraderError
    from src.run.console import console
    from src.run.records import RecordError

    reward = reward_settings(cfg, list(HydraConfig.get().overrides.task))
    folder = RegradedFolder(Path(cfg.run), run_dir, reward)
    form, most = stored_format(folder.config), folder.config["rollout"]["max_tokens"]
    for name, (old, new) in folder.changes.items():
        console.print(f"{name}={new}; it was {old}", markup=False, highlight=False)
    if reward.terms:
        console.print(
            "reward.terms: where older records lack the outputs of executions, terms see the feedback that "
            "the policy read, which may be cut"
        )
    try:
        with Grader(reward.grade_workers, reward.grade_seconds, mode=reward.grader) as grader:
            summary = folder.write(Regrader(reward, form, most, grader))
    except (GraderError, RecordError) as error:
        sys.exit(f"{type(error).__name__}: {error}")
    console.print(_table(summary["groups"]))
    flips = 0
    for flips, flip in enumerate(read_flips(run_dir), start=1):
        if flips <= cfg.shown:
            console.print(_line(flip), markup=False, highlight=False)
    console.print(f"{flips} flips; {run_dir / FLIPS}" if flips else "no flip")


def _table(groups: Sequence[Mapping[str, Any]]) -> Table:
    table = Table(title="Graded again", box=SIMPLE_HEAD, pad_edge=False)
    for column in ("records", "phase", "step", "mode"):
        table.add_column(column)
    for column in ("n", "accuracy", "reward", "to correct", "to wrong", "answers", "lenient", "rewards"):
        table.add_column(column, justify="right", no_wrap=True)
    for group in groups:
        pairs = [_pair(group[name]) for name in ("accuracy", "reward")]
        counts = map(str, group["changed"].values())
        place = Path(group["file"]).parent
        step = "all" if group["step"] is None else str(group["step"])
        of = place.name or "run"  # or the benchmark of an evaluation on the way
        names = [Text(str(one)) for one in (of, group["phase"], step, group["mode"])]
        table.add_row(*names, str(group["n"]), *pairs, *counts)
    return table


def _pair(values: Sequence[float | None]) -> str:
    old, new = ("-" if value is None else f"{value:.3f}" for value in values)
    return old if old == new else f"{old} to {new}"


def _line(flip: Mapping[str, Any]) -> str:
    """Return one flip on one line; what a policy wrote is quoted."""
    verdicts = ["correct" if value else "wrong" for value in flip["correct"]]
    change = verdicts[1] if verdicts[0] == verdicts[1] else f"{verdicts[0]} to {verdicts[1]}"
    place = f"{flip['phase']}, step {flip['step']}, {flip['mode']}, sample {flip['sample']}"
    return f"{place} of {flip['problem_id']!r}: {change}: {flip['reason']}"


if __name__ == "__main__":
    main()
