"""Problems of a run: from data sets, files and benchmarks, cleaned, with a report."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import polars
import pytest

from src.config import CleanConfig, DataConfig, FieldsConfig, HeldoutConfig, named, named_benchmark
from src.config.composition import compose
from src.config.paths import CONF, ROOT
from src.config.schema import ConfigError
from src.launch.checks import check, load
from src.problems import ProblemError, load_data, load_problems
from src.problems.files import read_problems
from src.problems.prepare import PrepareConfig

ASK = "Solve the following problem. Put the answer in a box.\n"
END = "\n\nRemember the box."
NESTED = FieldsConfig(
    id="extra.index", text="prompt", answer="reward_model.ground_truth", after="in a box.\n",
    before="\n\nRemember",
)  # fmt: skip


def text(number: int) -> str:
    names = ("Ann", "Bob", "Cid", "Dora", "Eve", "Finn", "Gus")
    return (
        f"{names[number % 7]} walks {number} miles through the rain and {number + 3} miles back through the "
        f"sun; how many miles does {names[number % 5]} walk in all?"
    )


def nested(number: int, answer: str | None = None) -> dict[str, Any]:
    """A row as verl's data sets have it."""
    chat = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": f"{ASK}{text(number)}{END}"},
    ]
    extra = {"index": number}
    return {"prompt": chat, "reward_model": {"ground_truth": answer or str(2 * number + 3)}, "extra": extra}


def rows(path: Path, numbers: list[int], **fields: str) -> Path:
    names = {"problem": "problem", "answer": "answer"} | fields
    lines = [{names["problem"]: text(n), names["answer"]: str(2 * n + 3)} for n in numbers]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> DataConfig:
    """A folder is a data set to the library that loads those of the hub."""
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "set").mkdir()
    polars.DataFrame([nested(n) for n in range(20)]).write_parquet(tmp_path / "set" / "train.parquet")
    rows(tmp_path / "held.jsonl", [3, 30, 31], problem="question")
    held = HeldoutConfig(fields=FieldsConfig(text="question"))
    return DataConfig(
        kind="hub", dataset="set", fields=NESTED, heldout_path="held.jsonl", heldout=held, train_size=99,
        clean=CleanConfig(enabled=True),
    )  # fmt: skip


def ids(cfg: DataConfig) -> list[int]:
    return [int(one.id) for one in load_data(cfg).train]


def test_a_data_set_of_chats_with_nested_fields(hub: DataConfig) -> None:
    first = load_problems(hub, "train")[0]
    assert (first.id, first.text, first.answer, first.source) == ("0", text(0), "3", "set")
    data = load_data(hub)
    assert [int(one.id) for one in data.train] == [n for n in range(20) if n != 3]
    assert [one.text for one in data.heldout] == [text(3), text(30), text(31)]
    assert data.report["train"]["removed"]["benchmark"]["listed"] == [
        {"id": "3", "against": "held.jsonl", "problem": "held-0", "overlap": 1.0}
    ]
    assert data.line == (
        "problems: 20 read, 0 repeated, 0 with conflicting answers, 1 of benchmarks (held.jsonl 1) removed, "
        "19 left, 19 to train on, 3 held out (held.jsonl)\nheldout: fields recognised: answer=answer"
    )


def test_the_size_counts_what_is_left_and_what_is_held_out_counts_whole(hub: DataConfig) -> None:
    data = load_data(replace(hub, train_size=4, heldout_size=1))
    assert [one.id for one in data.train] == ["0", "1", "2", "4"]
    assert len(data.heldout) == 1
    part = replace(
        hub, heldout_size=1, heldout_path=str(rows(Path("more.jsonl"), [30, 3], problem="question"))
    )
    assert 3 not in ids(part), "held out, though not in this run"
    assert data.report["train"] | {"removed": None, "benchmarks": None, "digest": None} == {
        "read": 20, "kept": 19, "used": 4, "removed": None, "benchmarks": None, "digest": None,
    }  # fmt: skip


def test_a_part_of_a_data_set(hub: DataConfig) -> None:
    assert ids(replace(hub, split="train[:5]")) == [0, 1, 2, 4]


def test_a_file_in_place_of_the_data_set(hub: DataConfig) -> None:
    Path("train.jsonl").write_text("".join(json.dumps(nested(n)) + "\n" for n in (7, 3, 5)))
    assert ids(replace(hub, dataset="not/there", train_path="train.jsonl")) == [7, 5]
    assert ids(replace(hub, kind="file", dataset=None, train_path="train.jsonl")) == [7, 5]


def test_held_out_may_be_a_data_set_or_a_benchmark(hub: DataConfig) -> None:
    Path("other").mkdir()
    rows(Path("other") / "test.jsonl", [3, 4])
    data = load_data(replace(hub, heldout_path=None, heldout=HeldoutConfig(dataset="other")))
    assert [one.text for one in data.heldout] == [text(3), text(4)]
    assert {3, 4}.isdisjoint(int(one.id) for one in data.train)
    assert data.report["heldout"]["name"] == "other"
    rows(Path("aime.jsonl"), [5, 6])
    lines = [
        json.loads(line) | {"id": at} for at, line in enumerate(Path("aime.jsonl").read_text().splitlines())
    ]
    Path("aime.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    data = load_data(replace(hub, heldout_path=None, heldout=HeldoutConfig(benchmark="aime24@aime.jsonl")))
    assert [(one.id, one.source) for one in data.heldout] == [("0", "AIME24"), ("1", "AIME24")]
    assert {5, 6}.isdisjoint(int(one.id) for one in data.train)


def test_benchmarks_to_clean_against_need_texts_only(hub: DataConfig) -> None:
    rows(Path("amc.jsonl"), [8], problem="question", answer="solution")
    rows(Path("plain.jsonl"), [9, 3], answer="solution")
    cfg = replace(hub, clean=replace(hub.clean, against=["amc23@amc.jsonl", "plain.jsonl", "held.jsonl"]))
    data = load_data(cfg)
    assert {8, 9, 3}.isdisjoint(int(one.id) for one in data.train)
    numbers = {name: one["removed"] for name, one in data.report["train"]["benchmarks"].items()}
    assert numbers == {"held.jsonl": 1, "amc23@amc.jsonl": 1, "plain.jsonl": 1}


def test_off_it_changes_nothing(hub: DataConfig) -> None:
    off = load_data(replace(hub, clean=CleanConfig()))
    assert off.train == load_problems(hub, "train")
    assert off.line == (
        "problems: 20 read, 20 to train on, 3 held out (held.jsonl)\n"
        "heldout: fields recognised: answer=answer"
    )
    assert off.report["train"].keys() == {"read", "used", "digest"}


def test_the_mini_family_is_as_it_was() -> None:
    cfg = DataConfig(train_size=300, heldout_size=50)
    data = load_data(cfg)
    assert data.train == load_problems(cfg, "train")
    assert data.heldout == load_problems(cfg, "heldout")
    cleaned = load_data(replace(cfg, clean=CleanConfig(enabled=True)))
    assert cleaned.train == data.train, "its held-out problems are none of its training problems"


def test_the_same_problems_have_the_same_digest(hub: DataConfig) -> None:
    first, second = load_data(hub), load_data(hub)
    assert first == second
    assert json.loads(json.dumps(first.report)) == first.report
    other = load_data(replace(hub, train_size=5)).report["train"]["digest"]
    assert other != first.report["train"]["digest"]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"dataset": "./not/there"}, r"data: the data set \./not/there cannot .*data\.train_path=FILE"),
        ({"heldout_path": None, "heldout": HeldoutConfig(dataset="./not/there")},
         r"data\.heldout: the data set \./not/there cannot .*give data\.heldout_path=FILE"),
        ({"dataset": None}, r"data\.train_path=null: .*data\.dataset=ID"),
        ({"clean": CleanConfig(True, ["held.jsonl", "aime24@odd.jsonl"])},
         r"odd\.jsonl: benchmark\.fields\.text=auto knows none of the fields thing, answer, but problem"),
        ({"fields": replace(NESTED, after="No such words")}, r"set: no problem contains the text 'No such"),
        ({"fields": replace(NESTED, answer="reward_model.truth")}, r"field 'reward_model\.truth' is missing"),
        ({"fields": replace(NESTED, before="Solve", after=None)}, r"row 1: nothing is left between data"),
    ],
)  # fmt: skip
def test_what_cannot_be_loaded_is_said_with_the_remedy(
    hub: DataConfig, change: dict[str, Any], says: str
) -> None:
    rows(Path("held.jsonl"), [3], problem="question")
    rows(Path("odd.jsonl"), [3], problem="thing")
    with pytest.raises(ProblemError, match=says):
        load_data(replace(hub, **change))


def test_a_benchmark_that_cannot_be_reached_is_said_with_the_remedy(
    hub: DataConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unreachable(*args: Any, **kwargs: Any) -> None:
        raise ConnectionError("no network")

    monkeypatch.setattr("datasets.load_dataset", unreachable)
    Path("train.jsonl").write_text(json.dumps(nested(1)) + "\n")
    cfg = replace(hub, train_path="train.jsonl", clean=replace(hub.clean, against=["math500"]))
    with pytest.raises(ProblemError, match=r"MATH500.*no network.*data\.clean\.against=\[math500@FILE\]"):
        load_data(cfg)


def test_names_of_benchmarks() -> None:
    found = named_benchmark("amc23@x.jsonl")
    assert (found.name, found.kind, found.path, found.dataset) == ("AMC23", "hub", "x.jsonl", "math-ai/amc23")
    assert named_benchmark("math500").dataset == "HuggingFaceH4/MATH-500"
    assert named_benchmark("some/where.parquet").kind == "file"
    with pytest.raises(ConfigError, match="did you mean math500"):
        named_benchmark("math50")


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"kind": "hub"}, "data.dataset=null: data.kind=hub needs a data set's id, or data.train_path=FILE"),
        ({"kind": "hub", "dataset": "a/b"}, "data.heldout_path=null: data.kind=hub needs it"),
        ({"kind": "file", "dataset": "a/b"}, "data.dataset=a/b: only data.kind=hub reads it"),
        ({"dataset": "a/b"}, "data.dataset=a/b: the mini family is generated; choose data=hub"),
        ({"heldout": HeldoutConfig(benchmark="aime24")}, "data.heldout.benchmark=aime24: the mini family is"),
        ({"kind": "hub", "heldout_path": "held.jsonl", "heldout": HeldoutConfig(benchmark="aime24")},
         "data.heldout_path and data.heldout.benchmark: each sets the held-out problems"),
        ({"kind": "hub", "heldout": HeldoutConfig(benchmark="aime23")},
         "data.heldout.benchmark=aime23: choose aime24"),
        ({"kind": "hub", "heldout": HeldoutConfig(benchmark="file")}, "this option has no problems; give"),
        ({"clean": CleanConfig(True, ["aime24", "mat500"])}, "data.clean.against[1]=mat500: choose"),
        ({"clean": CleanConfig(True, ["aime24@nope.jsonl"])}, "clean.against[0]=nope.jsonl: this file"),
        ({"clean": CleanConfig(True, ["mini@held.jsonl"])}, "the mini family is generated; remove @held"),
    ],
)  # fmt: skip
def test_settings_that_do_not_fit_are_refused(hub: DataConfig, change: dict[str, Any], says: str) -> None:
    faults = check(DataConfig(**change), "data.")
    assert any(says in fault for fault in faults), faults


def test_settings_that_fit_are_accepted(hub: DataConfig) -> None:
    assert check(hub, "data.") == []
    assert check(replace(hub, dataset=None, train_path="held.jsonl"), "data.") == []
    assert (
        check(replace(hub, clean=CleanConfig(True, ["math500", "amc23@held.jsonl", "held.jsonl"])), "data.")
        == []
    )


@pytest.mark.parametrize(
    ("option", "asked"),
    [
        ("cir", "Solve it. Put the answer within \\boxed{}.\nWhat is 1?"),
        ("dapo_math_17k", "Solve it: the answer to the problem.\n\nWhat is 1?\n\nRemember to put it last."),
    ],
)
def test_the_layout_of_the_options_for_real_runs(tmp_path: Path, option: str, asked: str) -> None:
    given = [f"data={option}", f"data.train_path={tmp_path / 'train.parquet'}"]
    config = compose("prepare", PrepareConfig, given)
    row = {
        "prompt": [{"role": "user", "content": asked}],
        "reward_model": {"ground_truth": "1", "style": "rule"},
    }
    polars.DataFrame([row]).write_parquet(tmp_path / "train.parquet")
    cfg = load(PrepareConfig, config).data
    (found,) = load_problems(cfg, "train")
    assert (found.text, found.answer) == ("What is 1?", "1")
    assert cfg.clean.enabled
    assert cfg.clean.against


def test_prepare_writes_what_a_run_would_have(hub: DataConfig, tmp_path: Path) -> None:
    held = rows(tmp_path / "h.jsonl", [2])
    train = rows(tmp_path / "t.jsonl", [1, 2, 3, 1])
    ended = subprocess.run(
        [sys.executable, "-m", "src.problems.prepare", "data=file", f"data.train_path={train}",
         f"data.heldout_path={held}", "hydra.run.dir=out"],
        cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    assert "4 read, 1 repeated" in ended.stdout
    written = read_problems(tmp_path / "out" / "problems.jsonl", FieldsConfig(id="id"))
    assert [(one.id, one.text) for one in written] == [("t-0", text(1)), ("t-2", text(3))]
    report = json.loads((tmp_path / "out" / "data.json").read_text())
    assert report["clean"] == asdict(CleanConfig(enabled=True))
    assert report["train"]["kept"] == 2


def test_fields_of_the_held_out_problems_and_of_named_benchmarks(tmp_path: Path) -> None:
    """The former are settings; the latter are not, of a training run, and the error says what helps."""
    file, odd = tmp_path / "a.jsonl", tmp_path / "odd.jsonl"
    file.write_text('{"problem": "What is $1 + 1$?", "answer": "2"}\n')
    odd.write_text('{"task": "What is $2 + 2$?", "result": "4"}\n')
    cfg = DataConfig(kind="file", train_path=str(file))
    cfg.heldout = HeldoutConfig(benchmark=f"file@{odd}")
    with pytest.raises(ProblemError, match=r"give data\.heldout\.fields\.text=NAME"):
        load_data(cfg)
    cfg.heldout.fields = FieldsConfig(text="task", answer="result")
    assert [one.answer for one in load_data(cfg).heldout] == ["4"]
    cfg.clean = CleanConfig(enabled=True, against=[str(odd)])
    with pytest.raises(ProblemError, match=r"^data\.clean\.against: odd.jsonl: .*conf/benchmark"):
        load_data(cfg)


def test_an_option_of_the_group_alone_can_be_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As docs/extending.md writes it, without ``@package _global_``."""
    options = tmp_path / "benchmark"
    shutil.copytree(CONF / "benchmark", options)
    (options / "mine.yaml").write_text(
        "# benchmark\ndefaults: [paper]\nkind: file\npath: p.jsonl\nfields: {text: task, answer: result}\n"
    )
    monkeypatch.setattr(named, "_OPTIONS", options)
    found = named.named_benchmark("mine")
    assert (found.kind, found.path, found.fields.text) == ("file", "p.jsonl", "task")
    assert named.sampling_of("mine") == {"k": 16, "top_p": 0.95, "budget": 5}
