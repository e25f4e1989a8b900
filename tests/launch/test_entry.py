"""Real commands with mistakes in them, and a small program that starts the way ``src.train`` does."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.shop import Shop, one_message


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    return Shop(tmp_path)


MISTAKES = {
    "mistyped key": (["trainer.stepz=5"], ["trainer.stepz=5", "mean trainer.steps?"]),
    "unknown key, added": (["+trainer.zzz=5"], ["trainer.zzz=5", "the keys of trainer are steps"]),
    "key without its group": (["learning_rate=0.1"], ["learning_rate=0.1", "mean trainer.learning_rate?"]),
    "mistyped key in an experiment": (["+experiment=typo"], ["trainer.stepz=5", "mean trainer.steps?"]),
    "unreadable experiment": (["+experiment=broken"], ["broken.yaml, line 4", "not valid YAML"]),
    "unknown experiment": (["+experiment=minni"], ["experiment=minni", "did you mean mini?"]),
    "unknown option": (["engine=transfomers"], ["engine=transfomers", "did you mean transformers?"]),
    "unknown group": (["engin=transformers"], ["engin=transformers", "did you mean engine?"]),
    "no override at all": (["trainer.steps"], ["trainer.steps", "KEY=VALUE"]),
    "wrong type": (["trainer.steps=many"], ["trainer.steps=many", "expected a whole number"]),
    "wrong choice": (["rollout.over_budget=halt"], ["rollout.over_budget=halt", "continue, stop or notice"]),
    "out of range": (["rollout.top_p=1.5"], ["rollout.top_p=1.5", "must be above 0 and at most 1"]),
    "missing value": (["trainer.steps=???"], ["trainer.steps", "mandatory", "give it with trainer.steps=1"]),
    "impossible combination": (["trainer.batch_size=100"], ["trainer.batch_size=100", "nearest: 64 or 128"]),
    "no such file": (
        ["data=file", "data.train_path=model/config.jsn", "data.heldout_path=model/config.json"],
        ["data.train_path=model/config.jsn", "did you mean model/config.json?"],
    ),
    "key of another option": (["data.train_path=a.jsonl"], ["data.train_path=a.jsonl", "choose data=file"]),
    "no model": (["model.path=./modell"], ["model.path=./modell", "did you mean model?"]),
    "incomplete checkpoint": (["trainer.resume=model"], ["trainer.resume=model", "no complete.json"]),
    "sweep without --multirun": (["trainer.seed=0,1"], ["trainer.seed=0,1", "--multirun"]),
    "second job of a sweep": (
        ["--multirun", "trainer.batch_size=64,100"],
        ["job #1", "trainer.batch_size=100", "nearest: 64 or 128"],
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", MISTAKES)
def test_a_mistake_is_one_message_within_seconds(shop: Shop, kind: str) -> None:
    arguments, expected = MISTAKES[kind]
    shop.write("conf/experiment/typo.yaml", "# @package _global_\ntrainer:\n  stepz: 5\n")
    shop.write("conf/experiment/broken.yaml", "# @package _global_\ntrainer:\n  steps: 5\n   x: 3\n")
    model = [] if kind == "no model" else ["model.path=model"]
    message = one_message(shop.run("--config-dir", "conf", *arguments, *model))
    for part in expected:
        assert part in message
    assert not (shop.folder / "runs").exists(), "no run folder is left behind"


def test_the_program_gets_typed_settings_and_its_folder_from_any_directory(shop: Shop) -> None:
    ended = shop.run("model.path=model", "trainer.seed=3", program="program")
    assert ended.code == 0, ended.error
    assert ended.out.startswith("job 3 Config True ")
    run_dir = Path(ended.out.split()[-1])
    assert run_dir.is_relative_to(shop.folder / "runs")
    assert (run_dir / ".hydra" / "overrides.yaml").is_file()


def test_each_job_of_a_sweep_has_a_folder(shop: Shop) -> None:
    ended = shop.run("--multirun", "model.path=model", "trainer.seed=0,1", program="program")
    assert ended.code == 0, ended.error
    jobs = [line.split() for line in ended.out.splitlines() if line.startswith("job ")]
    assert [job[1] for job in jobs] == ["0", "1"]
    assert len({job[-1] for job in jobs}) == 2


def test_an_error_inside_the_job_keeps_its_traceback(shop: Shop) -> None:
    ended = shop.run("model.path=model", "trainer.seed=7", program="program")
    assert ended.code == 1
    assert "Traceback" in ended.error
    assert ended.error.rstrip().endswith("HydraException: in the job")


def test_a_configuration_error_found_by_the_job_is_one_message(shop: Shop) -> None:
    ended = shop.run("model.path=model", "trainer.seed=8", program="program")
    assert ended.code == 2
    assert ended.error == "configuration error: model.dtype=float16: this processor lacks it; take float32\n"


def test_what_only_the_job_knows_may_be_referred_to(shop: Shop) -> None:
    ended = shop.run("model.path=model", "tracking.name=${hydra:job.name}", program="program")
    assert ended.code == 0, ended.error


@pytest.mark.parametrize("flag", [["--help"], ["--cfg", "job"], ["--info", "defaults"]])
def test_hydras_own_flags_work(shop: Shop, flag: list[str]) -> None:
    ended = shop.run(*flag, "+experiment=mini")
    assert ended.code == 0, ended.error
    assert ended.out
    assert "torch" not in ended.modules


def test_a_sweep_checks_every_job_before_the_first_starts(shop: Shop) -> None:
    ended = shop.run("--multirun", "model.path=model", "trainer.steps=1,2,none", program="program")
    message = one_message(ended)
    assert message.startswith(
        "job #2 (model.path=model trainer.steps=none): configuration error: trainer.steps=none"
    )
    assert not (shop.folder / "runs").exists()


@pytest.mark.long
class TestSeveralProcesses:
    """As accelerate launch starts them: all run the same command."""

    def test_only_the_first_makes_a_folder(self, shop: Shop) -> None:
        command = ["model.path=model", "hydra.run.dir=runs/one"]
        others = shop.run(*command, program="program", WORLD_SIZE="2", RANK="1", LOCAL_RANK="1")
        assert others.code == 0, others.error
        assert not (shop.folder / "runs").exists()
        assert not (shop.folder / ".hydra").exists()
        first = shop.run(*command, program="program", WORLD_SIZE="2", RANK="0", LOCAL_RANK="0")
        assert first.code == 0, first.error
        assert (shop.folder / "runs" / "one" / ".hydra").is_dir()

    def test_a_mistake_is_said_once_on_each_machine(self, shop: Shop) -> None:
        said = [
            shop.run("model.path=model", "trainer.batch_size=96", WORLD_SIZE="4", RANK=rank, LOCAL_RANK=local)
            for rank, local in (("0", "0"), ("1", "1"), ("2", "0"), ("3", "1"))
        ]
        assert [ended.code for ended in said] == [2] * 4
        assert [bool(ended.error) for ended in said] == [True, False, True, False]
        assert "a mini-batch of 12 trajectories" in said[0].error
        assert "4 processes" in said[0].error

    @pytest.mark.parametrize(
        ("program", "arguments", "says"),
        [
            ("src.train", ["--multirun", "trainer.seed=0,1"], "start the launcher once per run"),
            ("src.evaluate", [], "WORLD_SIZE=2: src.evaluate is a single process"),
        ],
    )
    def test_what_cannot_be_several_is_refused(
        self, shop: Shop, program: str, arguments: list[str], says: str
    ) -> None:
        ended = shop.run(*arguments, "model.path=model", program=program, WORLD_SIZE="2", RANK="0")
        assert says in one_message(ended)
