"""Files of a run that are logged with it, ``tracking.artifacts``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from src.run import checkpoints
from src.run.records import CONFIG, METRICS, RECORDS, SUMMARY

# Patterns in the folder of a run, by kind; what a run does not have is left out.
_PATTERNS: Mapping[str, Sequence[str]] = MappingProxyType(
    {
        "results": (
            *(SUMMARY, CONFIG, METRICS, "data.json", "machine.json", "packages.txt", "difference.patch"),
            *(".hydra*/*.yaml", "evaluations/*/*/summary.json"),
        ),
        "trajectories": (RECORDS, f"evaluations/*/*/{RECORDS}"),
        "tokens": ("tokens/*.parquet",),
    }
)
CHECKPOINT = "checkpoint"


@dataclass(frozen=True)
class Artifact:
    """Files that belong together.

    Attributes:
        kind: of the content, W&B's type of the artifact.
        name: without the run.
        files: by their name in the artifact.
        fixed: whether they will never change, so that no copy is needed until they are uploaded.
    """

    kind: str
    name: str
    files: Mapping[str, Path]
    fixed: bool = False


def of_run(run_dir: Path, kinds: Sequence[str]) -> list[Artifact]:
    """Return the artifacts of a finished run, without empty ones.

    Args:
        run_dir: its folder.
        kinds: ``results``, ``trajectories``, ``tokens``, ``checkpoint`` (the last one).
    """
    found = []
    for kind in kinds:
        if kind == CHECKPOINT:
            for last in checkpoints.complete(run_dir / "checkpoints")[-1:]:
                files = [path for path in last.rglob("*") if path.is_file()]
                found.append(Artifact("model", kind, _named(last, files), fixed=True))
            continue
        files = [path for pattern in _PATTERNS[kind] for path in sorted(run_dir.glob(pattern))]
        if files:
            found.append(Artifact(kind, kind, _named(run_dir, files)))
    return found


def _named(folder: Path, files: Sequence[Path]) -> dict[str, Path]:
    return {path.relative_to(folder).as_posix(): path for path in files}
