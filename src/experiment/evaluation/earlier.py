"""What an evaluation that was interrupted has left: its trajectories, which are not sampled again."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

from src.config.schema import ConfigError
from src.experiment.evaluation.results import Results
from src.run.disk import sync
from src.run.records import iter_records, parse_record


class Earlier:
    """The trajectories that earlier processes of the same evaluation have recorded, by mode.

    Attributes:
        done: problem id and sample of each trajectory.
        results: aggregated over them.

    Raises:
        ConfigError: they were sampled without a random stream per trajectory, so resuming is biased.
    """

    def __init__(self, file: Path, temperature: float) -> None:
        self.done: dict[str, set[tuple[str, int]]] = defaultdict(set)
        self.results: dict[str, Results] = defaultdict(Results)
        if not file.exists():
            return
        for record in iter_records(file):
            if record.seed is None and temperature > 0:
                raise ConfigError(
                    f"{file}: an older version started this evaluation; resuming would resample its "
                    "unfinished trajectories with other random numbers and favour those that end early; "
                    "evaluate again in another folder (hydra.run.dir)"
                )
            self.done[record.mode].add((record.problem_id, record.sample))
            self.results[record.mode].add(record)


def drop_lost(path: Path) -> None:
    """Remove trajectories lost to the infrastructure from a file, atomically, so that they are sampled again.

    Raises:
        RecordError: see :func:`iter_records`.
    """
    if not path.exists() or all(record.stop_reason != "infrastructure" for record in iter_records(path)):
        return
    partial = path.with_suffix(".partial")
    with path.open("rb") as old, partial.open("wb") as new:
        for line in old:
            text = line.decode("utf-8", errors="replace")
            if line.endswith(b"\n") and parse_record(text, str(path)).stop_reason != "infrastructure":
                new.write(line)
    sync(partial)
    partial.replace(path)
