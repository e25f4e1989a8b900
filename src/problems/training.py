"""Training and held-out problems of a run, cleaned, with a report of removed problems."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from rich.markup import escape

from src.config import GENERATED, DataConfig, HubConfig, named_benchmark
from src.config.named import heldout_benchmark
from src.problems.benchmarks import generated, load_benchmark, named_by, repeated
from src.problems.clean import clean, removals
from src.problems.fields import fields_line
from src.problems.files import read_problems, read_rows
from src.problems.hub import hub_rows
from src.problems.problem import Problem, ProblemError


@dataclass(frozen=True)
class Data:
    """Problems of a run; ``report`` is written to ``data.json``, ``line`` to the console."""

    train: list[Problem]
    heldout: list[Problem]
    report: dict[str, Any]
    line: str


def load_data(cfg: DataConfig) -> Data:
    """Return training problems, cleaned if ``cfg.clean.enabled``, and held-out problems, never cleaned.

    Raises:
        ProblemError: they cannot be loaded, a row is malformed, too many gold answers cannot be graded, or no
            problem is left after cleaning.
    """
    taken: dict[str, Counter[str]] = {"train": Counter(), "heldout": Counter()}
    found: dict[str, dict[str, str]] = {"train": {}, "heldout": {}}
    train, heldout = (_read(cfg, split, counts, found[split]) for split, counts in taken.items())
    report: dict[str, Any] = {"clean": asdict(cfg.clean), "train": {"read": len(train)}}
    removed = ""
    if cfg.clean.enabled:
        against = {cfg.heldout_name: heldout}  # first: a problem in several of them counts here
        for text in cfg.clean.against:
            if text not in against:
                against[text] = _unwanted(text)
        train, report["train"] = clean(train, against, cfg.clean)
        removed = f" {removals(report['train'])} removed, {len(train)} left,"
    train, heldout = train[: cfg.train_size], heldout[: cfg.heldout_size]
    report["train"] |= {"used": len(train), "digest": digest(train)}
    report["heldout"] = {"name": cfg.heldout_name, "used": len(heldout), "digest": digest(heldout)}
    line = (
        f"problems: {report['train']['read']} read,{removed} {len(train)} to train on, "
        f"{len(heldout)} held out ({cfg.heldout_name})"
    )
    report["fields_recognised"] = found
    report["answers_taken"] = {split: dict(counts) for split, counts in taken.items()}
    for split, counts in taken.items():
        if found[split]:
            line += f"\n{split}: {escape(fields_line(found[split]))}"
        if counts:
            line += f"\n{split}: {escape(answers_taken(counts))}"  # a pattern may contain [...]
    if again := repeated(heldout):
        line += f"\nheldout: {again}"
    return Data(train, heldout, report, line)


def load_problems(cfg: DataConfig, split: str) -> list[Problem]:
    """Return the problems of one split, not cleaned.

    Args:
        cfg: settings of the problems.
        split: ``train`` or ``heldout``; at most the first ``train_size`` or ``heldout_size`` problems.

    Raises:
        ProblemError: the problems cannot be loaded, or a row is malformed.
    """
    if split not in ("train", "heldout"):
        raise ProblemError(f"split: {split!r}; choose train or heldout")
    return _read(cfg, split)[: cfg.train_size if split == "train" else cfg.heldout_size]


def digest(problems: Sequence[Problem]) -> str:
    """Return 12 hex digits that identify the problems and their order."""
    content = json.dumps([(problem.text, problem.answer) for problem in problems])
    return hashlib.sha256(content.encode()).hexdigest()[:12]


def answers_taken(counts: Counter[str]) -> str:
    """Return how many answers were extracted from longer texts, as text."""
    how = ", ".join(f"{number} by {pattern}" for pattern, number in counts.most_common())
    return f"{counts.total()} gold answers were extracted from longer texts: {how}"


def _read(
    cfg: DataConfig, split: str, taken: Counter[str] | None = None, found: dict[str, str] | None = None
) -> list[Problem]:
    if cfg.kind in GENERATED:
        return generated(cfg, cfg.train_size if split == "train" else cfg.heldout_size, split)
    if split == "train":
        return _files_or_hub(cfg, cfg.train_path, "train_path", "data", taken, found)
    if cfg.heldout.benchmark:
        remedy = f"data.heldout.benchmark={cfg.heldout.benchmark}@FILE"
        return load_benchmark(heldout_benchmark(cfg.heldout), remedy, taken, found, group="data.heldout")
    return _files_or_hub(cfg.heldout, cfg.heldout_path, "heldout_path", "data.heldout", taken, found)


def _unwanted(text: str) -> list[Problem]:
    """Return the problems of a benchmark to decontaminate against; of files, only the text is read."""
    cfg = named_benchmark(text)
    remedy = f"data.clean.against=[{text}@FILE]"
    with named_by("data.clean.against"):
        return load_benchmark(cfg, remedy, texts_only=cfg.path is not None)


def _files_or_hub(
    cfg: HubConfig,
    path: str | None,
    name: str,
    group: str,
    taken: Counter[str] | None,
    found: dict[str, str] | None,
) -> list[Problem]:
    if path is not None:
        return read_problems(path, cfg.fields, group, taken, cfg.keep_prompt, found)
    if cfg.dataset is None:
        raise ProblemError(
            f"data.{name}=null: no problems are given; give a .jsonl or .parquet file, or {group}.dataset=ID"
        )
    rows = hub_rows(cfg, group, f"data.{name}=FILE")
    name = cfg.dataset.rpartition("/")[2]
    return read_rows(rows, cfg.fields, name, cfg.dataset, group, taken, cfg.keep_prompt, found)
