"""``python -m experiments.repeatable.check FIRST SECOND``: does the same seed give the same trajectories?

Compares two runs' trajectories.jsonl (sampled text, executions, answer, rewards) and metrics.jsonl bit by
bit, except times and the attempt: a killed and resumed run can be compared with an uninterrupted one. Prints
how much is equal and the first difference; exits with code 1 if there is one.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict
from itertools import zip_longest
from pathlib import Path
from typing import Any, NamedTuple

from src.run.records import RecordError, TrajectoryRecord, read_metrics, read_records

_PHASES = ("before", "train", "after")
# Times, and what depends on them: how many sequences were under way, how long programs waited.
_TIMED = ("seconds/", "wall_seconds", "engine/", "sandbox/", "attempt")
_LATER = ("prompt", "group")  # which older records lack
_SHOWN = 60  # characters of a text, from where it differs on


class Place(NamedTuple):
    """Which trajectory of a run it is, in the run's order; ``again`` counts those of one sample index."""

    step: int
    phase: int
    mode: str
    problem_id: str
    sample: int
    again: int


def compare(run: Path, other: Path) -> tuple[str, str | None]:
    """Return how much of two runs is the same, and the first difference, None if there is none.

    Raises:
        RecordError: a folder has no trajectories, or a line that is none.
    """
    ours, theirs = trajectories(run), trajectories(other)
    places = sorted(ours.keys() | theirs.keys())
    found = {place: difference(ours.get(place), theirs.get(place)) for place in places}
    first = next((f"{_named((ours | theirs)[place])}: {one}" for place, one in found.items() if one), None)
    nothing: dict[str, Any] = {}  # of a step that one of them has not made
    rows = list(zip_longest(metrics(run), metrics(other), fillvalue=nothing))
    unlike = [list(_unlike(one, two)) for one, two in rows]
    if first is None and any(unlike):
        step = next(number for number, names in enumerate(unlike) if names)
        name = unlike[step][0]
        first = f"metrics of step {step}: {name} is {rows[step][0].get(name)} and {rows[step][1].get(name)}"
    same = f"{sum(one is None for one in found.values())} of {len(places)} trajectories"
    return f"{same} and the metrics of {unlike.count([])} of {len(rows)} steps are the same", first


def trajectories(run: Path) -> dict[Place, TrajectoryRecord]:
    """Return a run's trajectories by their place; those of one sample index in the order of the file."""
    file = run / "trajectories.jsonl"
    records = read_records(file) if file.is_file() else []
    if not records:
        raise RecordError(f"{file}: there are no trajectories; give the folder of a run")
    found: dict[Place, TrajectoryRecord] = {}
    times: Counter[tuple[Any, ...]] = Counter()
    for one in records:
        phase = _PHASES.index(one.phase) if one.phase in _PHASES else len(_PHASES)
        at = (one.step, phase, one.mode, one.problem_id, one.sample)
        found[Place(*at, times[at])] = one
        times[at] += 1
    return found


def metrics(run: Path) -> list[dict[str, Any]]:
    """Return the metrics of a run's steps that are no matter of time."""
    rows = read_metrics(run / "metrics.jsonl")
    return [{name: value for name, value in row.items() if not name.startswith(_TIMED)} for row in rows]


def difference(one: TrajectoryRecord | None, two: TrajectoryRecord | None) -> str | None:
    """Return the first of what two trajectories differ in; None if they are the same but for times."""
    if one is None or two is None:
        return f"only in the {'first' if two is None else 'second'} run"
    ours, theirs = _said(one), _said(two)
    for name in _LATER:
        if None in (ours[name], theirs[name]):
            del ours[name], theirs[name]
    for name in _unlike(ours, theirs):
        return f"{name} differ from character {_from(*(_shown(record, name) for record in (one, two)))}"
    return None


def _said(record: TrajectoryRecord) -> dict[str, Any]:
    """Everything but times, the attempt and what older records lack; what was sampled comes first."""
    data = {"segments": None, "executions": None} | asdict(record)
    del data["attempt"], data["version"]
    data["segments"] = [(one.author, one.text, one.tokens) for one in record.segments]
    data["executions"] = [(one.status, one.error) for one in record.executions]
    return data


def _unlike(one: dict[str, Any], two: dict[str, Any]) -> Iterator[str]:
    """Yield the names of the values that differ; nan is like nan."""
    for name in one | two:
        if name not in one or name not in two or repr(one[name]) != repr(two[name]):
            yield name


def _shown(record: TrajectoryRecord, name: str) -> str:
    if name == "segments":
        return "".join(f"<{segment.author} {segment.tokens}>{segment.text}" for segment in record.segments)
    return str(_said(record)[name])


def _from(one: str, two: str) -> str:
    """Return where two texts part, and how each goes on from a little before."""
    at = next((n for n, (a, b) in enumerate(zip(one, two, strict=False)) if a != b), min(len(one), len(two)))
    start = max(0, at - _SHOWN // 2)
    shown = (json.dumps(text[start : start + _SHOWN], ensure_ascii=False) for text in (one, two))
    return f"{at} on: {' and '.join(shown)}"


def _named(record: TrajectoryRecord) -> str:
    return (
        f"step {record.step}, {record.phase}, mode {record.mode}, problem {record.problem_id} "
        f"({json.dumps(record.problem, ensure_ascii=False)}), sample {record.sample}"
    )


def main() -> None:
    """Parse the arguments, compare, exit."""
    parser = argparse.ArgumentParser(description="comparison of two runs, trajectory by trajectory")
    parser.add_argument("run", type=Path)
    parser.add_argument("other", type=Path)
    arguments = parser.parse_args()
    try:
        same, first = compare(arguments.run, arguments.other)
    except RecordError as error:
        sys.exit(str(error))
    print(same)
    if first is not None:
        sys.exit(first)


if __name__ == "__main__":
    main()
