"""Problems whose prompts do not fit are refused or left out, before a policy is loaded."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from src.config import (
    BenchmarkConfig,
    Config,
    DataConfig,
    EngineConfig,
    EvaluateConfig,
    EvaluationConfig,
    ModelConfig,
    RolloutConfig,
    SandboxConfig,
)
from src.config.schema import ConfigError
from src.experiment.evaluation import benchmark_run
from src.experiment.training import run as train
from src.merge import merge
from src.policy import long_prompts
from src.policy.long_prompts import fit_benchmark, fit_data
from src.policy.prompt_encoder import PromptEncoder
from src.policy.settle import settle
from src.problems import load_data
from src.problems.training import digest
from src.run.processes import Ranks
from tests import chat_model, tiny
from tests.fakes import a_format
from tests.policy.test_settle import MINI, evaluation, small


@pytest.fixture
def printed(monkeypatch: pytest.MonkeyPatch) -> Console:
    console = Console(record=True, width=400, quiet=False)
    monkeypatch.setattr(long_prompts, "console", console)
    return console


PLENTY = 1000


def long_config(limit: int, **trainer: Any) -> Config:
    """Settled, of the mini family: prompts have 28 to 104 tokens or so."""
    cfg = tiny.config(**trainer)
    cfg.data = DataConfig(train_size=64, heldout_size=12)
    cfg.rollout.max_prompt_tokens = limit
    return cfg


def mini_prompts() -> PromptEncoder:
    return PromptEncoder(settle(evaluation(MINI))[1].tokenizer, "mini", a_format())


class Other(Ranks):
    """A second process, to which the first one says ``said``."""

    first = False

    def __init__(self, said: Any) -> None:
        super().__init__()
        self.said = said

    def broadcast(self, value: Any) -> Any:
        return self.said


class Recording(Ranks):
    """The first process; ``said`` is what it tells the others."""

    def broadcast(self, value: Any) -> Any:
        self.said = value
        return value


class TestLongPrompts:
    def limit(self, name: str = "train") -> tuple[int, int]:
        """A limit that some problems are over, and the longest prompt."""
        cfg = long_config(PLENTY)
        problems = getattr(load_data(cfg.data), name)
        modes = [cfg.rollout.mode] if name == "train" else cfg.evaluate.modes
        lengths = sorted(mini_prompts().lengths(problems, modes))
        assert lengths[0] < lengths[len(lengths) // 2] < lengths[-1]
        return lengths[len(lengths) // 2], lengths[-1]

    def test_where_all_fit_nothing_changes(self, printed: Console) -> None:
        cfg = long_config(PLENTY)
        data = load_data(cfg.data)
        fitted = fit_data(data, cfg, mini_prompts(), Ranks())
        assert (fitted.train, fitted.heldout, fitted.line) == (data.train, data.heldout, data.line)
        nothing = {"count": 0, "of": 64, "max_prompt_tokens": PLENTY, "choice": "drop", "problems": []}
        assert fitted.report["train"] == data.report["train"] | {"long_prompts": nothing}
        assert printed.export_text() == ""

    def test_dropped_they_are_counted_and_named_and_the_order_stays(self, printed: Console) -> None:
        limit, longest = self.limit()
        cfg = long_config(limit)
        cfg.data.heldout.long_prompts = "drop"
        data = load_data(cfg.data)
        first = Recording()
        fitted = fit_data(data, cfg, mini_prompts(), first)
        left_out = fitted.report["train"]["long_prompts"]
        names = [one["id"] for one in left_out["problems"]]
        assert left_out["problems"][0]["tokens"] == longest
        assert 0 < left_out["count"] == len(names) < left_out["of"] == 64
        assert all(one["tokens"] > limit for one in left_out["problems"])
        assert fitted.train == [one for one in data.train if one.id not in names]
        assert len(fitted.train) == 64 - len(names)
        assert fitted.report["train"]["used"] == len(fitted.train)
        assert fitted.report["train"]["digest"] == digest(fitted.train) != digest(data.train)
        said = printed.export_text().splitlines()
        assert said[0].startswith(
            f"{len(fitted.train)} problems to train on: the prompts of {len(names)} of 64"
        )
        assert f"more than rollout.max_prompt_tokens={limit} tokens; the longest, {names[0]!r}" in said[0]
        assert len(said) == 2, "one line for each of the two"
        assert fitted == fit_data(data, cfg, PromptEncoder(None, "mini", a_format()), Other(first.said)), (
            "others do as the first says"
        )

    def test_refused_they_are_one_error(self) -> None:
        limit, longest = self.limit()
        cfg = long_config(limit)
        cfg.data.long_prompts = "refuse"
        with pytest.raises(ConfigError) as caught:
            fit_data(load_data(cfg.data), cfg, mini_prompts(), Ranks())
        trained, held = caught.value.faults
        assert trained.startswith("data.long_prompts=refuse: the prompts of ")
        assert f"set rollout.max_prompt_tokens={longest}, or data.long_prompts=drop, or " in trained
        assert held.startswith("data.heldout.long_prompts=refuse: the prompts of ")

    def test_a_run_does_not_go_without_its_held_out_problems_unless_it_is_told_to(self) -> None:
        limit, _ = self.limit("heldout")
        cfg = long_config(limit)
        with pytest.raises(ConfigError, match=r"data\.heldout\.long_prompts=refuse: the prompts") as caught:
            fit_data(load_data(cfg.data), cfg, mini_prompts(), Ranks())
        assert len(caught.value.faults) == 1

    def test_too_few_are_left(self) -> None:
        limit, _ = self.limit()
        cfg = long_config(limit, batch_size=256, micro_batch_size=4)  # 64 problems
        cfg.data.heldout.long_prompts = "drop"
        with pytest.raises(
            ConfigError, match=r"problems remain, fewer than the 64 of one rollout step; set rollout\."
        ):
            fit_data(load_data(cfg.data), cfg, mini_prompts(), Ranks())
        cfg.rollout.max_prompt_tokens = 3
        with pytest.raises(ConfigError) as caught:
            fit_data(load_data(cfg.data), cfg, mini_prompts(), Ranks())
        trained, held = caught.value.faults
        assert "; 0 problems remain, fewer than" in trained
        assert "; no problem remains;" in held

    def test_a_mode_of_the_evaluation_counts(self) -> None:
        """What is too long in one mode is left out in all, so that arms have the same problems."""
        prompts = PromptEncoder(chat_model.tokenizer(), "plain", a_format())
        of = {mode: list(prompts.lengths(chat_model.PROBLEMS, [mode])) for mode in ("text", "code")}
        limit = max(of["text"])
        assert limit < max(of["code"])
        kept, found = fit_benchmark(chat_model.PROBLEMS, "drop", ["text", "code"], prompts, limit)
        assert [one.id for one in kept] == [
            one.id for one, length in zip(chat_model.PROBLEMS, of["code"], strict=True) if length <= limit
        ]
        assert set(found.tokens.values()) == {length for length in of["code"] if length > limit}
        kept, _ = fit_benchmark(chat_model.PROBLEMS, "drop", ["text"], prompts, limit)
        assert kept == chat_model.PROBLEMS


def test_an_evaluation_says_what_it_leaves_out_in_every_shard(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, printed: Console
) -> None:
    cfg = EvaluationConfig(
        model=ModelConfig(path=MINI),
        benchmark=BenchmarkConfig(size=9),
        engine=EngineConfig(kind="transformers"),
        sandbox=SandboxConfig(workers=1),
        rollout=RolloutConfig(max_tokens=24, max_prompt_tokens=45),
        evaluate=EvaluateConfig(modes=["code"], temperature=0.0),
    )
    with monkeypatch.context() as patch:
        patch.setattr(benchmark_run, "load_model", lambda cfg: pytest.fail("the model is loaded"))
        for part in ("0/2", "1/2"):
            refused = replace(cfg, evaluate=replace(cfg.evaluate, shard=part))
            with pytest.raises(ConfigError, match=r"benchmark\.long_prompts=refuse: the prompts of . of 9"):
                benchmark_run.run(refused, tmp_path / "refused")
    cfg.benchmark.long_prompts = "drop"
    summaries = []
    for part in ("0/2", "1/2"):
        shard = replace(cfg, evaluate=replace(cfg.evaluate, shard=part))
        summaries.append(benchmark_run.run(shard, tmp_path / part[0]))
    merged = merge([tmp_path / "0", tmp_path / "1"], tmp_path / "merged")
    assert merged["fields_recognised"] == {}, "the mini family has none"
    left_out = merged["long_prompts"]
    assert 0 < left_out["count"] < left_out["of"] == 9
    assert merged["results"]["code"]["n"] == 9 - left_out["count"]
    assert [one["long_prompts"] for one in summaries] == [left_out] * 2
    assert f"the prompts of {left_out['count']} of 9 problems have more than" in printed.export_text()


def test_a_run_whose_prompts_are_refused_loads_no_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("src.experiment.training.load_model", lambda cfg: pytest.fail("the model is loaded"))
    cfg = small(ModelConfig(MINI))
    cfg.tracking.mode = "none"
    cfg.rollout.max_prompt_tokens = 45
    with pytest.raises(ConfigError, match=r"data\.heldout\.long_prompts=refuse: the prompts of . of 6"):
        train(cfg, tmp_path)
