"""Output of every analysis: CSV, JSON, PNG, SVG, and a table on the terminal."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import polars as pl
from matplotlib import pyplot
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from rich.box import SIMPLE_HEAD
from rich.table import Table

from src.run.console import console
from src.run.disk import write_json

# Okabe and Ito (2008): distinguishable with colour blindness; line styles differ, too.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000", "#F0E442")
STYLES = ("-", "--", "-.", ":")
# First and second policy in a mode: one hue, different lightness and line style.
SHADES = {"text": ("#F5B183", "#C04A00"), "code": ("#7ACDB1", "#00694C"), "free": ("#7FC4EE", "#00558C")}
_LEGEND = 44  # letters of a legend in one line
matplotlib.rcParams.update(
    {
        "figure.dpi": 100,
        "savefig.dpi": 160,
        "font.size": 11,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.grid": True,
        "grid.alpha": 0.25,
        "legend.frameon": False,
        "svg.fonttype": "none",
        "svg.hashsalt": "cir",
    }
)


def look(names: Sequence[str], name: str) -> dict[str, Any]:
    """Return colour and line style of one of ``names``, the same in every panel.

    Arms (POLICY_MODE) of one or two policies in several modes have a hue for each mode, in every figure.
    """
    policies = list(dict.fromkeys(arm.rpartition("_")[0] for arm in names))
    modes = {arm.rpartition("_")[2] for arm in names}
    if modes <= SHADES.keys() and len(modes) > 1 and len(policies) <= 2:
        policy, _, mode = name.rpartition("_")
        second = policy == policies[-1]  # also if there is only one
        return {"color": SHADES[mode][second], "linestyle": "-" if second else "--"}
    at = list(names).index(name)
    return {"color": COLOURS[at % len(COLOURS)], "linestyle": STYLES[at // len(COLOURS) % len(STYLES)]}


def subplots(
    columns: int = 1, rows: int = 1, *, width: float = 5.6, height: float = 4.0
) -> tuple[Figure, Any]:
    """Return a figure with that many panels, legible at half size."""
    return pyplot.subplots(
        rows, columns, figsize=(width * columns, height * rows), layout="constrained", squeeze=False
    )


def panels(number: int, *, width: float, height: float) -> tuple[Figure, list[Axes]]:
    """Return a figure with that many panels, two in a row."""
    columns = min(2, number)
    figure, grid = subplots(columns, -(-number // columns), width=width, height=height)
    for axes in grid.flat[number:]:
        axes.remove()
    return figure, list(grid.flat[:number])


def interval(axes: Axes, row: Mapping[str, Any], place: float, **style: Any) -> None:
    """Draw a row's value, from left to right, with its interval, if it has one, at the height ``place``."""
    width = [[row["value"] - row["low"]], [row["high"] - row["value"]]]
    known = math.isfinite(row["low"])
    axes.errorbar(row["value"], place, xerr=width if known else None, **{"fmt": "o", "capsize": 4} | style)


def band(axes: Axes, steps: Any, low: Any, high: Any, colour: str) -> None:
    """Shade what lies between two curves."""
    axes.fill_between(steps, low, high, color=colour, alpha=0.15, linewidth=0)


class Output:
    """Writes the results of an analysis, with its settings, into one folder.

    Args:
        folder: folder of this analysis.
        settings: of the analysis and of the runs that it read.
    """

    def __init__(self, folder: Path, settings: dict[str, Any]) -> None:
        self.folder, self._settings = folder, settings
        folder.mkdir(parents=True, exist_ok=True)

    def table(self, name: str, table: pl.DataFrame) -> None:
        """Write ``NAME.csv``."""
        partial = self.folder / f"{name}.partial"
        table.write_csv(partial)
        partial.replace(self.folder / f"{name}.csv")

    def verdicts(self, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Write ``verdicts.csv``, and return the rows."""
        table = pl.DataFrame(rows, infer_schema_length=None) if rows else pl.DataFrame({"measure": []})
        self.table("verdicts", table.fill_nan(None))
        return rows

    def json(self, name: str, results: dict[str, Any]) -> None:
        """Write ``NAME.json``: settings and results; nan and infinity become null."""
        write_json(self.folder / f"{name}.json", {"settings": self._settings, "results": _plain(results)})

    def figure(self, name: str, figure: Figure) -> None:
        """Write ``NAME.png`` and ``NAME.svg``, and close the figure."""
        for ending in ("png", "svg"):
            dated = {"metadata": {"Date": None}} if ending == "svg" else {}  # the same figure, the same file
            figure.savefig(self.folder / f"{name}.{ending}", **dated)
        pyplot.close(figure)

    def text(self, name: str, content: str) -> None:
        """Write the file ``name``."""
        partial = self.folder / f"{name}.partial"
        partial.write_text(content, encoding="utf-8")
        partial.replace(self.folder / name)

    def done(self) -> None:
        """Print the folder."""
        console.print(f"written to {self.folder}")


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def show(title: str, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Print a table."""
    table = Table(*columns, title=title, title_justify="left", box=SIMPLE_HEAD)
    for row in rows:
        table.add_row(*("" if cell is None else str(cell) for cell in row))
    console.print(table)


def where_any(name: str, cells: Sequence[int | str]) -> tuple[list[str], list[list[int | str]]]:
    """Return the heading and the cells of a column that is shown only if a cell is not 0 or empty."""
    return ([name], [[cell] for cell in cells]) if any(cells) else ([], [[] for _ in cells])


def legend_below(axes: Axes, columns: int = 2) -> None:
    """Put the legend below the axes."""
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.14), ncols=columns)


def legend_columns(names: Sequence[str]) -> int:
    """Return how many of these names fit side by side below the axes."""
    return 4 if len(names) <= 4 and sum(map(len, names)) <= _LEGEND else 2


def percent_axis(axes: Axes, which: str = "y") -> None:
    """Show fractions as percentages."""
    axis = axes.yaxis if which == "y" else axes.xaxis
    axis.set_major_formatter(matplotlib.ticker.PercentFormatter(xmax=1))
