"""Training and held-out problems of a run, cleaned, with the report of what was taken out."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from rich.markup import escape

from src.config import DataConfig, FieldsConfig, HubConfig, named_benchmark
from src.problems.benchmarks import load_benchmark
from src.problems.clean import clean, removals
from src.problems.files import read_problems, read_rows
from src.problems.hub import hub_rows
from src.problems.mini import generate
from src.problems.problem import Problem, ProblemError


@dataclass(frozen=True)
class Data:
    """Problems of a run; ``report`` is what ``data.json`` holds, ``line`` what the console shows."""

    train: list[Problem]
    heldout: list[Problem]
    report: dict[str, Any]
    line: str


def load_data(cfg: DataConfig) -> Data:
    """Return training problems, cleaned if ``cfg.clean.enabled``, and held-out problems, as they are.

    Raises:
        ProblemError: they are not there, a row is malformed, too many gold answers cannot be graded, or
            cleaning leaves none.
    """
    taken: dict[str, Counter[str]] = {"train": Counter(), "heldout": Counter()}
    train, heldout = (_read(cfg, split, counts) for split, counts in taken.items())
    report: dict[str, Any] = {"clean": asdict(cfg.clean), "train": {"read": len(train)}}
    removed = ""
    if cfg.clean.enabled:
        against = {cfg.heldout_name: heldout}  # first: what is in several counts here
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
    report["answers_taken"] = {split: dict(counts) for split, counts in taken.items()}
    for split, counts in taken.items():
        if counts:
            line += f"\n{split}: {escape(answers_taken(counts))}"  # of a pattern, which may hold [...]
    return Data(train, heldout, report, line)


def load_problems(cfg: DataConfig, split: str) -> list[Problem]:
    """Return the problems of one split as they are read, not cleaned.

    Args:
        cfg: where they come from.
        split: ``train`` or ``heldout``; at most ``train_size`` or ``heldout_size`` of it, from the top.

    Raises:
        ProblemError: the settings ask for what is not there, or a row is malformed.
    """
    if split not in ("train", "heldout"):
        raise ProblemError(f"split: {split!r}; choose train or heldout")
    return _read(cfg, split)[: cfg.train_size if split == "train" else cfg.heldout_size]


def digest(problems: Sequence[Problem]) -> str:
    """Return 12 hex digits that tell whether two runs had the same problems in the same order."""
    content = json.dumps([(one.text, one.answer) for one in problems])
    return hashlib.sha256(content.encode()).hexdigest()[:12]


def answers_taken(counts: Counter[str]) -> str:
    """Return how many answers were taken out of longer texts, in words."""
    how = ", ".join(f"{number} by {pattern}" for pattern, number in counts.most_common())
    return f"{counts.total()} gold answers were taken out of longer texts: {how}"


def _read(cfg: DataConfig, split: str, taken: Counter[str] | None = None) -> list[Problem]:
    if cfg.kind == "mini":
        size = cfg.train_size if split == "train" else cfg.heldout_size
        return generate(size, cfg.seed, split, cfg.subjects, cfg.levels)
    if split == "train":
        return _files_or_hub(cfg, cfg.train_path, "train_path", "data", taken)
    if cfg.heldout.benchmark:
        remedy = f"data.heldout.benchmark={cfg.heldout.benchmark}@FILE"
        return load_benchmark(named_benchmark(cfg.heldout.benchmark), remedy, taken)
    return _files_or_hub(cfg.heldout, cfg.heldout_path, "heldout_path", "data.heldout", taken)


def _unwanted(text: str) -> list[Problem]:
    """The problems of a benchmark to clean against; of files the text is read only, which is all it takes."""
    cfg = named_benchmark(text)
    if cfg.path:
        cfg = replace(
            cfg, fields=FieldsConfig(text=cfg.fields.text, answer=cfg.fields.text, max_unreadable=1)
        )
    return load_benchmark(cfg, f"data.clean.against=[{text}@FILE]")


def _files_or_hub(
    cfg: HubConfig, path: str | None, name: str, group: str, taken: Counter[str] | None
) -> list[Problem]:
    if path is not None:
        return read_problems(path, cfg.fields, group, taken)
    if cfg.dataset is None:
        raise ProblemError(
            f"data.{name}: null; give a .jsonl or .parquet file, or {group}.dataset=ID of the hub"
        )
    rows = hub_rows(cfg, group, f"data.{name}=FILE")
    return read_rows(rows, cfg.fields, cfg.dataset.rpartition("/")[2], cfg.dataset, group, taken)
