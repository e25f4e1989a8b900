"""What a process alone does where several would talk, and what is refused before they hang."""

from __future__ import annotations

from pathlib import Path

import pytest
from accelerate.commands.config.config_args import load_config_from_file
from accelerate.utils import DistributedType

from src.config.paths import ROOT
from src.config.schema import ConfigError
from src.rollout.metrics import over_ranks, summarise
from src.run.processes import Ranks
from src.run.records import RankWriter, read_records
from tests import tiny
from tests.trainer.test_dynamic_sampling import PROBLEMS, record

RECORDS = [record(PROBLEMS[i], 0, float(i)) for i in range(3)]


def test_alone_everything_is_local() -> None:
    with Ranks() as ranks:
        assert (ranks.world, ranks.rank, ranks.first) == (1, 0, True)
        assert ranks.gather(3) == ranks.gather_to_first(3) == [3]
        assert ranks.broadcast("x") == "x"
        assert (ranks.any(True), ranks.any(False)) == (True, False)
        assert list(ranks.shard([1, 2, 3])) == [1, 2, 3]


class Two(Ranks):
    """One of two processes, without the other: what it says comes back, beside what the other said."""

    def __init__(self, rank: int, other: object) -> None:
        self.world, self.rank, self._other = 2, rank, other

    def gather(self, value):  # type: ignore[no-untyped-def]
        return [value, self._other] if self.rank == 0 else [self._other, value]

    def gather_to_first(self, value):  # type: ignore[no-untyped-def]
        return self.gather(value) if self.first else []

    def wait(self) -> None: ...


def test_records_of_all_come_into_one_file(tmp_path: Path) -> None:
    path = tmp_path / "trajectories.jsonl"
    with RankWriter(path, Two(0, RECORDS[1:])) as first:
        first.write_records(RECORDS[:1])
        first.share()
    assert read_records(path) == RECORDS


def test_what_was_not_handed_over_stays_in_a_file_of_its_own(tmp_path: Path) -> None:
    own = tmp_path / "trajectories-process-1.jsonl"
    with RankWriter(tmp_path / "trajectories.jsonl", Two(1, [])) as second:
        second.write_records(RECORDS[:1])
        assert read_records(own) == RECORDS[:1]
        second.share()
        assert own.read_text() == ""
        second.write_records(RECORDS[1:])
    assert read_records(own) == RECORDS[1:]
    with RankWriter(tmp_path / "trajectories.jsonl", Two(1, [])) as second:
        second.share()
    assert not own.exists()


def test_metrics_are_those_of_all_records() -> None:
    from src.rollout.metrics import Tally

    other = Tally()
    for one in RECORDS[1:]:
        other.add(one)
    assert summarise(RECORDS[:1], Two(0, other)) == summarise(RECORDS)
    assert summarise(RECORDS)["reward"] == 1.0


def test_times_are_means_percentiles_the_largest_and_counts_sums() -> None:
    numbers = [
        {"seconds/generation": 1.0, "sandbox/p95_seconds": 2.0, "sandbox/executions": 3.0},
        {"seconds/generation": 3.0, "sandbox/p95_seconds": 1.0, "sandbox/executions": 5.0},
    ]
    assert over_ranks(numbers) == {
        "seconds/generation": 2.0,
        "sandbox/p95_seconds": 2.0,
        "sandbox/executions": 8.0,
    }
    assert over_ranks(numbers[:1]) == numbers[0]


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("ddp", DistributedType.MULTI_GPU),
        ("fsdp2", DistributedType.FSDP),
        ("zero3", DistributedType.DEEPSPEED),
    ],
)
def test_launcher_configurations_are_read_by_the_launcher(name: str, kind: DistributedType) -> None:
    config = load_config_from_file(str(ROOT / "conf" / "accelerate" / f"{name}.yaml"))
    assert config.distributed_type == kind
    assert config.mixed_precision == "no", "trainer.autocast decides"
    if name == "fsdp2":
        assert config.fsdp_config["fsdp_version"] == 2
        assert config.fsdp_config["fsdp_state_dict_type"] == "FULL_STATE_DICT"
    if name == "zero3":
        assert config.deepspeed_config["zero_stage"] == 3


def test_sampling_from_the_parts_of_zero3_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("src.trainer.cir_trainer.is_deepspeed_zero3_enabled", lambda: True)
    with pytest.raises(ConfigError, match=r"engine.kind=transformers: DeepSpeed ZeRO-3.*engine=vllm"):
        tiny.trainer(tiny.config(), tmp_path)


def test_fewer_problems_than_a_step_takes_are_refused(tmp_path: Path) -> None:
    from src.problems import ProblemError

    with pytest.raises(ProblemError, match=r"1 training problems are fewer than the 2 of one rollout step"):
        tiny.trainer(tiny.config(), tmp_path, problems=1)
