"""What cannot run together is refused before anything starts, and each refusal says what would do."""

from __future__ import annotations

import json
import os
from functools import reduce
from operator import getitem
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from src.config import LEVELS, SUBJECTS, Config, EvaluationConfig, TrainerConfig
from src.config.command_line import names
from src.config.paths import ROOT
from src.config.schema import build
from src.launch.checks import check, load, sampling
from src.run.checkpoints import MARK
from tests.compositions import changed, evaluation, refusal, values

CONFIG = "experiments/mini_base/config.json"


def stages(*steps: int) -> list[dict[str, int]]:
    return [{"step": step, "budget": 2 + index} for index, step in enumerate(steps)]


def named(*benchmarks: str, **given: Any) -> list[dict[str, Any]]:
    return [{"benchmark": name, **given} for name in benchmarks]


class TestCombinations:
    @pytest.fixture(autouse=True)
    def model(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(tmp_path)
        (tmp_path / "experiments" / "mini_base").mkdir(parents=True)
        (tmp_path / "experiments" / "mini_base" / "config.json").write_text("{}")

    def test_the_default_passes(self) -> None:
        assert isinstance(load(Config, values()), Config)

    @pytest.mark.parametrize(
        ("change", "says"),
        [
            ({"trainer.batch_size": 130}, "trainer.samples_per_prompt=16; nearest: 128 or 192"),
            ({"tracking.backends": ["wandb", "wandb"]}, "tracking.backends=[wandb,wandb]: give each once"),
            ({"tracking.backends": []}, "tracking.backends=[]: nothing would be logged; choose tracking"),
            ({"trainer.minibatches": 3}, "that many equal parts; nearest: 2 or 4"),
            ({"trainer.micro_batch_size": 48}, "a mini-batch of 1024 trajectories"),
            ({"trainer.micro_batch_size": 4096}, "nearest: 1024"),
            (
                {"model.dtype": "bfloat16"},
                "model.dtype=bfloat16: updates at trainer.learning_rate=1e-06 are below the",
            ),
            ({"trainer.warmup_steps": 600}, "trainer.warmup_steps=600: the run has only 600 optimizer steps"),
            (
                {"trainer.whiten_over": "response", "trainer.advantage": "rloo"},
                "trainer.whiten_over=response: trainer.advantage=rloo does not whiten; leave it at policy",
            ),
            ({"trainer.dual_clip": 1.2}, "trainer.dual_clip=1.2: TRL would apply it to positive advantages"),
            ({"curriculum.stages": []}, "curriculum.stages=[]: the budget at step 0 is missing"),
            ({"curriculum.stages": [{"step": 5, "budget": 2}]}, "[2 at 5]: the budget at step 0"),
            ({"curriculum.stages": stages(0, 9, 9)}, "[2 at 0, 3 at 9, 4 at 9]: steps must increase"),
            ({"curriculum.stages": stages(0, 9, 5)}, "in the order [0, 5, 9]"),
            ({"data.kind": "file"}, "data.heldout_path=null: data.kind=file needs it"),
            ({"data.kind": "file", "data.train_path": "nope.jsonl"}, "nope.jsonl: this file does not exist"),
            ({"data.train_path": "some.jsonl"}, "choose data=file, or leave data.train_path null"),
            ({"data.subjects": ["Geometri"]}, "data.subjects[0]=Geometri: choose Algebra"),
            ({"data.subjects": []}, "data.subjects=[]: no problem is left"),
            ({"data.levels": [1, 6]}, "data.levels[1]=6: choose 1, 2, 3, 4 or 5"),
            ({"data.kind": "file", "data.levels": [1]}, "data.levels=[1]: only for data.kind=mini"),
            ({"data.train_size": 100}, "data.train_size=100: one rollout step takes 128 problems"),
            ({"data.levels": [6], "data.kind": "worded"}, "data.levels[0]=6: choose 1, 2, 3, 4 or 5"),
            ({"data.train_size": 100, "data.kind": "worded"}, "data.train_size=100: one rollout step takes"),
            ({"data.dataset": "a/b", "data.kind": "worded"}, "the worded family is generated; choose data=h"),
            ({"rollout.tools": False, "rollout.mode": "code"}, "set rollout.tools=true, or rollout.mode"),
            ({"evaluate.modes": ["free", "free"]}, "evaluate.modes=[free,free]: give each mode once"),
            ({"evaluate.phases": ["after", "after"]}, "phases=[after,after]: give each phase once"),
            ({"evaluate.phases": []}, "evaluate.phases=[]: a run without an evaluation has no result; give"),
            ({"evaluate.phases": ["befor"]}, "evaluate.phases[0]=befor: choose before or after; did"),
            ({"evaluate.k": 4, "evaluate.temperature": 0}, "set evaluate.k=1, or a temperature above 0"),
            ({"evaluate.benchmarks": named("math50")}, "evaluate.benchmarks[0].benchmark=math50: choose"),
            ({"evaluate.benchmarks": named("aime24", f"aime24@{CONFIG}")}, "has the same name, AIME24; give"),
            ({"evaluate.benchmarks": named("math500", k=2)}, "evaluate.benchmarks[0].k=2: with evaluate."),
            ({"evaluate.benchmarks": named("aime24@nope.jsonl")}, "nope.jsonl: this file does not exist"),
            ({"evaluate.benchmarks": named("aime24", modes=[])}, "[0].modes=[]: give each mode once, or"),
            ({"evaluate.benchmarks": named("aime24", modes=["fre"])}, "modes[0]=fre: choose free"),
            ({"evaluate.every": -1}, "evaluate.every=-1"),
            ({"model.path": "experiments/mini_bas"}, "did you mean experiments/mini_base?"),
            ({"model.path": "./Qwen/Qwen3-8B"}, "model.path=./Qwen/Qwen3-8B: this folder does not exist"),
            ({"model.path": "experiments"}, "model.path=experiments: this folder has no config.json"),
            ({"model.path": ""}, "this folder does not exist"),
            ({"engine.vllm.tensor_parallel_size": 2, "engine.kind": "auto"}, "=2: in training every rank"),
            ({"engine.server.url": "localhost:8000", "engine.kind": "vllm_server"}, "such as http://localhost"),
            ({"evaluate.shard": "0/2"}, "evaluate.shard=0/2: a training run evaluates all problems"),
            ({"evaluate.resume": True}, "evaluate.resume=true: only for python -m src.evaluate; resume a"),
            ({"evaluate.shard": "2/2"}, "evaluate.shard=2/2: expected I/N with 0 <= I < N"),
            ({"evaluate.shard": "half"}, "evaluate.shard=half: expected I/N"),
            ({"curriculum.start": 5, "curriculum.kind": "adaptive"}, "start=5: an adaptive budget only"),
            ({"rollout.top_p": 0.95}, "rollout.top_p=0.95: TRL computes importance ratios from the full"),
            ({"reward.correct": -1.0}, "reward.correct=-1: a correct answer must be worth more than a wrong"),
            (
                {"reward.overlong_tokens": 256, "reward.overlong": 0.5},
                "reward.overlong_tokens=256: with rollout.max_tokens=256 every trajectory would be penalised",
            ),
            ({"trainer.resume": "nope"}, "trainer.resume=nope: this folder does not exist"),
            ({"trainer.resume": "experiments"}, "incomplete, it has no complete.json"),
        ],
    )  # fmt: skip
    def test_what_cannot_run_is_refused(self, change: dict[str, Any], says: str) -> None:
        config = values()
        for path, value in change.items():
            *groups, leaf = path.split(".")
            reduce(getitem, groups, config)[leaf] = value
        message = refusal(config)
        assert says in message
        assert next(iter(change)) in message

    @pytest.mark.parametrize(
        "change",
        [
            {"evaluate.top_p": 0.95},
            {"reward.overlong_tokens": 300},  # it plays no part
            {"reward.overlong_tokens": 255, "reward.overlong": 0.5},
            {"reward.overlong_tokens": None, "reward.overlong": 0.5},
            {"reward.correct": -0.5},
        ],
    )
    def test_what_is_near_to_that_can_run(self, change: dict[str, Any]) -> None:
        config = values()
        for path, value in change.items():
            *groups, leaf = path.split(".")
            reduce(getitem, groups, config)[leaf] = value
        assert load(Config, config)

    @pytest.mark.parametrize("path", ["Qwen/Qwen2.5-Math-7B", "gpt2"])
    def test_a_hub_id_is_not_taken_for_a_missing_folder(self, path: str) -> None:
        assert load(Config, changed("model.path", path)).model.path == path

    @pytest.mark.parametrize("change", [("trainer", "learning_rate", 3e-4), ("model", "lora", {"rank": 8})])
    def test_weights_of_16_bits_are_trained_where_updates_show(self, change: tuple[str, str, Any]) -> None:
        config = changed("model.dtype", "bfloat16")
        group, key, value = change
        config[group][key] = value
        assert load(Config, config).model.dtype == "bfloat16"

    def test_a_fixed_curriculum_does_not_mind_the_stages(self) -> None:
        config = changed("curriculum.stages", [])
        config["curriculum"]["kind"] = "fixed"
        assert load(Config, config).curriculum.stages == []

    def test_a_damaged_mark_makes_a_checkpoint_unusable(self, tmp_path: Path) -> None:
        (tmp_path / MARK).write_text("{}")
        assert "is damaged" in refusal(changed("trainer.resume", str(tmp_path)))

    def test_a_complete_checkpoint_is_accepted(self, tmp_path: Path) -> None:
        (tmp_path / MARK).write_text(json.dumps({"step": 3, "files": {}}))
        assert load(Config, changed("trainer.resume", str(tmp_path))).trainer.resume == str(tmp_path)

    def test_files_of_problems_are_accepted(self, tmp_path: Path) -> None:
        (tmp_path / "a.jsonl").touch()
        config = changed("data.kind", "file")
        config["data"] |= {"train_path": "a.jsonl", "heldout_path": str(tmp_path / "a.jsonl")}
        assert load(Config, config).data.train_path == "a.jsonl"

    @settings(max_examples=200)
    @given(
        batch=st.integers(1, 400),
        samples=st.integers(2, 20),
        minis=st.integers(1, 6),
        micro=st.integers(1, 40),
        world=st.integers(1, 4),
        dynamic=st.booleans(),
    )
    def test_the_nearest_batch_sizes_are_valid(
        self, batch: int, samples: int, minis: int, micro: int, world: int, dynamic: bool
    ) -> None:
        """Of a run of several processes, too."""
        trainer = build(Config, values()).trainer
        trainer.batch_size, trainer.samples_per_prompt = batch, samples
        trainer.minibatches, trainer.micro_batch_size = minis, micro
        trainer.dynamic_sampling = int(dynamic)
        with patch.dict(os.environ, WORLD_SIZE=str(world)):
            self.check_sizes(trainer, world)

    @staticmethod
    def check_sizes(trainer: TrainerConfig, world: int) -> None:
        batch, samples = trainer.batch_size, trainer.samples_per_prompt
        faults = check(trainer, "")
        splits = (
            batch % samples == 0 and batch % (trainer.minibatches * trainer.micro_batch_size * world) == 0
        )
        whole = not trainer.dynamic_sampling or batch % (world * samples) == 0
        assert (splits and whole) == (not faults)
        for fault in faults:
            if fault.startswith("dynamic_sampling="):
                trainer.batch_size = int(fault.rpartition("batch_size: ")[2].split(" or ")[-1])
                assert check(trainer, "") == []
                continue
            name = fault.partition("=")[0]
            for nearest in fault.rpartition("nearest: ")[2].split(" or "):
                before = getattr(trainer, name)
                setattr(trainer, name, int(nearest))
                assert not any(one.startswith(f"{name}=") for one in check(trainer, ""))
                setattr(trainer, name, before)


class TestWhatAnEvaluationDoesNotHeed:
    """Evaluations sample as ``evaluate`` says, and their modes say whether there are tools."""

    @pytest.mark.parametrize(
        ("overrides", "says"),
        [
            (
                ("rollout.temperature=0.6",),
                ["rollout.temperature=0.6: only for training, ignored by an evaluation"],
            ),
            (("rollout.top_p=0.9",), ["; give evaluate.top_p"]),
            (("rollout.tools=false",), ["rollout.tools=false: only for training"]),
            (("rollout=text",), ["rollout.mode=text: only for training", "such as evaluate.modes=[text]"]),
        ],
    )
    def test_is_refused_by_name(self, overrides: tuple[str, ...], says: list[str]) -> None:
        faults = check(evaluation(*overrides))
        assert all(any(one in fault for fault in faults) for one in says)

    @pytest.mark.parametrize("benchmark", ["mini", "math500", "aime24"])
    def test_no_benchmark_sets_any_of_it(self, benchmark: str, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(ROOT)
        policy = [] if benchmark == "mini" else ["model.path=org/policy"]
        assert check(evaluation(f"benchmark={benchmark}", "engine=transformers", *policy)) == []

    @pytest.mark.parametrize(
        "given", ["rollout.temperature=1.0", "+rollout.mode=free", "rollout={tools: true, max_tokens: 99}"]
    )
    def test_a_given_default_is_refused_too(self, given: str) -> None:
        """It could be meant to change evaluate.temperature=0, say."""
        assert sampling.overridden(EvaluationConfig, names([given]))
        assert not sampling.overridden(Config, names([given]))
        assert not sampling.overridden(EvaluationConfig, names(["rollout.max_tokens=99", "rollout=default"]))


def test_subjects_and_levels_are_those_of_the_mini_family() -> None:
    from src.config import DataConfig
    from src.problems import load_problems

    problems = load_problems(DataConfig(train_size=600), "train")
    assert {problem.subject for problem in problems} == set(SUBJECTS)
    assert {problem.level for problem in problems} == set(LEVELS)


class TestSandboxElsewhere:
    FUSION = ("sandbox=sandbox_fusion", "sandbox.sandbox_fusion.url=http://localhost:8080")
    URL = "sandbox.sandbox_fusion.url"

    @pytest.mark.parametrize(
        ("overrides", "says"),
        [
            (FUSION[:1], f"{URL}=null: sandbox.backend=sandbox_fusion needs it; give {URL}=http://HOST:PORT"),
            ((*FUSION, f"{URL}='localhost:8080'"), f"{URL}=localhost:8080: not the address of a"),
            ((*FUSION, f"{URL}='http://a b'"), f"{URL}=http://a b: not the address of a service"),
            ((*FUSION, f"{URL}='http://a/?x'"), f"{URL}=http://a/?x: not the address of a service"),
            ((*FUSION, "sandbox.state=session"), "sandbox.state=session: sandbox.backend=sandbox_fusion"),
            ((*FUSION, "sandbox.jail=docker"), "leave sandbox.jail=auto"),
            (("sandbox.undo=false",), "sandbox.undo=false: with sandbox.state=fresh a failed program leaves"),
            (("sandbox=ray", "sandbox.ray.cpus_per_worker=1.5"), "cpus_per_worker=1.5: Ray schedules"),
            (("sandbox=ray", "sandbox.ray.cpus_per_worker=0"), "cpus_per_worker=0: must be above 0"),
        ],
    )  # fmt: skip
    def test_what_cannot_run_is_refused(self, overrides: tuple[str, ...], says: str) -> None:
        assert says in refusal(values(*overrides))

    @pytest.mark.parametrize(
        "overrides",
        [
            FUSION,
            (*FUSION, "sandbox.state=replay", "sandbox.sandbox_fusion.url=https://box.example.org/fusion/"),
            (*FUSION, "sandbox.sandbox_fusion.url='http://[::1]:80'"),
            ("sandbox=ray", "sandbox.ray.cpus_per_worker=0.25", "sandbox.state=session"),
            ("sandbox.state=session", "sandbox.undo=false"),
            ("sandbox=ray", "sandbox.ray.cpus_per_worker=2", "sandbox.jail=sandlock"),
        ],
    )
    def test_what_can_run_is_accepted(self, overrides: tuple[str, ...]) -> None:
        assert load(Config, values(*overrides))


def test_vllm_that_is_not_installed_is_said_with_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    """But for an estimate, which is asked for on another machine than the one that trains."""
    monkeypatch.setattr("src.launch.checks.find_spec", lambda name: None)
    monkeypatch.chdir(ROOT)
    config = changed("engine.kind", "vllm")
    says = "engine.kind=vllm: vLLM is not installed; install it with make setup-vllm"
    assert says in refusal(config)
    assert any(says in fault for fault in check(evaluation("engine=vllm")))
    assert load(Config, config | {"estimate": True}).estimate
