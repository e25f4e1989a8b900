"""Writes the records of a run that were graded again, with summaries, into a folder of their own."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from src.config import RewardConfig
from src.config.schema import ConfigError
from src.experiment.evaluation.results import Results
from src.experiment.regrading import Regraded, Regrader, reason
from src.launch.checks.regrade import recorded
from src.run import evaluations, provenance
from src.run.disk import write_json
from src.run.records import CONFIG, RECORDS, SUMMARY, LineWriter, iter_records, superseded

FLIPS = "flips.jsonl"
_TRAIN = "train"
_BATCH = 500  # lines that are written at once


class RegradedFolder:
    """The folder of the new records; its files have the names and places of the run's.

    Args:
        run: folder of the run.
        out: the new folder.
        reward: settings of the new grades.

    Attributes:
        config: settings of the run.

    Raises:
        ConfigError: ``out`` has records already.
    """

    def __init__(self, run: Path, out: Path, reward: RewardConfig) -> None:
        if out.resolve() == run.resolve() or (out / RECORDS).exists():
            raise ConfigError(
                f"hydra.run.dir={out}: already has trajectories, and none are overwritten; choose another "
                "folder"
            )
        self._run, self._out, self._after = run, out, reward
        self.config, self._before = recorded(run)
        self._counts: dict[tuple[str, str, int | None, str], _Counts] = defaultdict(_Counts)
        self._results: dict[tuple[str, str, int], dict[str, Results]] = defaultdict(
            lambda: defaultdict(Results)
        )  # by file, phase and step; then by mode

    @property
    def changes(self) -> dict[str, tuple[Any, Any]]:
        """The settings of the reward that differ: dotted name -> (of the run, new)."""
        return provenance.changes(asdict(self._before), asdict(self._after), "reward")

    def write(self, regrader: Regrader) -> dict[str, Any]:
        """Grade every record of the run and of its evaluations on the way; return the summary.

        Raises:
            RecordError: a file has something else than records.
            GraderError: the grading processes cannot be started.
        """
        self._out.mkdir(parents=True, exist_ok=True)
        with LineWriter(self._out / FLIPS) as flips:
            for file in record_files(self._run):
                self._write_file(file, regrader, flips)
        write_json(self._out / CONFIG, _read(self._run / CONFIG) | {"reward": asdict(self._after)})
        return self._summarise()

    def _write_file(self, file: str, regrader: Regrader, flips: LineWriter) -> None:
        source, target = self._run / file, self._out / file
        partial = target.with_suffix(".partial")
        partial.unlink(missing_ok=True)
        old = iter(superseded(source))
        with LineWriter(partial) as writer:
            rows: list[dict[str, Any]] = []
            for one in regrader.stream(iter_records(source)):
                rows.append(asdict(one.new))
                if len(rows) == _BATCH:
                    writer.write(rows)
                    rows = []
                if not next(old):
                    self._add(file, one, flips)
            writer.write(rows)
        partial.replace(target)

    def _add(self, file: str, one: Regraded, flips: LineWriter) -> None:
        new = one.new
        step = None if new.phase == _TRAIN else new.step  # of the evaluated policy
        self._counts[file, new.phase, step, new.mode].add(one)
        if new.phase != _TRAIN:
            self._results[file, new.phase, new.step][new.mode].add(new)
        if one.changed:
            flips.write([self._flip(file, one)])

    def _flip(self, file: str, one: Regraded) -> dict[str, Any]:
        old, new = one.old, one.new
        names = ("phase", "mode", "step", "attempt", "problem_id", "sample", "gold")
        pairs = ("answer", "correct", "correct_lenient", "grading_failure", "rewards")
        return {
            "file": file,
            **{name: getattr(new, name) for name in names},
            "changed": one.changed,
            "reason": reason(one, self._before, self._after),
            **{name: [getattr(old, name), getattr(new, name)] for name in pairs},
        }

    def _summarise(self) -> dict[str, Any]:
        """Write summary.json, and those of the evaluations on the way; return the first."""
        groups = [
            {"file": file, "phase": phase, "step": step, "mode": mode, **counts.json()}
            for (file, phase, step, mode), counts in self._counts.items()
        ]
        phases = {
            phase: {mode: found.summary() for mode, found in modes.items()}
            for (file, phase, _), modes in self._results.items()
            if file == RECORDS
        }
        at_step = {  # held-out problems before and after training
            step: {mode: found.summary() for mode, found in modes.items()}
            for (file, _, step), modes in self._results.items()
            if file == RECORDS
        }
        origin = _read(self._run / SUMMARY)
        settings = origin.get("settings", {}) | {
            "regraded": str(self._run),
            "commit": provenance.commit(),
            "commit_of_samples": origin.get("settings", {}).get("commit"),
            "reward": asdict(self._after),
        }
        summary = {
            "settings": settings,
            "changed_settings": {name: list(values) for name, values in self.changes.items()},
            "groups": groups,
            **({"results": phases["evaluate"]} if "evaluate" in phases else phases),
        }
        for file in self._run.glob(f"{evaluations.FOLDER}/{evaluations.PREFIX}*/*/{SUMMARY}"):
            found, place = _read(file), file.relative_to(self._run)
            key = (str(place.with_name(RECORDS)), "evaluate", int(found["step"]))
            results = (
                {mode: one.summary() for mode, one in self._results[key].items()}
                if key in self._results
                else at_step.get(found["step"])
            )
            if results is not None:
                (self._out / place).parent.mkdir(parents=True, exist_ok=True)
                write_json(self._out / place, found | {"settings": settings, "results": results})
        write_json(self._out / SUMMARY, summary)
        return summary


class _Counts:
    """What has changed in one file, phase and mode."""

    def __init__(self) -> None:
        self._n = self._scored = 0
        self._correct, self._reward = [0, 0], [0.0, 0.0]
        self._found = {"to_correct": 0, "to_wrong": 0, "answers": 0, "lenient": 0, "rewards": 0}

    def add(self, one: Regraded) -> None:
        """Count a record; those that were lost to the infrastructure are in no accuracy."""
        old, new, changed = one.old, one.new, one.changed
        if new.stop_reason != "infrastructure":
            self._n += 1
            for index, record in enumerate((old, new)):
                self._correct[index] += record.correct
        if old.rewards is not None and new.rewards is not None:
            self._scored += 1
            for index, rewards in enumerate((old.rewards, new.rewards)):
                self._reward[index] += rewards["total"]
            self._found["rewards"] += old.rewards["total"] != new.rewards["total"]
        self._found["to_correct"] += new.correct and not old.correct
        self._found["to_wrong"] += old.correct and not new.correct
        self._found["answers"] += "answer" in changed
        self._found["lenient"] += "correct_lenient" in changed

    def json(self) -> dict[str, Any]:
        """Return the counts, and accuracy and mean reward before and after."""
        return {
            "n": self._n,
            "accuracy": [count / self._n for count in self._correct] if self._n else [None, None],
            "reward": [total / self._scored for total in self._reward] if self._scored else [None, None],
            "changed": self._found,
        }


def record_files(run: Path) -> list[str]:
    """Return the places of a run's records in its folder: its own, and its evaluations' on the way."""
    found = run.glob(f"{evaluations.FOLDER}/{evaluations.PREFIX}*/*/{RECORDS}")
    return [RECORDS, *sorted(str(file.relative_to(run)) for file in found)]


def read_flips(out: Path) -> Iterator[dict[str, Any]]:
    """Yield the flips that were written, in order."""
    with (out / FLIPS).open(encoding="utf-8") as file:
        yield from map(json.loads, file)


def _read(file: Path) -> dict[str, Any]:
    return dict(json.loads(file.read_text())) if file.is_file() else {}
