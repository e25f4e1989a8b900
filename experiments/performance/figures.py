"""Figures of the benchmarks; ``path`` is without its ending: PNG and SVG."""

from __future__ import annotations

import statistics
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot

from experiments.performance.load import Measured


def save(figure: Any, path: Path) -> None:
    """Write ``figure`` beside ``path`` as PNG and SVG, and close it."""
    for ending in ("png", "svg"):
        figure.savefig(path.with_suffix(f".{ending}"), dpi=150)
    pyplot.close(figure)


def rounds_and_interval(axis: Any, place: float, found: dict[str, Any]) -> None:
    """Draw the ``rounds`` at a place of the abscissa, their ``median`` and its ``interval``."""
    axis.scatter([place] * len(found["rounds"]), found["rounds"], s=10, color="tab:grey", alpha=0.6)
    low, high = found["interval"]
    error = [[found["median"] - low], [high - found["median"]]]
    axis.errorbar(place, found["median"], yerr=error, fmt="o", capsize=5, color="tab:blue")


def bench_figure(results: dict[str, Measured], path: Path) -> None:
    """Distributions of latencies, and throughputs, each with the bare fork-and-wait as the reference."""
    reference = results["reference"]
    jails = {name: measured for name, measured in results.items() if name != "reference"}
    figure, (spread, speed, solve) = pyplot.subplots(1, 3, figsize=(13, 4.2), layout="constrained")

    curves = {"bare fork and wait": reference.latencies["fork and wait"]}
    curves |= {f"print(1), {jail}": measured.latencies["print(1)"] for jail, measured in jails.items()}
    for label, latencies in curves.items():
        ordered = sorted(1000 * seconds for seconds in latencies)
        parts = [(rank + 1) / len(ordered) for rank in range(len(ordered))]
        style = {"color": "black", "linestyle": "--"} if label.startswith("bare") else {}
        spread.plot(ordered, parts, label=label, **style)
    spread.set(xscale="log", xlabel="milliseconds, one by one", ylabel="share of executions", ylim=(0, 1))
    spread.legend()

    def bars(axis: Any, values: dict[str, list[float]]) -> None:
        middles = [statistics.median(found) for found in values.values()]
        below = [middle - min(found) for middle, found in zip(middles, values.values(), strict=True)]
        above = [max(found) - middle for middle, found in zip(middles, values.values(), strict=True)]
        drawn = axis.bar(list(values), middles, yerr=(below, above), capsize=4, color="tab:blue")
        axis.bar_label(drawn, [f"{middle:.3g}" for middle in middles], padding=2)
        axis.margins(y=0.12)  # room for the labels

    forks = statistics.median(reference.rounds["2 fork loops, 1/s"])
    bars(speed, {jail: measured.rounds["print(1), 1/s"] for jail, measured in jails.items()})
    speed.axhline(forks, color="black", linestyle="--", label="two bare fork-and-wait loops")
    speed.axhline(0.8 * forks, color="grey", linestyle=":", label="target: 80 % of them")
    speed.set(title="print(1), two workers", ylabel="executions/s (median, range)")
    speed.legend(loc="lower center")

    others = {
        name.partition(":")[0]: found
        for name, found in reference.rounds.items()
        if name.endswith("solve, 1/s")
    }
    bars(solve, {**others, **{jail: measured.rounds["solve, 1/s"] for jail, measured in jails.items()}})
    solve.set(title="sympy.solve of a quadratic, two at a time", ylabel="executions/s (median, range)")
    save(figure, path)


def scale_figure(summary: dict[str, Any], path: Path) -> None:
    """Answers and the caller's memory over time, of each way of submitting."""
    figure, (answers, growth) = pyplot.subplots(1, 2, figsize=(11, 4.2), layout="constrained")
    for name, found in summary["ways"].items():
        seconds = [point["seconds"] for point in found["points"]]
        (line,) = answers.plot(seconds, [point["answered"] for point in found["points"]], label=name)
        growth.plot(seconds, [point["rss_mb"] for point in found["points"]], label=name)
        steady = [found["steady_per_second"] * second for second in seconds]
        answers.plot(seconds, steady, color=line.get_color(), linestyle=":", linewidth=1)
    answers.set(
        xlabel="seconds",
        ylabel="answered (dotted: at the steady rate)",
        ylim=(0, 1.05 * summary["settings"]["executions"]),
    )
    answers.legend()
    growth.axhline(1024, color="grey", linestyle="--", linewidth=1, label="limit")
    growth.set(xlabel="seconds", ylabel="resident memory of the caller, MB", ylim=(0, None))
    growth.legend()
    save(figure, path)
