"""``python -m src.problems.filter 'folders=[runs/base]'``: keeps problems neither too hard nor too easy.

Reads the folders of ``src.evaluate``, of one evaluation or of all its shards, and writes ``problems.jsonl``,
which ``data=file`` reads, ``filter.json``, ``pass_rates.png`` and ``pass_rates.svg``. See
:mod:`src.problems.difficulty` for the precision of pass rates.
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from src.config import BenchmarkConfig
from src.config.schema import ConfigError, build, either, option, wrong_choice
from src.launch.checks.problems import benchmark as benchmark_faults
from src.launch.entry import entry
from src.launch.resumption import read_shards
from src.problems.benchmarks import load_benchmark
from src.problems.difficulty import by_subject, histogram, tally, verdict
from src.problems.files import write_problems
from src.problems.problem import ProblemError
from src.problems.training import digest
from src.run.disk import write_json
from src.run.intervals import wilson
from src.run.provenance import commit
from src.run.records import CONFIG, RECORDS, SUMMARY, RecordError, TrajectoryRecord, iter_records

PROBLEMS, REPORT, FIGURE = "problems.jsonl", "filter.json", "pass_rates"
_KEPT, _OTHER = "#0072B2", "#BBBBBB"  # blue of Okabe and Ito (2008), grey


@dataclass
class FilterConfig:
    """Settings of a filter."""

    folders: list[str] = option("???", "folders of one evaluation, or of all its shards")
    path: str | None = option(None, "the problem file, if the evaluated file has moved")
    mode: str | None = option(
        None, "mode of the evaluation; null: the only one", choices=("free", "text", "code")
    )
    low: float = option(0.1, "lowest pass rate that is kept", at_least=0, at_most=1)
    high: float = option(0.9, "highest pass rate that is kept", at_least=0, at_most=1)
    min_samples: int = option(4, "problems with fewer trajectories are left out", at_least=1)
    bins: int | None = option(None, "bins of the histogram; null: evaluate.k up to 20, else 10", at_least=2)


def run(cfg: FilterConfig, out: Path) -> dict[str, Any]:
    """Write the kept problems, report and figure into ``out``; return the report.

    Raises:
        ConfigError: folders or settings are inconsistent.
        ProblemError: the problems are not those of the records, or none is kept.
        RecordError: a line is not a record.
    """
    folders = [Path(folder).expanduser() for folder in cfg.folders]
    configs = _configs(folders)
    mode = _mode(cfg, configs[0])
    source = _source(cfg, configs[0])
    problems = load_benchmark(source, "path=FILE")
    tallies = tally(problems, _records(folders, mode))
    verdicts = {name: verdict(found, cfg.low, cfg.high, cfg.min_samples) for name, found in tallies.items()}
    kept = [problem for problem in problems if verdicts[problem.id] == "kept"]
    counts = Counter(verdicts.values())
    if not kept:
        raise ProblemError(
            f"low={cfg.low:g}, high={cfg.high:g}: none of {len(problems)} problems is left ({_shown(counts)})"
        )
    measured = {name: found for name, found in tallies.items() if verdicts[name] != "unmeasured"}
    samples = Counter(found.samples for found in measured.values()).most_common(1)[0][0]
    bins = cfg.bins or (max(samples, 2) if samples <= 20 else 10)
    report = {
        "settings": {
            "filter": asdict(cfg) | {"mode": mode},
            "commit": commit(),
            "evaluations": list(map(_settings, folders, configs)),
        },
        "problems": len(problems),
        "counts": {name: counts[name] for name in ("kept", "too hard", "too easy", "unmeasured")},
        "spoilt_trajectories": sum(found.spoilt for found in tallies.values()),
        "samples": samples,  # of most problems
        "intervals": {
            f"{hit} of {samples}": [round(limit, 4) for limit in wilson(hit, samples, 0.95)]
            for hit in (0, samples // 2)
        },
        "bins": histogram(((found, verdicts[name] == "kept") for name, found in measured.items()), bins),
        "by_subject": by_subject((p.subject, tallies[p.id], verdicts[p.id]) for p in problems),
        "digest": digest(kept),
    }  # fmt: skip
    out.mkdir(parents=True, exist_ok=True)
    measures = ({"pass_rate": round(tallies[p.id].rate, 4), "samples": tallies[p.id].samples} for p in kept)
    write_problems(out / PROBLEMS, kept, measures)
    _draw(report, out)
    write_json(out / REPORT, report)
    return report


def _configs(folders: list[Path]) -> list[dict[str, Any]]:
    """The configuration of each folder. Raises ConfigError if a folder is not one of the same evaluation."""
    if not folders:
        raise ConfigError(
            "folders=[]: no folder is given; give folders=[runs/A], or the folders of all shards"
        )
    faults = [
        f"folders: {folder} has no {name}; give a folder of python -m src.evaluate"
        for folder in folders
        for name in (CONFIG, RECORDS)
        if not (folder / name).is_file()
    ]
    if faults:
        raise ConfigError(*faults)
    configs, faults = read_shards(folders)
    for folder, config in zip(folders, configs, strict=True):
        if "benchmark" not in config:
            raise ConfigError(
                f"folders: {folder} is not an evaluation, its {CONFIG} has no benchmark; give a folder of "
                "python -m src.evaluate"
            )
    if faults:
        raise ConfigError(*faults)
    return configs


def _mode(cfg: FilterConfig, config: dict[str, Any]) -> str:
    """The mode to use. Raises ConfigError, also for settings that keep no problem."""
    modes, k = config["evaluate"]["modes"], config["evaluate"]["k"]
    faults = []
    if cfg.mode is None and len(modes) > 1:
        faults.append(f"mode=null: the evaluation has {either(modes)}; give mode={modes[0]}, for example")
    elif cfg.mode is not None and cfg.mode not in modes:
        faults.append(wrong_choice("mode", cfg.mode, modes))
    if cfg.low > cfg.high:
        faults.append(f"low={cfg.low:g}: above high={cfg.high:g}, so no problem is kept; give a lower value")
    if cfg.min_samples > k:
        faults.append(
            f"min_samples={cfg.min_samples}: the evaluation has evaluate.k={k} trajectories per problem; "
            f"give {k} at most, or evaluate with a larger k"
        )
    if faults:
        raise ConfigError(*faults)
    return str(cfg.mode or modes[0])


def _source(cfg: FilterConfig, config: dict[str, Any]) -> BenchmarkConfig:
    source = build(BenchmarkConfig, config["benchmark"])
    if cfg.path is not None:
        source = replace(source, path=cfg.path)
    faults = [fault.replace("benchmark.path=", "path=") for fault in benchmark_faults(source, "benchmark.")]
    if faults:
        raise ConfigError(*faults)
    return source


def _settings(folder: Path, config: dict[str, Any]) -> dict[str, Any]:
    """The settings in the evaluation's summary, which an unfinished evaluation lacks."""
    summary = folder / SUMMARY
    found = json.loads(summary.read_text())["settings"] if summary.is_file() else {"unfinished": True}
    return {"folder": str(folder), "model": config["model"]["path"], **config["evaluate"], **found}


def _records(folders: list[Path], mode: str) -> Iterator[TrajectoryRecord]:
    for folder in folders:
        yield from (record for record in iter_records(folder / RECORDS) if record.mode == mode)


def _draw(report: dict[str, Any], out: Path) -> None:
    """Write the histogram of pass rates as PNG and SVG, atomically."""
    import matplotlib

    matplotlib.use("Agg")
    matplotlib.rcParams |= {"svg.hashsalt": "cir", "svg.fonttype": "none"}  # reproducible files
    from matplotlib import pyplot

    bins, chosen, how = report["bins"], report["settings"]["filter"], report["settings"]["evaluations"][0]
    rates, width = [b["rate"] for b in bins], 0.85 / (len(bins) - 1)
    kept = [b["kept"] for b in bins]
    others = [b["problems"] - b["kept"] for b in bins]
    figure, axes = pyplot.subplots(figsize=(7.2, 4.4), layout="constrained")
    axes.bar(rates, kept, width, color=_KEPT, label=f"kept ({sum(kept)})")
    axes.bar(rates, others, width, bottom=kept, color=_OTHER, label=f"left out ({sum(others)})")
    axes.set_ylabel("problems (number)")
    axes.yaxis.get_major_locator().set_params(integer=True)
    spread = ", ".join(
        f"{what}: {low:.2f} to {high:.2f}" for what, (low, high) in report["intervals"].items()
    )
    axes.set_xlabel(
        f"pass rate: fraction of a problem's {report['samples']} trajectories that are correct\n"
        f"95 % intervals: {spread}"
    )
    axes.set_title(
        f"{how['model']}, mode {chosen['mode']}, temperature {how['temperature']:g}; kept: {chosen['low']:g} "
        f"to {chosen['high']:g}; {report['counts']['unmeasured']} without enough trajectories",
        fontsize=9,
    )
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False)
    for kind in ("png", "svg"):
        partial = out / f"{FIGURE}.{kind}.partial"
        figure.savefig(partial, format=kind, dpi=160, metadata={"Date": None} if kind == "svg" else {})
        partial.replace(out / f"{FIGURE}.{kind}")
    pyplot.close(figure)


def _shown(counts: Counter[str]) -> str:
    return ", ".join(f"{number} {name}" for name, number in counts.most_common())


@entry("filter", FilterConfig)
def main(cfg: FilterConfig, run_dir: Path) -> None:
    """Filter, and print how many problems were kept."""
    from src.run.console import console

    try:
        report = run(cfg, run_dir)
    except (ProblemError, RecordError) as error:
        sys.exit(f"{type(error).__name__}: {error}")
    console.print(f"of {report['problems']} problems: {_shown(Counter(report['counts']))}")
    console.print(f"train on them with data=file data.train_path={run_dir / PROBLEMS}")


if __name__ == "__main__":
    main()
