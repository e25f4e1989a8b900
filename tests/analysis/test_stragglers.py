"""Trajectories that a time limit ended are counted in every table of arms, and shown where there are any."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest

from src.run.records import RecordWriter
from tests.analysis.test_scripts import run
from tests.run.test_records import RECORD

LATE = {"base": [("p0", 0), ("p0", 2), ("p3", 1)], "rl": []}


def write(folder: Path, late: list[tuple[str, int]], straggler: bool | None) -> Path:
    """Four problems of two subjects, three trajectories each."""
    with RecordWriter(folder / "trajectories.jsonl") as writer:
        writer.write_records(
            [
                replace(
                    RECORD, phase="after", problem_id=f"p{i}", sample=sample, correct=(i + sample) % 2 == 0,
                    subject="Algebra" if i < 2 else "Geometry",
                    straggler=True if (f"p{i}", sample) in late else straggler,
                )
                for i in range(4) for sample in range(3)
            ]
        )  # fmt: skip
    return folder


@pytest.mark.parametrize("name", ["pass_at_k", "token_efficiency", "subjects", "compare"])
def test_each_arm_has_its_stragglers(name: str, tmp_path: Path) -> None:
    folders = {one: write(tmp_path / one, late, straggler=None) for one, late in LATE.items()}
    given = f"policies={{base: {folders['base']}, rl: {folders['rl']}}}"
    done = run(name, given, "resamples=100", f"hydra.run.dir={tmp_path}/out")
    assert done.returncode == 0, done.stderr
    assert "stragglers" in done.stdout
    table = pl.read_csv(tmp_path / "out" / f"{name}.csv")
    content = json.loads((tmp_path / "out" / f"{name}.json").read_text())["results"]
    if name == "compare":
        assert table.select("first_stragglers", "second_stragglers").rows() == [(3, 0)]
        assert (content["free"]["first_stragglers"], content["free"]["second_stragglers"]) == (3, 0)
        return
    if name == "subjects":
        rows = content["accuracies"]
        assert {(r["arm"], r["name"]): r["stragglers"] for r in rows} == {
            ("base_free", "all"): 3, ("base_free", "Algebra"): 2, ("base_free", "Geometry"): 1,
            ("rl_free", "all"): 0, ("rl_free", "Algebra"): 0, ("rl_free", "Geometry"): 0,
        } | {(arm, str(RECORD.level)): n for arm, n in (("base_free", 3), ("rl_free", 0))}  # fmt: skip
        table = table.filter(pl.col("name") == "all")
    elif name == "pass_at_k":
        assert content["stragglers"] == {"base_free": 3, "rl_free": 0}
    else:
        assert {(r["arm"], r["stragglers"]) for r in content["costs"]} == {("base_free", 3), ("rl_free", 0)}
    assert set(table.select("arm", "stragglers").rows()) == {("base_free", 3), ("rl_free", 0)}


@pytest.mark.parametrize("name", ["pass_at_k", "token_efficiency", "subjects", "compare"])
def test_where_there_are_none_nothing_is_shown(name: str, tmp_path: Path) -> None:
    folders = [write(tmp_path / one, [], straggler=False) for one in LATE]
    given = f"policies={{base: {folders[0]}, rl: {folders[1]}}}"
    done = run(name, given, "resamples=100", f"hydra.run.dir={tmp_path}/out")
    assert done.returncode == 0, done.stderr
    assert "straggler" not in done.stdout
