"""The figure of a soak test."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot


def soak_figure(summary: dict[str, Any], path: Path) -> None:
    """Throughput, memory and processes over the executions; ``path`` without its ending: PNG and SVG."""
    samples = summary["samples"]
    done = [sample["executions"] for sample in samples]
    figure, (speed, growth, count) = pyplot.subplots(3, 1, figsize=(8, 8), sharex=True, layout="constrained")
    speed.plot(done[1:], [sample["per_second"] for sample in samples[1:]])
    speed.set(ylabel="executions/s", ylim=(0, None))
    for key, label in (("worker_rss_mb", "largest worker"), ("caller_rss_mb", "caller")):
        growth.plot(done, [sample[key] - samples[0][key] for sample in samples], label=label)
    growth.axhline(20, color="grey", linestyle="--", linewidth=1, label="limit")
    growth.set(ylabel="growth of resident memory, MB")
    growth.legend()
    for key, label in (
        ("processes", "processes"),
        ("descriptors", "the caller's descriptors"),
        ("files", "files left"),
    ):
        if all(sample[key] is not None for sample in samples):
            count.plot(done, [sample[key] for sample in samples], label=label)
    count.set(xlabel="executions", ylabel="number at rest", ylim=(-0.5, None))
    count.legend()
    settings = summary["settings"]
    figure.suptitle(
        f"{summary['executions']} executions in {settings['jail']}, {settings['workers']} workers, "
        f"{settings['hostile']:.0%} hostile, wall limit {settings['wall']:g} s"
    )
    for ending in ("png", "svg"):
        figure.savefig(path.with_suffix(f".{ending}"), dpi=150)
    pyplot.close(figure)
