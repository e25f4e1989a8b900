"""What cannot be replayed, and why."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from src.config import Config, ReplayConfig
from src.config.schema import ConfigError
from src.launch.checks import replay as checks
from src.replay.replay import Replay
from src.run.disk import write_json
from src.run.records import RecordError
from src.run.token_columns import SCHEMA, token_files
from tests.recorded_run import again, config, copied, load


class TestRefusals:
    @pytest.mark.parametrize(
        ("overrides", "message"),
        [
            (["trainer.steps=5"], "trainer.steps=5: in the update of a recorded step it cannot be changed"),
            (["trainer.minibatches=1"], "trainer.minibatches=1: .* choose from advantage"),
            (["trainer=cir"], "trainer=cir: .* give single values"),
            (["~trainer.loss_type"], "~trainer.loss_type: .* give a value instead"),
            (["trainer.clip_high=5"], "trainer.dual_clip=3"),
            (["trainer.loss_type=ppo"], "trainer.loss_type=ppo: choose"),
        ],
    )
    def test_of_settings(self, overrides: Sequence[str], message: str) -> None:
        with pytest.raises(ConfigError, match=message):
            checks.other_settings(config(), overrides)

    def test_of_runs(self, whole_run: tuple[Config, Path], tmp_path: Path) -> None:
        cfg, run = whole_run

        def fault(**records: Any) -> str:
            changed = asdict(cfg) | {"records": asdict(cfg.records) | records}
            write_json(tmp_path / "config.json", changed)
            return "".join(checks.faults(ReplayConfig(run=str(tmp_path), step=0), ""))

        assert "has no trajectories.jsonl" in "".join(
            checks.faults(ReplayConfig(run=str(tmp_path), step=0), "")
        )
        for name in ("trajectories.jsonl", "metrics.jsonl"):
            (tmp_path / name).write_bytes((run / name).read_bytes())
        assert fault() == ""
        assert "records.tokens=false" in fault(tokens=False)
        assert "records.token_share=0.5" in fault(token_share=0.5)
        given = ReplayConfig(run=str(tmp_path), step=0, rewards="nowhere")
        assert "rewards=nowhere: has no trajectories.jsonl" in "".join(checks.faults(given, ""))

    def test_of_steps(self, whole_run: tuple[Config, Path], tmp_path: Path) -> None:
        cfg, run = whole_run
        with pytest.raises(ConfigError, match=r"step=9: step 9 .* those from 0 to 2 are there"):
            again(cfg, run, 9)
        with pytest.raises(ConfigError, match=r"verify=true: .* no checkpoint after step 3"):
            again(cfg, run, 3, verify=True)
        copy = copied(run, tmp_path)
        path = token_files(copy)[1]
        pq.write_table(pq.read_table(path).replace_schema_metadata(SCHEMA.metadata), path)
        with pytest.raises(ConfigError, match=r"step=1: .* are older than their random generators"):
            again(cfg, copy, 1)

    def test_of_folders_of_runs(self, whole_run: tuple[Config, Path], tmp_path: Path) -> None:
        """Which have tokens and checkpoints of their own."""
        cfg, run = whole_run
        copy = copied(run, tmp_path)
        before = {path: path.stat().st_mtime_ns for path in copy.rglob("*")}
        for of in (run, copy):
            with pytest.raises(ConfigError, match=r"hydra.run.dir=.*: is the folder of a run"):
                Replay(cfg, of, copy, 1, load=load).run()
        assert {path: path.stat().st_mtime_ns for path in copy.rglob("*")} == before

    def test_of_logprobs_that_the_engine_did_not_give(self, whole_run: tuple[Config, Path]) -> None:
        cfg, run = whole_run
        other, _ = checks.other_settings(cfg, ["trainer.importance_sampling=token_mask"])
        with pytest.raises(ConfigError, match=r"trainer.importance_sampling=token_mask: .* gave no logprobs"):
            again(cfg, run, 1, other)

    def test_of_several_processes(self, whole_run: tuple[Config, Path], tmp_path: Path) -> None:
        cfg, run = whole_run
        copy = copied(run, tmp_path)
        path = token_files(copy)[1]
        table = pq.read_table(path)
        at = table.schema.get_field_index("process")
        ranks = pa.array([row % 2 for row in range(len(table))], pa.int32())
        pq.write_table(table.set_column(at, table.schema.field(at), ranks), path)
        with pytest.raises(RecordError, match="several processes"):
            again(cfg, copy, 1)
