"""Six things of a user's own, from a folder outside of the repository: no file of it changes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from src.config.paths import ROOT
from src.run.records import read_metrics, read_records
from tests.shop import Shop, one_message

MODULE = """
from src.formats import TagFormat
from src.tools import FunctionTool


class Calculator(FunctionTool):
    name = "calculator"
    description = "Computes a formula."
    parameters = {"type": "object", "properties": {"formula": {"type": "string"}}, "required": ["formula"]}

    def call(self, formula):
        return str(sum(map(int, formula.split("+"))))


class Brackets(TagFormat):
    def __init__(self):
        super().__init__(call=("[[{name}", "{name}]]"), result=("[[says", "says]]"))


def brevity(outcome, weight):
    assert outcome.problem.answer is not None and len(outcome.programs) == len(outcome.outputs)
    return -weight * outcome.tokens


class EveryOther:
    def __init__(self, cfg):
        self.budgets = [cfg.start, cfg.budget]

    def __call__(self, step):
        return self.budgets[step % 2]

    def observe(self, step, metrics): ...
    def state(self): return {}
    def load(self, state): ...


def sign(centred, tokens, members, reduce):
    return centred.sign()


def tokens_per_answer(metrics):
    return metrics["tokens/policy"] / max(metrics["accuracy"], 0.01)
"""
OPTION = """# @package _global_
tools:
  calculator: {_target_: own.things.Calculator}
format: {_target_: own.things.Brackets}
reward:
  terms:
    brevity: {_target_: own.things.brevity, weight: 0.01}
curriculum: {kind: own.things.EveryOther, start: 1, budget: 3}
trainer: {advantage: own.things.sign}
alarm:
  rules:
    - {name: dear, metric: own.things.tokens_per_answer, above: 0, says: answers are dear}
"""


BASE = f"model.path={ROOT}/experiments/mini_base"


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    shop = Shop(tmp_path)
    shop.write("own/__init__.py", "")
    shop.write("own/things.py", MODULE)
    shop.write("conf/experiment/own.yaml", OPTION)
    return shop


def test_six_of_them_in_one_run(shop: Shop, tmp_path: Path) -> None:
    process = shop.start(
        "--config-dir", "conf", "+experiment=[mini_debug,own]", BASE, "tracking=none", "data.heldout_size=6",
        "evaluate.modes=[free]", "hydra.run.dir=run",
    )  # fmt: skip
    out, error = process.communicate(timeout=400)
    assert process.returncode == 0, error
    records = read_records(tmp_path / "run" / "trajectories.jsonl")
    trained = [record for record in records if record.phase == "train"]
    assert {record.budget for record in trained if record.step == 0} == {1}
    assert {record.budget for record in trained if record.step == 1} == {3}
    for record in trained:
        assert record.rewards is not None
        tokens = sum(segment.tokens for segment in record.segments)
        assert record.rewards["brevity"] == pytest.approx(-0.01 * tokens)
    assert all(row["alarm/dear"] == 1 for row in read_metrics(tmp_path / "run" / "metrics.jsonl"))
    assert "answers are dear" in out
    settings = json.loads((tmp_path / "run" / "config.json").read_text())
    assert settings["tools"]["calculator"] == {"_target_": "own.things.Calculator"}


@pytest.mark.parametrize(
    ("override", "says"),
    [
        (
            "+tools.x._target_=own.thing.Calculator",
            "tools.x._target_=own.thing.Calculator: there is no",
        ),
        ("+tools.x.path=y", "tools.x._target_=None: give the dotted path"),
        ("format._target_=nowhere.Format", "format._target_=nowhere.Format: there is no module nowhere"),
        ("curriculum.kind=nowhere.Curriculum", "curriculum.kind=nowhere.Curriculum: there is no module"),
        (
            "curriculum.kind=stagd",
            "curriculum.kind=stagd: choose fixed, staged, linear or adaptive",
        ),
        ("trainer.advantage=nowhere.sign", "trainer.advantage=nowhere.sign: there is no module"),
        ("+reward.terms.x._target_=nowhere.term", "reward.terms.x._target_=nowhere.term: there is no module"),
    ],
)
def test_what_is_not_there_is_refused_at_once(shop: Shop, override: str, says: str) -> None:
    assert says in one_message(shop.run("+experiment=mini_debug", BASE, override))
