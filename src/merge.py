"""``python -m src.merge 'folders=[runs/A,runs/B]'``: merges the shards of an evaluation."""

from __future__ import annotations

import json
import shutil
import sys
from collections import Counter, defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from src.config.schema import ConfigError, option
from src.launch.entry import entry
from src.launch.resumption import read_shards
from src.run.disk import write_json
from src.run.records import CONFIG, RECORDS, SUMMARY, RecordError, iter_records

_OF_THE_WHOLE = ("prompt", "fields_recognised", "long_prompts")


@dataclass
class MergeConfig:
    """Settings of a merge."""

    folders: list[str] = option("???", "folders of all shards of an evaluation")


def merge(folders: list[Path], out: Path) -> dict[str, Any]:
    """Write the records of all shards and their summary into ``out``; return the summary.

    Raises:
        ConfigError: a shard is missing, given twice, unfinished, or has other settings.
    """
    from src.experiment.evaluation.results import Results

    faults = _faults(folders)
    if (out / RECORDS).exists():
        faults.append(f"hydra.run.dir={out}: already has trajectories; choose another folder")
    if faults:
        raise ConfigError(*faults)
    summaries = [json.loads((folder / SUMMARY).read_text()) for folder in folders]
    out.mkdir(parents=True, exist_ok=True)
    partial = out / f"{RECORDS}.partial"
    with partial.open("wb") as merged:
        for folder in folders:
            with (folder / RECORDS).open("rb") as records:
                shutil.copyfileobj(records, merged)
    results: dict[str, Results] = defaultdict(Results)
    seen: Counter[tuple[str, str, int]] = Counter()
    for record in iter_records(partial):
        results[record.mode].add(record)
        seen[record.mode, record.problem_id, record.sample] += 1
    twice = [key for key, number in seen.items() if number > 1]
    if twice:
        partial.unlink()
        raise ConfigError(
            f"folders: {len(twice)} trajectories are in more than one of them, such as {twice[0]}"
        )
    partial.replace(out / RECORDS)
    shutil.copy(folders[0] / CONFIG, out / CONFIG)
    summary = {
        "settings": summaries[0]["settings"] | {"shard": None, "merged": [str(folder) for folder in folders]},
        # every shard checks the prompts of the whole benchmark
        **{name: summaries[0][name] for name in _OF_THE_WHOLE if name in summaries[0]},
        "results": {mode: found.summary() for mode, found in results.items()},
        "wall_seconds": max(one["wall_seconds"] for one in summaries),
    }
    write_json(out / SUMMARY, summary)
    return summary


def _faults(folders: list[Path]) -> list[str]:
    if not folders:
        return ["folders=[]: no folder is given; give folders=[runs/A,runs/B], one per shard"]
    missing = [folder for folder in folders if not (folder / SUMMARY).is_file()]
    if missing:
        return [f"folders: {folder} has no {SUMMARY}: its evaluation is not finished" for folder in missing]
    configs, faults = read_shards(folders)
    shards = [config["evaluate"]["shard"] for config in configs]
    number = len(shards)
    if sorted(map(str, shards)) != sorted(f"{index}/{number}" for index in range(number)):
        faults.append(f"folders: these are the shards {', '.join(map(str, shards))}; give each shard once")
    return faults


@entry("merge", MergeConfig, alone=True)
def main(cfg: MergeConfig, run_dir: Path) -> None:
    """Merge, and print the result."""
    from src.run.console import comparison, console

    try:
        summary = merge([Path(one).expanduser() for one in cfg.folders], run_dir)
    except RecordError as error:
        sys.exit(str(error))
    console.print(comparison({"accuracy": summary["results"]}))
    console.print(f"{run_dir / SUMMARY}")


if __name__ == "__main__":
    main()
