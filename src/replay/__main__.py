"""``python -m src.replay run=FOLDER step=N``: repeats an update of a run, or compares it with another's."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from rich.box import SIMPLE_HEAD
from rich.table import Table

from src.config.command_line import override
from src.config.paths import ROOT
from src.config.replay import ReplayConfig
from src.launch.entry import entry
from src.run.token_columns import read_conditions


@entry("replay", ReplayConfig, alone=True)
def main(cfg: ReplayConfig, run_dir: Path) -> None:
    """Repeat the step, compare, print; the imports are here so that a bad configuration fails at once."""
    from src.config.schema import show
    from src.launch.checks.replay import other_settings, recorded

    run, rewards = Path(cfg.run), Path(cfg.rewards) if cfg.rewards else None
    settings = recorded(run)
    other, changed = other_settings(settings, list(HydraConfig.get().overrides.task))
    if rewards is not None:
        changed["rewards"] = (str(run), str(rewards))
    if known := read_conditions(run, cfg.step):  # see src/trainer/reproducibility.py; before torch
        os.environ["OMP_NUM_THREADS"] = str(known["threads"])

    from src.replay import folder
    from src.replay.replay import Replay, ReplayError
    from src.run.console import console
    from src.run.records import RecordError

    for name, (old, new) in changed.items():
        console.print(f"{name}={show(new)}; it was {show(old)}", markup=False, highlight=False)
    try:
        replay = Replay(settings, run, run_dir, cfg.step, verify=cfg.verify, tolerance=cfg.tolerance)
        found = folder.write(
            run_dir,
            settings,
            run,
            cfg.step,
            replay.run(other if changed else None, rewards),
            changed,
        )
    except (RecordError, ReplayError) as error:
        sys.exit(f"{type(error).__name__}: {error}")
    console.print(_steps(found))
    for done, deviation in found["checkpoints"].items():
        said = f"deviate by up to {deviation:.2g}" if deviation else "are equal to the last bit"
        console.print(f"the weights {said} after {done} steps, in the run's checkpoint", highlight=False)
    if not found["checkpoints"]:
        console.print("no checkpoint to compare the weights with; verify=true goes on to the next one")
    if found["objective"]:
        console.print(_layers(found["objective"]))
        _draw(run_dir)
    console.print(f"{run_dir / folder.REPLAY}", markup=False, highlight=False)


def _steps(found: Mapping[str, Any]) -> Table:
    table = Table(title="Repeated steps", title_justify="left", box=SIMPLE_HEAD, pad_edge=False)
    for column in ("step", "loss", "gradient norm"):
        table.add_column(column, justify="right", no_wrap=True)
    table.add_column("tokens, metrics")
    table.add_column("weights")
    for one in found["steps"]:
        loss, norm = (_pair(one["metrics"][name]) for name in ("loss", "grad_norm"))
        deviation = f"deviate by {one['deviation']:.2g}"
        table.add_row(str(one["step"]), loss, norm, "equal" if one["equal"] else deviation, one["weights"])
    return table


def _pair(values: list[float]) -> str:
    old, new = values
    return f"{new:.6g}" if old == new else f"{new:.6g} (was {old:.6g})"


def _layers(objective: Mapping[str, Any]) -> Table:
    """Return the table of the other objective, whose last rows are its loss and its signs."""
    title = "The run's objective and the other, at the same weights"
    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD, pad_edge=False)
    for column in ("optimizer step", "layer"):
        table.add_column(column)
    for column in ("cosine of gradients", "norm", "other", "cosine of updates", "norm", "other"):
        table.add_column(column, justify="right", no_wrap=True)
    for row in objective["layers"]:
        cells = [
            "-" if row[name] is None else f"{row[name]:{form}}"
            for what in ("gradient", "update")
            for name, form in (
                (f"{what}_cosine", ".4f"),
                (f"{what}_norm", ".3g"),
                (f"{what}_norm_other", ".3g"),
            )
        ]
        table.add_row(str(row["optimizer_step"]), row["layer"], *cells)
    loss, other = objective["loss"]
    signs = ", ".join(f"{name} {count}" for name, count in objective["signs"].items())
    table.caption = f"loss {loss:.6g}, other {other:.6g}; tokens by the sign of their weight: {signs}"
    table.caption_justify = "left"
    return table


def _draw(run_dir: Path) -> None:
    """Draw the figure, which is an analysis of the files."""
    command = [sys.executable, "-m", "analysis.objectives", override("replay", str(run_dir.resolve()))]
    command += [override("hydra.run.dir", str(run_dir.resolve())), "hydra.output_subdir=null"]
    subprocess.run(command, cwd=ROOT, check=True)


if __name__ == "__main__":
    main()
