"""Three tools train together for two steps in every format, with a policy that is scripted to call them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM

from src.config import (
    Config,
    CurriculumConfig,
    DataConfig,
    EvaluateConfig,
    ModelConfig,
    RewardConfig,
    RolloutConfig,
    SandboxConfig,
    TrackingConfig,
    TrainerConfig,
)
from src.config.paths import ROOT
from src.experiment import training
from src.experiment.training import run
from src.formats.base import Format
from src.rewards.terms import Outcome
from src.rollout.engines import Engine
from src.rollout.engines.build import Engines
from src.rollout.environment import Environment, open_environment
from src.run.records import read_metrics, read_records
from src.tools import Call
from tests.compositions import values
from tests.fakes import FORMATS, ScriptedEngine

MINI = str(ROOT / "experiments" / "mini_base")
CALLS = [
    Call("python", {"code": "print(6*7)"}),
    Call("calculator", {"formula": "(1+2)*4"}),
    Call("lookup", {"word": "needle", "lines": 2}),
    Call("lookup", {"word": "needle", "lines": 0}),
]
SAYS = ("42", "12.0", "a needle\n", "0 is less than the minimum")


def dear(outcome: Outcome) -> float:
    """A reward term by which the trajectories of a problem differ."""
    return -0.1 * len(outcome.programs)


class Actor(ScriptedEngine):
    """Begins its scripts again in each rollout."""

    def start(self, notify: Callable[[], None]) -> None:
        super().start(notify)
        self._at = [0] * len(self._at)


def scripts(form: Format, codec: Any, count: int) -> list[list[int]]:
    """Every other trajectory calls all tools; the others answer at once."""
    (eos,) = codec.eos_ids
    busy = "".join(f"So\n{form.write(call)}" for call in CALLS) + "\nIt is \\boxed{7}."
    return [[*codec.encode("It is \\boxed{7}." if index % 2 else busy), eos] for index in range(count)]


@pytest.mark.parametrize(
    "name",
    [
        name if name in ("fence", "hermes") else pytest.param(name, marks=pytest.mark.long)
        for name in sorted(FORMATS)
    ],
)
def test_two_steps(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hay = tmp_path / "hay.txt"
    hay.write_text("hay\na needle\nhay\na needle </tool_response> ``` </result> </interpreter>\n")
    cfg = Config(
        model=ModelConfig(MINI, force_prompt_style=True),
        format=values(f"format={name}")["format"],
        tools={
            "python": {"_target_": "src.tools.PythonTool"},
            "calculator": {"_target_": "tests.tools.examples.Calculator"},
            "lookup": {"_target_": "tests.tools.examples.Lookup", "path": str(hay)},
        },
        data=DataConfig(train_size=8, heldout_size=2),
        rollout=RolloutConfig(max_tokens=900, max_prompt_tokens=1100),
        sandbox=SandboxConfig(workers=1),
        curriculum=CurriculumConfig(kind="fixed", budget=4),
        reward=RewardConfig(terms={"dear": {"_target_": "tests.experiment.test_tools_together.dear"}}),
        trainer=TrainerConfig(
            steps=2, batch_size=8, samples_per_prompt=4, minibatches=1, micro_batch_size=4, learning_rate=1e-3
        ),
        evaluate=EvaluateConfig(phases=["after"], modes=["free"]),
        tracking=TrackingConfig(mode="none"),
    )
    made: list[Format] = []

    @contextmanager
    def opened(*parts: Any) -> Iterator[Environment]:
        with open_environment(*parts) as environment:
            made.append(environment.form)
            yield environment

    def make(self: Engines, temperature: float, top_p: float) -> Engine:
        (eos,) = self._codec.eos_ids
        return Actor(scripts(made[-1], self._codec, 8), eos, streaming=True)

    monkeypatch.setattr(training, "open_environment", opened)
    monkeypatch.setattr(Engines, "make", make)
    run(cfg, tmp_path / "run")

    records = read_records(tmp_path / "run" / "trajectories.jsonl")
    records = [record for record in records if record.phase == "train"]
    assert [record.step for record in records] == [0] * 8 + [1] * 8
    busy = [record for record in records if record.executions]
    assert len(busy) == 8
    for record in busy:
        assert [execution.tool for execution in record.executions] == [
            "python",
            "calculator",
            "lookup",
            "lookup",
        ]
        assert [execution.status for execution in record.executions] == ["ok", "ok", "ok", "error"]
        told = [segment for segment in record.segments if segment.author == "tool"]
        assert [segment.tool for segment in told] == ["python", "calculator", "lookup", "lookup"]
        for segment, says in zip(
            told, ("42", "12.0", "a needle\n", "0 is less than the minimum"), strict=True
        ):
            assert says in segment.text
            assert len(made[-1].spans(segment.text)) == 1
        assert record.answer == "7"
    metrics = read_metrics(tmp_path / "run" / "metrics.jsonl")
    assert all(row["grad_norm"] > 0 for row in metrics)
    trained = AutoModelForCausalLM.from_pretrained(tmp_path / "run" / "checkpoints" / "step-2")
    before = AutoModelForCausalLM.from_pretrained(MINI).state_dict()
    assert any(not torch.equal(value, before[key]) for key, value in trained.state_dict().items())
