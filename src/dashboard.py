"""``python -m src.dashboard entity=TEAM project=NAME``: saves workspaces for the runs of a W&B project."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path

from src.config import TrackingConfig
from src.config.schema import ConfigError, option
from src.launch.entry import entry
from src.run.tracking.panels import CURVES
from src.run.tracking.workspaces import ARMS, TRAINING


@dataclass
class DashboardConfig:
    """Settings of this program."""

    entity: str = option("???", "account or team")
    project: str = option(TrackingConfig().project, "W&B project")
    kind: str | None = option(
        None,
        "training: to follow runs; arms: to compare them, with those that differ in seeds as one; null: both",
        choices=(TRAINING, ARMS),
    )
    curves: list[str] = option(list(CURVES), "which accuracies are shown, as BENCHMARK/MODE")
    save: bool = option(True, "save the workspaces, which needs a key and the network")
    path: str | None = option(None, "file to write the views to, as JSON")


@entry("dashboard", DashboardConfig)
def main(cfg: DashboardConfig, folder: Path) -> None:
    """Build, write, save."""
    from src.problems.prompt_text import MODES
    from src.run.console import console
    from src.run.tracking.workspaces import spec, workspace

    if not cfg.save and cfg.path is None:
        raise ConfigError("save=false: nothing would be made; give path=FILE.json")
    for curve in cfg.curves:
        benchmark, _, mode = curve.rpartition("/")
        if not benchmark or mode not in MODES:
            raise ConfigError(f"curves: {curve}: give BENCHMARK/MODE with a mode of {', '.join(MODES)}")
    kinds = [cfg.kind] if cfg.kind else [TRAINING, ARMS]
    made = {kind: workspace(kind, cfg.entity, cfg.project, cfg.curves) for kind in kinds}
    if cfg.path is not None:
        views = {kind: spec(one) for kind, one in made.items()}
        path = Path(cfg.path).expanduser()
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(views, indent=2) + "\n")
        console.print(f"written to {cfg.path}", markup=False)
    for kind, one in made.items() if cfg.save else ():
        try:
            one.save()
        except Exception as error:  # of wandb, requests or a GraphQL client: no key, no network, no project
            reason = " ".join(str(error).split()) or type(error).__name__
            sys.exit(
                f"the workspace {kind} cannot be saved: {reason} (it needs a key, see `wandb login`, the "
                "network and the project; save=false path=FILE.json writes it to a file)"
            )
        console.print(f"{kind}: {one.url}", markup=False)


if __name__ == "__main__":
    main()
