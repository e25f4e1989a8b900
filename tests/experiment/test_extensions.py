"""Six things of a user's own, from a folder outside of the repository: no file of it changes."""

from __future__ import annotations

import importlib
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from src.config import RolloutConfig
from src.config.paths import ROOT
from src.rollout.trajectory import StopReason, Task
from src.run.records import read_metrics, read_records
from src.tools import PythonTool
from tests.fakes import BPE, FakeSandbox, problem, rollout_scheduler
from tests.shop import Shop, one_message

DOCUMENT = (ROOT / "docs" / "extending.md").read_text()
PYTHON = re.findall(r"^```python\n(.*?)^```$", DOCUMENT, flags=re.DOTALL | re.MULTILINE)
(TRIPLES,) = (one for one in PYTHON if one.startswith("# triples.py"))  # for programs
MODULE = "\n\n".join(one for one in PYTHON if one != TRIPLES)
YAML = re.findall(r"^```yaml\n(.*?)^```$", DOCUMENT, flags=re.DOTALL | re.MULTILINE)
OPTION = "# @package _global_\n" + "".join(one for one in YAML if not one.startswith("# benchmark"))
(BENCHMARK,) = (one for one in YAML if one.startswith("# benchmark"))


BASE = f"model.path={ROOT}/experiments/mini_base"
FORCED = "model.force_prompt_style=true"  # it was trained in another format


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    shop = Shop(tmp_path)
    shop.write("own/__init__.py", "")
    shop.write("own/things.py", MODULE)
    shop.write("conf/experiment/own.yaml", OPTION)
    shop.write("triples.py", TRIPLES)
    shop.write("triples.csv", "3,4,5\n5,12,13\n8,15,17\n")
    return shop


@pytest.mark.long
def test_six_of_them_in_one_run(shop: Shop, tmp_path: Path) -> None:
    process = shop.start(
        "--config-dir", "conf", "+experiment=[mini_debug,own]", BASE, "tracking=none", "data.heldout_size=6",
        "evaluate.modes=[free]", "hydra.run.dir=run", FORCED,
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
    assert all(row["alarm/long_answers"] == 1 for row in read_metrics(tmp_path / "run" / "metrics.jsonl"))
    assert "answers are long" in out
    settings = json.loads((tmp_path / "run" / "config.json").read_text())
    assert settings["tools"]["calculator"] == {"_target_": "own.things.Calculator"}
    assert settings["sandbox"]["packages"] == [f"{tmp_path}/triples.py", "networkx"]
    assert settings["sandbox"]["files"] == [f"{tmp_path}/triples.csv"]


@pytest.mark.parametrize(
    ("override", "says"),
    [
        (
            "+tools.x._target_=own.thing.Calculator",
            "tools.x._target_=own.thing.Calculator: there is no",
        ),
        ("+tools.x.path=y", "tools.x._target_=None: give the dotted path"),
        ("tools.python=null", "tools={python:null}: there is no tool to call"),
        ("+reward.terms.total._target_=math.fabs", "reward.terms.total: this is the name of a built-in term"),
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
    assert says in one_message(shop.run("+experiment=mini_debug", BASE, FORCED, override))


def test_modules_and_data_for_programs(shop: Shop) -> None:
    (command,) = re.findall(r"^echo .* python -m src\.sandbox .*$", DOCUMENT, flags=re.MULTILINE)
    done = subprocess.run(
        ["bash", "-c", command],
        cwd=shop.folder,
        env=os.environ
        | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert json.loads(done.stdout)["stdout"] == "[(3, 4, 5), (5, 12, 13)]\n", done.stderr


@pytest.mark.long
def test_a_benchmark(shop: Shop) -> None:
    shop.write("conf/benchmark/mine.yaml", BENCHMARK)
    row = {"task": "What is 6 times 7?", "result": "So it is #### 42"}
    shop.write("problems.jsonl", json.dumps(row) + "\n")
    process = shop.start(
        "--config-dir", "conf", "benchmark=mine", BASE, "engine=transformers", "evaluate.k=2",
        "evaluate.modes=[code]", "rollout.max_tokens=200", "hydra.run.dir=run", program="src.evaluate",
    )  # fmt: skip
    _, error = process.communicate(timeout=400)
    assert process.returncode == 0, error
    records = read_records(shop.folder / "run" / "trajectories.jsonl")
    assert [(record.gold, record.problem) for record in records] == [("42", "What is 6 times 7?")] * 2


@pytest.fixture
def things(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(shop.folder))
    module = importlib.import_module("own.things")
    for name in ("own.things", "own"):  # of this folder
        monkeypatch.delitem(sys.modules, name)
    return module


def test_a_prompt_tells_of_them(things: ModuleType) -> None:
    said = things.Informed().prepare([PythonTool(None)], None, "chat").instructions("free")
    assert said.endswith("output block. Programs can import triples, which reads data/triples.csv.")


def test_an_engine(things: ModuleType) -> None:
    parrot = things.Parrot
    (eos,) = BPE.eos_ids
    engine = parrot([*BPE.encode("It is \\boxed{42}."), eos])
    task = Task(problem(), "free", 0, BPE.encode("?"), 2)
    (trajectory,) = rollout_scheduler(engine, FakeSandbox(), BPE, RolloutConfig()).run([task])
    assert trajectory.stop_reason is StopReason.ANSWERED


def test_each_example_is_short() -> None:
    blocks = re.findall(r"^```(?:python|yaml)\n(.*?)^```$", DOCUMENT, flags=re.DOTALL | re.MULTILINE)
    assert len(blocks) > 10
    assert max(len(block.splitlines()) for block in blocks) < 30
