"""``python -m analysis.objectives replay=FOLDER``: another objective beside the run's, by layer and by token.

Draws what ``python -m src.replay`` has found: the cosines of gradients and updates of each group of layers,
for each optimizer step, and how many tokens the two objectives push in which direction.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import polars as pl
from matplotlib.axes import Axes

from analysis.data import AnalysisError
from analysis.output import COLOURS, Output, legend_below, subplots
from src.config.schema import option, show
from src.launch.entry import entry

NAME = "objectives"
_FILE = "replay.json"
_MARKERS = "osD^v"


@dataclass
class ObjectivesConfig:
    """Settings of this analysis."""

    replay: str = option("???", "folder that python -m src.replay has written, with another objective")


def read(cfg: ObjectivesConfig) -> dict[str, Any]:
    """Return what a replay has found. Raises AnalysisError if it had no other objective."""
    file = Path(cfg.replay).expanduser() / _FILE
    if not file.is_file():
        raise AnalysisError(f"replay={cfg.replay}: has no {_FILE}; give a folder that src.replay has written")
    found = dict(json.loads(file.read_text()))
    if not found["objective"]:
        raise AnalysisError(
            f"replay={cfg.replay}: it has no other objective; repeat it with one, such as "
            "trainer.loss_type=grpo"
        )
    return found


def draw_cosines(axes: Axes, layers: pl.DataFrame, what: str) -> None:
    """Draw the cosine of each group of layers, with a marker for each optimizer step."""
    names = layers["layer"].unique(maintain_order=True).to_list()
    for (step,), mine in layers.group_by("optimizer_step", maintain_order=True):
        places = [names.index(name) for name in mine["layer"]]
        style = {"color": COLOURS[step % len(COLOURS)], "marker": _MARKERS[step % len(_MARKERS)]}
        axes.scatter(
            mine[f"{what}_cosine"].cast(pl.Float64), places, label=f"optimizer step {step}", zorder=3, **style
        )
    axes.set_yticks(range(len(names)), names)
    axes.invert_yaxis()
    axes.set_xlim(-1.05, 1.05)
    axes.axvline(0, color="grey", linewidth=1)
    axes.set_xlabel(f"cosine of the two {what}s")
    if layers["optimizer_step"].n_unique() > 1:
        legend_below(axes)


def draw_signs(axes: Axes, signs: dict[str, int]) -> None:
    """Draw the number of tokens by the sign of their weights."""
    bars = axes.barh(list(signs), list(signs.values()), color=COLOURS[0])
    axes.bar_label(bars, padding=3)
    axes.margins(x=0.15)
    axes.invert_yaxis()
    axes.set_xlabel("tokens by the sign of their weight")


@entry(f"analysis/{NAME}", ObjectivesConfig)
def main(cfg: ObjectivesConfig, folder: Path) -> None:
    """Write objectives.png and objectives.svg, and the table as CSV and JSON."""
    found = read(cfg)
    objective, settings = found["objective"], found["settings"]
    layers = pl.DataFrame(objective["layers"], infer_schema_length=None)
    output = Output(folder, {"analysis": asdict(cfg), "run": settings})
    rows = layers["layer"].n_unique()
    figure, grid = subplots(3, width=4.6, height=max(3.4, 1.6 + 0.28 * rows))
    for axes, what in zip(grid.flat, ("gradient", "update"), strict=False):
        draw_cosines(axes, layers, what)
    draw_signs(grid.flat[2], objective["signs"])
    changed = [f"{name}: {show(old)} and {show(new)}" for name, (old, new) in objective["changed"].items()]
    figure.suptitle(f"Step {settings['step']}; {', '.join(changed)}", fontsize=11)
    output.figure(NAME, figure)
    output.table(NAME, layers)
    output.json(NAME, {"layers": objective["layers"], "signs": objective["signs"], "loss": objective["loss"]})
    output.done()


if __name__ == "__main__":
    main()
