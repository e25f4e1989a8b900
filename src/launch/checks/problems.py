"""Checks of data and benchmarks."""

from __future__ import annotations

import difflib
import re
from pathlib import Path
from typing import Any

from src import config as c
from src.config.named import sampling_of
from src.config.schema import ConfigError, show, wrong_choice
from src.launch.checks.sampling import repeats


def data(cfg: c.DataConfig, at: str) -> list[str]:
    """Return the faults of training and held-out problems."""
    paths = {f"{at}train_path": cfg.train_path, f"{at}heldout_path": cfg.heldout_path}
    held = {
        f"{at}heldout_path": cfg.heldout_path,
        f"{at}heldout.benchmark": cfg.heldout.benchmark,
        f"{at}heldout.dataset": cfg.heldout.dataset,
    }
    faults = []
    if cfg.kind in c.GENERATED:
        faults += [
            f"{name}={path}: problem files need {at}kind=file; choose data=file, or leave {name} null"
            for name, path in paths.items()
            if path is not None
        ]
        faults += [
            f"{name}={value}: the {cfg.kind} family is generated; choose data=hub, or leave {name} null"
            for name, value in (held | {f"{at}dataset": cfg.dataset}).items()
            if value is not None and name not in paths
        ]
        faults += _choices(f"{at}subjects", cfg.subjects, c.SUBJECTS)
        faults += _choices(f"{at}levels", cfg.levels, c.LEVELS)
        return faults + _named(cfg, at)
    for name, path in paths.items():
        if path is not None:
            faults += _problem_file(name, path)
    given = [name for name, value in held.items() if value is not None]
    if not given:
        faults.append(
            f"{at}heldout_path=null: {at}kind={cfg.kind} needs it; give {at}heldout_path=FILE, JSON Lines or "
            f"Parquet, {at}heldout.benchmark=math500, or {at}heldout.dataset=ID of the hub"
        )
    if len(given) > 1:
        faults.append(f"{' and '.join(given)}: each sets the held-out problems; leave all but one null")
    if cfg.kind == "file" and cfg.dataset is not None:
        faults.append(f"{at}dataset={cfg.dataset}: only {at}kind=hub reads it; choose data=hub")
    if cfg.kind == "hub" and cfg.dataset is None and cfg.train_path is None:
        faults.append(f"{at}dataset=null: {at}kind=hub needs a data set's id, or {at}train_path=FILE")
    faults += _pattern(cfg.fields, f"{at}fields.") + _pattern(cfg.heldout.fields, f"{at}heldout.fields.")
    return faults + _named(cfg, at) + _generated_only(cfg, at, "data.kind=mini or worded")


def _pattern(fields: c.FieldsConfig, at: str) -> list[str]:
    """Return the fault of an answer pattern, which must have exactly one group."""
    if fields.answer_pattern is None:
        return []
    try:
        groups = re.compile(fields.answer_pattern).groups
    except re.error as error:
        fault = f"not a regular expression of Python ({error})"
    else:
        if groups == 1:
            return []
        fault = f"it has {groups} groups"
    return [
        f"{at}answer_pattern={show(fields.answer_pattern)}: {fault}; give a pattern with one group around "
        "the answer, such as 'Answer: (.+)', or null"
    ]


def _named(cfg: c.DataConfig, at: str) -> list[str]:
    """Return the faults of the named benchmarks: held out, or for decontamination."""
    names = {f"{at}clean.against[{index}]": text for index, text in enumerate(cfg.clean.against)}
    if cfg.heldout.benchmark is not None:
        names[f"{at}heldout.benchmark"] = cfg.heldout.benchmark
    return [fault for name, text in names.items() for fault in _benchmark_of(name, text)]


def _benchmark_of(name: str, text: str) -> list[str]:
    """Return the faults of a benchmark that the setting ``name`` names by ``text``."""
    try:
        found = c.named_benchmark(text)
    except ConfigError as error:
        return [error.faults[0].replace("benchmark=", f"{name}=", 1)]
    if found.path is not None and found.kind in c.GENERATED:
        return [f"{name}={text}: the {found.kind} family is generated; remove @{found.path}"]
    if found.path is not None:
        return _problem_file(name, found.path)
    if found.kind not in c.GENERATED and found.dataset is None:
        return [f"{name}={text}: this option has no problems; give {text}@FILE"]
    return []


def periodic(cfg: c.EvaluateConfig, at: str) -> list[str]:
    """Return the faults of the benchmarks that a training run is evaluated on."""
    faults: list[str] = []
    names: dict[str, str] = {}  # of the benchmark -> its setting
    for index, given in enumerate(cfg.benchmarks):
        here = f"{at}benchmarks[{index}]"
        wrong = _benchmark_of(f"{here}.benchmark", given.benchmark)
        faults += wrong
        if wrong:
            continue
        name = c.named_benchmark(given.benchmark).name
        if name in names:
            faults.append(
                f"{here}.benchmark={given.benchmark}: {names[name]} has the same name, {name}; give each once"
            )
        names[name] = here
        own = sampling_of(given.benchmark)
        k = given.k or own.get("k", cfg.k)
        heat = own.get("temperature", cfg.temperature) if given.temperature is None else given.temperature
        faults += repeats(k, heat, f"{here}.")
        modes = given.modes or []
        if len(set(modes)) < len(modes) or given.modes == []:
            faults.append(f"{here}.modes={show(given.modes)}: give each mode once, or null for {at}modes")
    return faults


def benchmark(cfg: c.BenchmarkConfig, at: str) -> list[str]:
    """Return the faults of a benchmark."""
    faults = []
    if cfg.kind == "file" and cfg.path is None:
        faults.append(f"{at}path=null: benchmark=file needs it; give {at}path=FILE, JSON Lines or Parquet")
    elif cfg.path is not None:
        faults += _problem_file(f"{at}path", cfg.path)
    if cfg.kind == "hub" and not (cfg.dataset or cfg.path):
        faults.append(f"{at}dataset=null: {at}kind=hub needs a data set's id, or {at}path=FILE")
    if cfg.kind in c.GENERATED and cfg.path is not None:
        faults.append(f"{at}path={cfg.path}: the {cfg.kind} family is generated; choose benchmark=file")
    if cfg.kind == "worded" and cfg.split not in c.WORDED_SPLITS:
        faults.append(wrong_choice(f"{at}split", cfg.split, c.WORDED_SPLITS))
    if cfg.kind in c.GENERATED:
        faults += _choices(f"{at}subjects", cfg.subjects, c.SUBJECTS)
        faults += _choices(f"{at}levels", cfg.levels, c.LEVELS)
    else:
        faults += _generated_only(cfg, at, "benchmark=mini or worded")
    return faults + _pattern(cfg.fields, f"{at}fields.")


def _problem_file(name: str, path: str) -> list[str]:
    file = Path(path).expanduser()
    if file.is_file():
        return []
    remedy = nearby(file) or "give a JSON Lines or Parquet file"
    return [f"{name}={path}: this file does not exist (paths are relative to {Path.cwd()}); {remedy}"]


def _generated_only(cfg: c.DataConfig | c.BenchmarkConfig, at: str, taker: str) -> list[str]:
    return [
        f"{at}{name}={show(chosen)}: only for {taker}; leave it null"
        for name, chosen in {"subjects": cfg.subjects, "levels": cfg.levels}.items()
        if chosen is not None
    ]


def _choices(name: str, chosen: list[Any] | None, choices: Any) -> list[str]:
    """Return the faults of a list of subjects or levels of generated problems."""
    if chosen == []:
        return [f"{name}=[]: no problem is left; name some, or give null for all"]
    return [
        wrong_choice(f"{name}[{index}]", choice, choices)
        for index, choice in enumerate(chosen or [])
        if choice not in choices
    ]


def nearby(path: Path) -> str:
    """Return ``did you mean PATH?`` for a similar name in the same folder, or an empty string."""
    names = [sibling.name for sibling in path.parent.iterdir()] if path.parent.is_dir() else []
    near = difflib.get_close_matches(path.name, names, n=1)
    return f"did you mean {path.parent / near[0]}?" if near else ""
