"""The check of the composed configuration: what it lets through, and what each refusal says."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import fields, is_dataclass, replace
from functools import cache, reduce
from operator import getitem
from pathlib import Path
from typing import Any, get_args, get_origin, get_type_hints
from unittest.mock import patch

import pytest
from hydra import compose, initialize_config_dir
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from omegaconf import DictConfig, OmegaConf

from src.checkpoints import MARK
from src.checks import ROOT, check, load
from src.config import LEVELS, SUBJECTS, Config, EvaluationConfig, TrainerConfig
from src.schema import ConfigError, build, key_names

CONF = ROOT / "conf"
EXPERIMENTS = sorted(path.stem for path in (CONF / "experiment").glob("*.yaml"))
OPTIONS = sorted(
    f"{path.parent.name}={path.stem}"
    for path in CONF.glob("*/*.yaml")
    if path.parent.name not in {"experiment", "hydra", "analysis", "benchmark", "accelerate", "suite"}
)


@cache
def composed(*overrides: str) -> DictConfig:
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return compose("train", list(overrides))


def values(*overrides: str) -> dict[str, Any]:
    """Return a composition that the caller may change."""
    return OmegaConf.to_container(composed(*overrides))


def leaves(schema: type, prefix: str = "") -> Iterator[tuple[str, Any]]:
    for one in fields(schema):
        hint = get_type_hints(schema)[one.name]
        if is_dataclass(hint):
            yield from leaves(hint, f"{prefix}{one.name}.")
        else:
            yield prefix + one.name, hint


LEAVES = dict(leaves(Config))


def changed(path: str, value: Any) -> dict[str, Any]:
    """Return the default configuration with ``value`` at ``path``."""
    result = values()
    *groups, leaf = path.split(".")
    node = result
    for group in groups:
        node = node.setdefault(group, {})
    node[leaf] = value
    return result


def overriding(defaults: list[str | dict[str, str]]) -> list[str]:
    """Return an experiment's defaults as overrides."""
    experiments = [one for one in defaults if isinstance(one, str)]
    choices = [pair for one in defaults if isinstance(one, dict) for pair in one.items()]
    return [
        f"+experiment=[{','.join(experiments)}]",
        *(f"{group.removeprefix('override /')}={choice}" for group, choice in choices),
    ]


def stages(*steps: int) -> list[dict[str, int]]:
    return [{"step": step, "budget": 2 + index} for index, step in enumerate(steps)]


def refusal(config: dict[str, Any]) -> str:
    with pytest.raises(ConfigError) as caught:
        load(Config, config)
    return str(caught.value)


class TestComposition:
    def test_the_schema_defaults_are_those_of_conf(self) -> None:
        """But for the rules of alarms, of which conf alone has a list."""
        built = build(Config, values())
        assert built.alarm.rules
        assert replace(built, alarm=Config().alarm) == Config()

    def test_every_key_of_the_schema_can_be_set_by_some_option(self) -> None:
        def dotted(node: dict[str, Any], prefix: str = "") -> Iterator[str]:
            for key, value in node.items():
                yield prefix + key
                if isinstance(value, dict):
                    yield from dotted(value, f"{prefix}{key}.")

        given = {key for option in OPTIONS for key in dotted(values(option))}
        assert given == set(key_names(Config))

    @pytest.mark.parametrize("experiment", EXPERIMENTS)
    def test_an_experiment_holds_differences_only(self, experiment: str) -> None:
        own = OmegaConf.to_container(OmegaConf.load(CONF / "experiment" / f"{experiment}.yaml"))
        base = values(*overriding(own.pop("defaults", [])))

        def repeated(node: dict[str, Any], other: dict[str, Any], prefix: str = "") -> Iterator[str]:
            for key, value in node.items():
                if isinstance(value, dict):
                    yield from repeated(value, other[key], f"{prefix}{key}.")
                elif value == other[key]:
                    yield prefix + key

        assert list(repeated(own, base)) == []

    @pytest.mark.parametrize("option", OPTIONS)
    def test_every_group_option_fits_the_schema(self, option: str) -> None:
        config = values(option)
        faults: tuple[str, ...] = ()
        try:
            build(Config, config)
        except ConfigError as error:
            faults = error.faults
        assert all("this value is mandatory" in fault for fault in faults)
        assert len(faults) == str(config).count("???")


WRONG = {
    bool: st.integers() | st.text() | st.floats() | st.lists(st.booleans()),
    int: st.text() | st.booleans() | st.floats() | st.lists(st.integers()),
    float: st.text() | st.booleans() | st.sampled_from([float("nan"), float("inf"), -float("inf")]),
    str: st.booleans()
    | st.lists(st.text())
    | st.dictionaries(st.sampled_from("ab"), st.integers(), min_size=1),
    list: st.text() | st.integers() | st.booleans() | st.dictionaries(st.sampled_from("ab"), st.integers()),
}


class TestTypes:
    @staticmethod
    def kind(path: str) -> tuple[type, bool]:
        hint = LEAVES[path]
        optional = type(None) in get_args(hint)
        if optional:
            (hint,) = (one for one in get_args(hint) if one is not type(None))
        return get_origin(hint) or hint, optional

    @settings(max_examples=5, deadline=None)
    @given(data=st.data())
    @pytest.mark.parametrize("path", sorted(LEAVES))
    def test_a_wrong_type_is_refused_by_name(self, path: str, data: st.DataObject) -> None:
        kind, optional = self.kind(path)
        strategy = WRONG[kind] if optional else WRONG[kind] | st.none()
        message = refusal(changed(path, data.draw(strategy)))
        assert path in message
        assert message.count("\n") == 0, "one fault, one line"

    @pytest.mark.parametrize(
        ("path", "value", "typed"),
        [
            ("tracking.name", 2024, "2024"),
            ("trainer.learning_rate", 1, 1.0),
            ("trainer.dual_clip", None, None),
            ("tracking.tags", ["a", 1], ["a", "1"]),
        ],
    )
    def test_harmless_differences_are_converted(self, path: str, value: Any, typed: Any) -> None:
        group, leaf = path.split(".")
        result = getattr(getattr(build(Config, changed(path, value)), group), leaf)
        assert (type(result), result) == (type(typed), typed)

    @settings(max_examples=50, deadline=None)
    @given(
        group=st.sampled_from(["", *{path.rpartition(".")[0] for path in LEAVES}]),
        name=st.from_regex(r"[a-z_]+", fullmatch=True),
    )
    def test_an_unknown_key_is_refused_by_name(self, group: str, name: str) -> None:
        path = f"{group}.{name}".strip(".")
        assume(path not in set(key_names(Config)))
        assert f"{path}=5: there is no such key" in refusal(changed(path, 5))

    def test_all_faults_come_in_one_message(self) -> None:
        config = changed("trainer.steps", "abc")
        config["rollout"]["tool"] = True
        config["data"]["kind"] = "fil"
        with pytest.raises(ConfigError) as caught:
            build(Config, config)
        assert len(caught.value.faults) == 3
        assert str(caught.value).count("\n") == 3

    @pytest.mark.parametrize(
        ("path", "value", "says"),
        [
            ("trainer.learning_rat", 1, "did you mean trainer.learning_rate?"),
            ("learning_rate", 1, "did you mean trainer.learning_rate?"),
            ("trainer.max_tokens", 1, "did you mean rollout.max_tokens?"),
            ("seed", 1, "did you mean data.seed, trainer.seed or evaluate.seed?"),
            ("trianer", {"steps": 5}, "did you mean trainer?"),
            ("engine.zzz", 1, "the keys of engine are kind, batch_size"),
            ("zzz", 1, "the groups are model, data, engine"),
            ("data.kind", "fil", "choose mini, file or hub; did you mean file?"),
            ("evaluate.modes", ["free", "cod"], "choose free, text or code; did you mean code?"),
            ("trainer.steps", 45.0, "write 45"),
            ("trainer.steps", 0, "must be at least 1"),
            ("trainer.clip_low", 1.0, "must be above 0 and below 1"),
            ("trainer.steps", "???", "trainer.steps: this value is mandatory; give it with trainer.steps=1"),
            ("trainer", None, "trainer=null: expected the keys steps, batch_size"),
            ("trainer.steps", "${trainer.nope}", "Interpolation key 'trainer.nope' not found"),
            ("curriculum.stages", [{"step": 0, "bugdet": 2}], "curriculum.stages[0].bugdet=2: there is no"),
            ("curriculum.stages", [{"step": 0, "budget": -1}], "stages[0].budget=-1: must be at least 0"),
        ],
    )  # fmt: skip
    def test_the_remedy_is_named(self, path: str, value: Any, says: str) -> None:
        message = refusal(changed(path, value))
        assert says in message
        assert path.split(".")[0] in message

    def test_a_missing_group_is_not_filled_in_silence(self) -> None:
        config = values()
        del config["trainer"]
        assert "trainer: this group is missing" in refusal(config)


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
            ({"trainer.minibatches": 3}, "that many equal parts; nearest: 2 or 4"),
            ({"trainer.micro_batch_size": 48}, "a mini-batch of 1024 trajectories"),
            ({"trainer.micro_batch_size": 4096}, "nearest: 1024"),
            (
                {"model.dtype": "bfloat16"},
                "model.dtype=bfloat16: updates of trainer.learning_rate=1e-06 are smaller than what",
            ),
            ({"trainer.warmup_steps": 600}, "trainer.warmup_steps=600: the run has only 600 optimizer steps"),
            ({"trainer.dual_clip": 1.2}, "trainer.dual_clip=1.2: TRL would clip positive advantages there"),
            ({"curriculum.stages": []}, "curriculum.stages=[]: the budget at step 0 is not given"),
            ({"curriculum.stages": [{"step": 5, "budget": 2}]}, "[2 at 5]: the budget at step 0"),
            ({"curriculum.stages": stages(0, 9, 9)}, "[2 at 0, 3 at 9, 4 at 9]: steps must rise"),
            ({"curriculum.stages": stages(0, 9, 5)}, "in order [0, 5, 9]"),
            ({"data.kind": "file"}, "data.heldout_path=null: data.kind=file needs it"),
            ({"data.kind": "file", "data.train_path": "nope.jsonl"}, "nope.jsonl: there is no such file"),
            ({"data.train_path": "some.jsonl"}, "choose data=file, or leave data.train_path null"),
            ({"data.subjects": ["Geometri"]}, "data.subjects[0]=Geometri: choose Algebra"),
            ({"data.subjects": []}, "data.subjects=[]: no problem is left"),
            ({"data.levels": [1, 6]}, "data.levels[1]=6: choose 1, 2, 3, 4 or 5"),
            ({"data.kind": "file", "data.levels": [1]}, "data.levels=[1]: only data.kind=mini takes it"),
            ({"data.train_size": 100}, "data.train_size=100: one rollout step takes 128 problems"),
            ({"rollout.tools": False, "rollout.mode": "code"}, "set rollout.tools=true, or rollout.mode"),
            ({"evaluate.modes": ["free", "free"]}, "evaluate.modes=[free,free]: give each mode once"),
            ({"evaluate.phases": ["after", "after"]}, "phases=[after,after]: give each phase once"),
            ({"evaluate.phases": []}, "evaluate.phases=[]: a run without an evaluation says nothing; give"),
            ({"evaluate.phases": ["befor"]}, "evaluate.phases[0]=befor: choose before or after; did"),
            ({"evaluate.k": 4, "evaluate.temperature": 0}, "set evaluate.k=1, or a temperature above 0"),
            ({"model.path": "experiments/mini_bas"}, "did you mean experiments/mini_base?"),
            ({"model.path": "./Qwen/Qwen3-8B"}, "model.path=./Qwen/Qwen3-8B: there is no such folder"),
            ({"model.path": "experiments"}, "model.path=experiments: this folder has no config.json"),
            ({"model.path": ""}, "there is no such folder"),
            ({"engine.vllm.tensor_parallel_size": 2, "engine.kind": "auto"}, "=2: beside a trainer"),
            ({"engine.server.url": "localhost:8000", "engine.kind": "vllm_server"}, "such as http://localhost"),
            ({"evaluate.shard": "0/2"}, "evaluate.shard=0/2: the evaluations of a training run are whole"),
            ({"evaluate.resume": True}, "evaluate.resume=true: is of python -m src.evaluate; go on with"),
            ({"evaluate.shard": "2/2"}, "evaluate.shard=2/2: expected I/N with 0 <= I < N"),
            ({"evaluate.shard": "half"}, "evaluate.shard=half: expected I/N"),
            ({"curriculum.start": 5, "curriculum.kind": "adaptive"}, "start=5: an adaptive budget only"),
            ({"trainer.resume": "nope"}, "trainer.resume=nope: no such folder"),
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

    @settings(max_examples=200, deadline=None)
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
            ((*FUSION, f"{URL}='localhost:8080'"), f"{URL}=localhost:8080: this is not the address of a"),
            ((*FUSION, f"{URL}='http://a b'"), f"{URL}=http://a b: this is not the address of a service"),
            ((*FUSION, f"{URL}='http://a/?x'"), f"{URL}=http://a/?x: this is not the address of a service"),
            ((*FUSION, "sandbox.state=session"), "sandbox.state=session: sandbox.backend=sandbox_fusion"),
            ((*FUSION, "sandbox.jail=docker"), "leave sandbox.jail=auto"),
            (("sandbox=ray", "sandbox.ray.cpus_per_worker=1.5"), "cpus_per_worker=1.5: Ray gives out shares"),
            (("sandbox=ray", "sandbox.ray.cpus_per_worker=0"), "cpus_per_worker=0.0: must be above 0"),
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
            ("sandbox=ray", "sandbox.ray.cpus_per_worker=2", "sandbox.jail=sandlock"),
        ],
    )
    def test_what_can_run_is_accepted(self, overrides: tuple[str, ...]) -> None:
        assert load(Config, values(*overrides))


def test_vllm_that_is_not_installed_is_said_with_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    """But for an estimate, which is asked for on another machine than the one that trains."""
    monkeypatch.setattr("src.checks.find_spec", lambda name: None)
    monkeypatch.chdir(ROOT)
    config = changed("engine.kind", "vllm")
    says = "engine.kind=vllm: vLLM is not installed; install it with make setup-vllm"
    assert says in refusal(config)
    assert any(says in fault for fault in check(evaluation("engine=vllm")))
    assert load(Config, config | {"estimate": True}).estimate


BENCHMARKS = sorted(path.stem for path in (CONF / "benchmark").glob("*.yaml"))


def evaluation(*overrides: str) -> EvaluationConfig:
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return build(EvaluationConfig, compose("evaluate", list(overrides)))


@pytest.mark.parametrize("name", BENCHMARKS)
def test_every_benchmark_composes(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    path = tmp_path / "problems.jsonl"
    path.write_text("{}\n")
    with initialize_config_dir(str(CONF), version_base="1.3"):
        config = compose(
            "evaluate", [f"benchmark={name}", *([] if name == "mini" else [f"benchmark.path={path}"])]
        )
    assert load(EvaluationConfig, config).benchmark.kind in ("mini", "hub", "file")


def test_benchmarks_are_evaluated_as_in_the_paper_unless_one_says_otherwise() -> None:
    for name in set(BENCHMARKS) - {"mini", "file", "paper"}:
        cfg = evaluation(f"benchmark={name}")
        assert cfg.benchmark.kind == "hub"
        assert cfg.benchmark.dataset
        assert cfg.benchmark.revision
        sampling = (cfg.evaluate.k, cfg.evaluate.temperature, cfg.evaluate.top_p)
        assert sampling == ((1, 0.0, 1.0) if name == "math500" else (16, 1.0, 0.95))
        assert (cfg.evaluate.budget, cfg.rollout.max_tokens) == (5, 16_384)
    assert evaluation("benchmark=aime24", "evaluate.k=4", "rollout.max_tokens=99").evaluate.k == 4
    assert evaluation("benchmark=mini").rollout.max_tokens == 256


@pytest.mark.parametrize(
    ("overrides", "says"),
    [
        (["benchmark=file"], "benchmark.path=null: benchmark=file needs it"),
        (
            ["benchmark=math500", "benchmark.path=nope.jsonl"],
            "benchmark.path=nope.jsonl: there is no such file",
        ),
        (["benchmark=math500", "benchmark.dataset=null"], "benchmark.dataset=null: benchmark.kind=hub needs"),
        (["benchmark.path=conf/evaluate.yaml"], "the mini family is generated; choose benchmark=file"),
        (["benchmark.subjects=[Geometri]"], "benchmark.subjects[0]=Geometri: choose Algebra"),
        (["benchmark=math500", "benchmark.levels=[5]"], "benchmark.levels=[5]: only benchmark=mini takes it"),
        (["benchmark.levels=[]"], "benchmark.levels=[]: no problem is left"),
        (["evaluate.phases=[after]"], "evaluate.phases=[after]: only a training run has phases; leave it"),
    ],
)
def test_a_benchmark_that_is_not_there_is_refused(
    overrides: list[str], says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    faults = check(evaluation(*overrides))
    assert any(says in fault for fault in faults), faults


def test_an_evaluation_composes_and_may_be_a_shard(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    with initialize_config_dir(str(CONF), version_base="1.3"):
        config = compose("evaluate", ["evaluate.shard=3/4", "engine.vllm.tensor_parallel_size=2"])
    assert load(EvaluationConfig, config).evaluate.shard == "3/4"
