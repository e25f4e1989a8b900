"""A policy is asked as it was trained to be, and about what fits its positions, before it is loaded."""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from src.config import (
    BenchmarkConfig,
    Config,
    DataConfig,
    EngineConfig,
    EvaluateConfig,
    EvaluationConfig,
    LoRAConfig,
    ModelConfig,
    RolloutConfig,
    SandboxConfig,
    TrainerConfig,
)
from src.config.paths import ROOT
from src.config.schema import ConfigError
from src.experiment.evaluation import benchmark_run
from src.experiment.training import run as train
from src.launch.checks import check
from src.launch.checks.model_files import NOTES, Notes, notes_of, write_notes
from src.merge_adapter import merge as merge_adapter
from src.policy.settle import settle
from src.problems import Problem, load_data
from src.rollout.collector import Collector
from src.run.checkpoints import MARK
from src.run.records import iter_records
from tests import chat_model, tiny
from tests.fakes import BPE

MINI = str(ROOT / "experiments" / "mini_base")


@pytest.fixture(scope="module")
def chat(tmp_path_factory: pytest.TempPathFactory) -> str:
    return chat_model.write(tmp_path_factory.mktemp("chat"))


def evaluation(path: str, **model: Any) -> EvaluationConfig:
    return EvaluationConfig(model=ModelConfig(path=path, **model))


def style(path: str, **model: Any) -> str:
    return settle(evaluation(path, **model))[0].model.prompt_style


def copy_without(path: str, to: Path, name: str) -> str:
    shutil.copytree(path, to)
    (to / name).unlink()
    return str(to)


class TestStyle:
    def test_of_the_mini_base_its_own(self) -> None:
        assert style(MINI) == "mini"

    def test_of_a_mini_policy_that_is_older_than_the_notes_its_tokenizers(self, tmp_path: Path) -> None:
        assert style(copy_without(MINI, tmp_path / "old", NOTES)) == "mini"

    def test_of_others_the_templates(self, chat: str) -> None:
        assert style(chat) == "chat"

    def test_of_others_without_a_template_plain(self, tmp_path: Path) -> None:
        assert style(chat_model.write(tmp_path, None)) == "plain"

    @pytest.mark.parametrize("chosen", ["plain", "chat_without_thinking"])
    def test_of_a_model_that_was_trained_with_none_of_ours_what_is_asked_for(
        self, chat: str, chosen: str
    ) -> None:
        assert check(evaluation(chat, prompt_style=chosen)) == []
        assert style(chat, prompt_style=chosen) == chosen

    def test_of_an_adapter_its_own_or_its_bases(self, chat: str, tmp_path: Path) -> None:
        for name, base in (("a", chat), ("b", MINI)):
            (tmp_path / name).mkdir()
            says = {"base_model_name_or_path": base}
            (tmp_path / name / "adapter_config.json").write_text(json.dumps(says))
        assert style(str(tmp_path / "a")) == "chat"
        assert style(str(tmp_path / "b")) == "mini"
        write_notes(tmp_path / "a", Notes("plain"))
        assert style(str(tmp_path / "a")) == "plain"

    @pytest.mark.parametrize(
        ("policy", "chosen", "says"),
        [
            ("chat", "mini", "model.prompt_style=mini: model.path={} is not of the mini family"),
            ("mini", "plain", "=plain: model.path={} was trained with mini (cir.json), and"),
            ("old", "plain", "=plain: model.path={} was trained with mini (its tokenizer)"),
            ("trained", "chat", "=chat: model.path={} was trained with plain (cir.json), and"),
            ("mini", "chat", "the tokenizer of model.path={} has no chat template; give model."),
        ],
    )  # fmt: skip
    def test_another_is_refused_with_the_remedy(
        self, chat: str, tmp_path: Path, policy: str, chosen: str, says: str
    ) -> None:
        """By files alone, before torch is imported; and again by what is loaded, of a model of the hub."""
        trained = tmp_path / "trained"
        shutil.copytree(chat, trained)
        write_notes(trained, Notes("plain"))
        old = copy_without(MINI, tmp_path / "old", NOTES)
        path = {"chat": chat, "mini": MINI, "old": old, "trained": str(trained)}[policy]
        cfg = evaluation(path, prompt_style=chosen)
        for faults in (check(cfg), check(Config(model=cfg.model))):
            assert [says.format(path) in fault for fault in faults] == [True]
        with pytest.raises(ConfigError) as caught:
            settle(cfg)
        (fault,) = caught.value.faults
        assert says.format(path) in fault
        forced = replace(cfg, model=replace(cfg.model, force_prompt_style=True))
        if chosen == "chat" and policy == "mini":
            assert "has no chat template" in check(forced)[0]
            return
        assert "model.prompt_style=auto, or override this with model.force_prompt_style=true" in fault
        assert check(forced) == []
        assert settle(forced)[0].model.prompt_style == chosen

    @pytest.mark.parametrize(
        ("content", "says"),
        [
            ("{", "its cir.json is damaged"),
            ('{"a": 1}', "damaged"),
            ('{"prompt_style": "x"}', "none of mini,"),
            ('{"format": {"call": "x"}}', "damaged"),
            ('{"format": "hermes"}', "damaged"),
        ],
    )
    def test_damaged_notes(self, tmp_path: Path, content: str, says: str) -> None:
        (tmp_path / "config.json").write_text("{}")
        (tmp_path / NOTES).write_text(content)
        with pytest.raises(ConfigError, match=says):
            check(evaluation(str(tmp_path)))

    def test_a_model_that_is_nowhere_fails_as_it_did(self) -> None:
        assert check(evaluation("org/not-there", prompt_style="mini")) == []

    def test_a_resumed_run_goes_on_as_it_was_asked(self, chat: str, tmp_path: Path) -> None:
        checkpoint = tmp_path / "checkpoints" / "step-1"
        checkpoint.mkdir(parents=True)
        (checkpoint / MARK).write_text('{"step": 1, "files": {}}')
        cfg = Config(model=ModelConfig(path=chat), rollout=RolloutConfig(max_tokens=7000))
        known = replace(cfg.model, prompt_style="plain", max_positions=9000)
        (tmp_path / "config.json").write_text(json.dumps(asdict(replace(cfg, model=known))))
        assert "has 4096 positions" in check(cfg)[0]
        cfg.trainer.resume = str(tmp_path)
        assert check(cfg) == []
        settled = settle(cfg)[0].model
        assert (settled.prompt_style, settled.max_positions) == ("plain", 9000)
        cfg.model.prompt_style = "chat"
        (fault,) = check(cfg)
        assert f"was trained with plain (trainer.resume={tmp_path})" in fault


FENCE = {"_target_": "src.formats.FenceFormat"}
HERMES = {"_target_": "src.formats.HermesFormat"}
TAGS = {"_target_": "src.formats.TagFormat", "call": ["<{name}>", "</{name}>"], "result": ["<r>", "</r>"]}


class TestFormat:
    """A policy that was trained to write its calls in one format is silently poor in another."""

    def trained(self, chat: str, folder: Path, form: dict[str, Any] | None) -> str:
        shutil.copytree(chat, folder)
        write_notes(folder, Notes("chat", form))
        return str(folder)

    @pytest.mark.parametrize("form", [None, FENCE, HERMES, TAGS])
    def test_auto_is_what_the_policy_was_trained_in_else_fence(
        self, chat: str, tmp_path: Path, form: dict[str, Any] | None
    ) -> None:
        path = self.trained(chat, tmp_path / "policy", form)
        for cfg in (evaluation(path), Config(model=ModelConfig(path))):
            assert cfg.format == {"_target_": "auto"}
            assert check(cfg) == []
            assert settle(cfg)[0].format == (form or FENCE)

    def test_another_is_refused_with_the_remedy(self, chat: str, tmp_path: Path) -> None:
        path = self.trained(chat, tmp_path / "policy", TAGS)
        for other in (FENCE, HERMES, TAGS | {"result": ["<s>", "</s>"]}):
            cfg = replace(evaluation(path), format=other)
            for faults in (check(cfg), check(Config(model=cfg.model, format=other))):
                (fault,) = faults
                assert f"model.path={path} was trained with format" in fault
                assert "leave format=auto, or override this with model.force_prompt_style=true" in fault
            with pytest.raises(ConfigError, match="was trained with format"):
                settle(cfg)
            forced = replace(cfg, model=replace(cfg.model, force_prompt_style=True))
            assert check(forced) == []
            assert settle(forced)[0].format == other
        assert check(replace(evaluation(path), format=TAGS)) == []

    def test_of_a_users_own_nothing_is_imported_that_a_file_of_the_model_names(
        self, chat: str, tmp_path: Path
    ) -> None:
        own = {"_target_": "os.system", "command": "true"}
        path = self.trained(chat, tmp_path / "policy", own)
        for refused in (check(evaluation(path)), check(Config(model=ModelConfig(path)))):
            (fault,) = refused
            assert "which is not part of this project; set format in the configuration" in fault
        with pytest.raises(ConfigError, match="is not part of this project"):
            settle(evaluation(path))

    def test_of_an_adapter_its_own_or_its_bases(self, chat: str, tmp_path: Path) -> None:
        adapter = tmp_path / "adapter"
        adapter.mkdir()
        base = self.trained(chat, tmp_path / "base", HERMES)
        (adapter / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": base}))
        assert settle(evaluation(str(adapter)))[0].format == HERMES
        write_notes(adapter, Notes(format=FENCE))
        assert settle(evaluation(str(adapter)))[0].format == FENCE

    def test_a_resumed_run_keeps_its_own(self, chat: str, tmp_path: Path) -> None:
        path = self.trained(chat, tmp_path / "policy", FENCE)
        checkpoint = tmp_path / "run" / "checkpoints" / "step-1"
        checkpoint.mkdir(parents=True)
        (checkpoint / MARK).write_text('{"step": 1, "files": {}}')
        recorded = Config(
            model=ModelConfig(path, prompt_style="chat", force_prompt_style=True), format=HERMES
        )
        (tmp_path / "run" / "config.json").write_text(json.dumps(asdict(recorded)))
        cfg = Config(model=ModelConfig(path, force_prompt_style=True))
        cfg.trainer.resume = str(tmp_path / "run")
        assert check(cfg) == []
        assert settle(cfg)[0].format == HERMES
        faults = check(replace(cfg, format=TAGS))
        assert [fault.split("=")[0] for fault in faults] == [
            "format._target_",
            "format.call",
            "format.result",
        ]
        assert all("the resumed run has" in fault for fault in faults)


OWN = {"free": {"system": "Think hard.", "user": "Q: {problem} {x}"}}


def small(model: ModelConfig) -> Config:
    """A run of one step of eight trajectories, evaluated before and after on six problems."""
    return Config(
        model=model,
        data=DataConfig(train_size=8, heldout_size=6),
        rollout=RolloutConfig(max_tokens=24, max_prompt_tokens=500),
        sandbox=SandboxConfig(workers=1),
        trainer=TrainerConfig(
            steps=1, batch_size=8, samples_per_prompt=4, minibatches=1, micro_batch_size=4, learning_rate=1e-3
        ),
        evaluate=EvaluateConfig(modes=["free"], phases=["after"]),
    )


@pytest.mark.parametrize(
    ("rank", "template"),
    [(0, None), (4, OWN), *(pytest.param(*one, marks=pytest.mark.long) for one in ((4, None), (0, OWN)))],
)
def test_a_checkpoint_alone_is_asked_as_in_its_training(
    rank: int, template: dict[str, Any] | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A chat model of 512 positions, trained with 600; whole weights, and an adapter, merged, too."""
    asked: list[tuple[str, str, list[int]]] = []
    ask = Collector.prompt_ids

    def prompt_ids(self: Collector, problem: Problem, mode: str) -> list[int]:
        asked.append((problem.id, mode, ask(self, problem, mode)))
        return asked[-1][-1]

    monkeypatch.setattr(Collector, "prompt_ids", prompt_ids)
    base = chat_model.write(tmp_path / "base", max_position_embeddings=512)
    cfg = small(ModelConfig(base, max_positions=600, lora=LoRAConfig(rank=rank), prompt_template=template))
    cfg.trainer.autocast = "bfloat16"
    cfg.tracking.mode = "none"
    summary = train(cfg, tmp_path / "run")
    heldout = {problem.id for problem in load_data(cfg.data).heldout}
    in_training = sorted(one for one in asked if one[0] in heldout)
    assert len(in_training) == 6
    assert summary["settings"]["prompt_style"] == "chat"
    begins = "Think hard." if template else "Solve the problem step by step"
    assert summary["prompt"]["text"].startswith(f"<|im_start|>system\n{begins}")
    assert summary["prompt"]["text"].endswith("<|im_end|>\n<|im_start|>assistant\n")
    assert json.loads((tmp_path / "run" / "config.json").read_text())["model"]["prompt_style"] == "chat"
    assert {one.prompt_style for one in iter_records(tmp_path / "run" / "trajectories.jsonl")} == {"chat"}

    paths = [tmp_path / "run" / "checkpoints" / "step-1"]
    known = Notes("chat", FENCE, prompt_template=template, dtype="bfloat16")
    assert notes_of(str(paths[0]), None) == (replace(known, max_positions=600) if rank else known)
    if rank:
        paths.append(tmp_path / "merged")
        merge_adapter(paths[0], paths[1])
        assert notes_of(str(paths[1]), None) == known
    for path in paths:
        asked.clear()
        again = EvaluationConfig(
            model=ModelConfig(path=str(path), dtype="auto"),
            benchmark=BenchmarkConfig(size=6),
            engine=EngineConfig(kind="transformers"),
            rollout=cfg.rollout,
            sandbox=cfg.sandbox,
            evaluate=EvaluateConfig(modes=["free"]),
        )
        assert check(again) == []
        summary = benchmark_run.run(again, tmp_path / f"evaluation-{path.name}")
        assert sorted(asked) == in_training
        assert summary["settings"]["prompt_style"] == "chat"
        folder = tmp_path / f"evaluation-{path.name}"
        assert json.loads((folder / "config.json").read_text())["model"]["dtype"] == "bfloat16"


def test_a_model_from_elsewhere_is_evaluated_in_its_own_dtype(tmp_path: Path) -> None:
    path = chat_model.write(tmp_path)
    assert settle(evaluation(path, dtype="auto"))[0].model.dtype == "float32"
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | {"dtype": "bfloat16"}))
    assert settle(evaluation(path, dtype="auto"))[0].model.dtype == "bfloat16"
    assert settle(evaluation(path, dtype="float16"))[0].model.dtype == "float16"
    assert any(
        "model.dtype=auto: only for evaluation" in fault
        for fault in check(Config(model=ModelConfig(dtype="auto")))
    )


def test_the_tests_tokenizer_is_not_taken_for_the_mini_familys(tmp_path: Path) -> None:
    tiny.model().save_pretrained(tmp_path)
    BPE.tokenizer.save_pretrained(tmp_path)
    assert style(str(tmp_path)) == "plain"
