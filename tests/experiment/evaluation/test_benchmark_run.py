"""``python -m src.evaluate``: shards, interruption, an engine that is not there."""

from __future__ import annotations

import json
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from src.config import (
    BenchmarkConfig,
    EngineConfig,
    EvaluateConfig,
    EvaluationConfig,
    ModelConfig,
    RolloutConfig,
)
from src.config.paths import ROOT
from src.config.schema import ConfigError
from src.experiment.evaluation.benchmark_run import drop_lost, run, shard
from src.merge import merge
from src.problems import load_benchmark
from src.run.records import RecordWriter, iter_records
from tests.fakes import problem
from tests.run.test_records import RECORD

CONFIG = EvaluationConfig(
    model=ModelConfig(path=str(ROOT / "experiments" / "mini_base"), prompt_style="mini"),
    format={"_target_": "src.formats.FenceFormat"},
    benchmark=BenchmarkConfig(size=9),
    engine=EngineConfig(kind="transformers"),
    rollout=RolloutConfig(max_tokens=120),
    evaluate=EvaluateConfig(modes=["code"], temperature=0.0),
)


def trajectories(folder: Path) -> dict[tuple[str, str, int], list[str]]:
    rows = [json.loads(line) for line in (folder / "trajectories.jsonl").read_text().splitlines()]
    assert {row["phase"] for row in rows} == {"evaluate"}
    return {(r["mode"], r["problem_id"], r["sample"]): [s["text"] for s in r["segments"]] for r in rows}


@pytest.mark.parametrize("temperature", [pytest.param(0.0, marks=pytest.mark.long), 1.0])
def test_shards_together_are_the_whole(temperature: float, tmp_path: Path) -> None:
    """Each trajectory is what it is in the whole evaluation, sampled or greedy."""
    cfg_of_all = replace(CONFIG, evaluate=replace(CONFIG.evaluate, temperature=temperature))
    whole = run(cfg_of_all, tmp_path / "whole")
    parts: dict[tuple[str, str, int], list[str]] = {}
    for part in ("0/2", "1/2"):
        folder = tmp_path / part.replace("/", "of")
        cfg = replace(cfg_of_all, evaluate=replace(cfg_of_all.evaluate, shard=part))
        summary = run(cfg, folder)
        assert summary["settings"]["shard"] == part
        assert not parts.keys() & trajectories(folder).keys()
        parts |= trajectories(folder)
    merged = merge([tmp_path / "0of2", tmp_path / "1of2"], tmp_path / "merged")
    assert trajectories(tmp_path / "merged") == parts
    whole_results = {key: value for key, value in whole["results"]["code"].items() if key != "rollout"}
    assert merged["results"]["code"] == whole_results
    assert parts == trajectories(tmp_path / "whole")
    assert len(parts) == 9
    result = whole["results"]["code"]
    assert result["n"] == 9
    assert result["interval"][0] <= result["accuracy"] <= result["interval"][1]
    assert result["accuracy"] > 0.2
    status = json.loads((tmp_path / "whole" / "status.json").read_text())
    assert (status["state"], status["steps"]) == ("finished", None)
    assert [(one["mode"], one["accuracy"]) for one in status["evaluations"]] == [("code", result["accuracy"])]
    assert json.loads((tmp_path / "whole" / "summary.json").read_text())["results"] == whole["results"]


def test_the_fields_of_a_file_are_recognised_said_and_recorded(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [{"question": f"What is {n} + 1?", "solution": f"\\boxed{{{n + 1}}}"} for n in range(2)]
    (tmp_path / "set.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    benchmark = BenchmarkConfig(kind="file", path=str(tmp_path / "set.jsonl"))
    summary = run(
        replace(CONFIG, benchmark=benchmark, rollout=RolloutConfig(max_tokens=16)), tmp_path / "out"
    )
    assert summary["fields_recognised"] == {"text": "question", "answer": "solution"}
    assert json.loads((tmp_path / "out" / "summary.json").read_text())["fields_recognised"]
    assert capsys.readouterr().out.count("fields recognised: text=question, answer=solution") == 1


def test_what_was_lost_is_sampled_again_and_counts_once(tmp_path: Path) -> None:
    """The evaluation is then the one that lost nothing, also for a merge, which refuses repetitions."""
    whole = run(CONFIG, tmp_path / "whole")
    folder = tmp_path / "lossy"
    shutil.copytree(tmp_path / "whole", folder)
    lines = (folder / "trajectories.jsonl").read_text().splitlines()
    lost = [json.loads(line) | {"stop_reason": "infrastructure", "correct": False} for line in lines[::3]]
    lines[::3] = map(json.dumps, lost)
    (folder / "trajectories.jsonl").write_text("\n".join(lines) + "\n")
    (folder / "summary.json").unlink()
    again = run(replace(CONFIG, evaluate=replace(CONFIG.evaluate, resume=True)), folder)
    assert trajectories(folder) == trajectories(tmp_path / "whole")
    counts = Counter((one.problem_id, one.sample) for one in iter_records(folder / "trajectories.jsonl"))
    assert (len(counts), set(counts.values())) == (9, {1})
    for name in ("accuracy", "n", "infrastructure", "metrics"):
        assert again["results"]["code"][name] == whole["results"]["code"][name]


def test_lost_trajectories_are_dropped_and_a_torn_end_with_them(tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    drop_lost(path)  # there is none
    records = [
        replace(RECORD, sample=i, stop_reason="infrastructure" if i % 2 else "answered") for i in range(5)
    ]
    with RecordWriter(path) as writer:
        writer.write_records(records)
    with path.open("a") as file:
        file.write('{"torn')
    drop_lost(path)
    assert [one.sample for one in iter_records(path)] == [0, 2, 4]
    assert path.read_text().endswith("}\n")
    whole = path.stat()
    drop_lost(path)
    assert path.stat().st_ino == whole.st_ino, "nothing to do"


def test_what_does_not_belong_together_is_not_merged(tmp_path: Path) -> None:
    def part(name: str, shard_of: str | None, **other: Any) -> Path:
        folder = tmp_path / name
        folder.mkdir()
        cfg = {"evaluate": {"shard": shard_of, "k": 1} | other, "engine": {"kind": name}}
        (folder / "config.json").write_text(json.dumps(cfg))
        (folder / "summary.json").write_text(json.dumps({"settings": {}, "wall_seconds": 1}))
        (folder / "trajectories.jsonl").write_text(json.dumps(asdict(RECORD)) + "\n")
        return folder

    first, second, other = part("a", "0/2"), part("b", "1/2"), part("c", "1/2", k=2)
    unfinished = part("d", "1/2")
    (unfinished / "summary.json").unlink()
    for folders, says in (
        ([], "folders=.*: no folder is given"),
        ([first], "these are the shards 0/2; give each shard once"),
        ([first, first], "these are the shards 0/2, 0/2"),
        ([first, other], "c was made with evaluate.k=2, .*a with 1"),
        ([first, unfinished], "d has no summary.json: its evaluation is not finished"),
        ([first, second], "1 trajectories are in more than one of them"),
    ):
        with pytest.raises(ConfigError, match=says):
            merge(folders, tmp_path / "out")
        assert not list(tmp_path.glob("out/trajectories*"))


def evaluate_here(cfg: EvaluationConfig, folder: Path) -> None:
    run(cfg, folder)


@pytest.mark.long
def test_killed_five_times_it_has_the_trajectories_of_the_whole_each_once(tmp_path: Path) -> None:
    """kill -9 at different moments; the last process ends by itself. Short ones are not preferred."""
    cfg = replace(
        CONFIG,
        rollout=replace(CONFIG.rollout, max_concurrent=24, max_tokens=120),
        evaluate=replace(CONFIG.evaluate, k=24, temperature=1.0, resume=True, modes=["code", "text"]),
    )
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["src.experiment.evaluation.benchmark_run"])
    records = tmp_path / "trajectories.jsonl"
    for kill in range(5):
        process = context.Process(target=evaluate_here, args=(cfg, tmp_path))
        process.start()
        had, end = records.stat().st_size if records.exists() else 0, time.monotonic() + 60
        while not (records.exists() and records.stat().st_size > had) and process.is_alive():
            assert time.monotonic() < end
            time.sleep(0.02)
        time.sleep(0.1 * kill)
        os.kill(process.pid, signal.SIGKILL)
        process.join()
        with records.open("ab") as file:
            file.write(b'{"version": 1, "phase": "eva')  # the line that it was writing
    assert not (tmp_path / "summary.json").exists(), "it was over before the last kill: make it longer"
    process = context.Process(target=evaluate_here, args=(cfg, tmp_path))
    process.start()
    process.join(120)
    assert process.exitcode == 0
    found = [(r.mode, r.problem_id, r.sample) for r in iter_records(records)]
    expected = {(mode, f"{one.id}", k) for mode in ("code", "text") for one in load_benchmark(cfg.benchmark)
                for k in range(24)}  # fmt: skip
    assert len(found) == len(expected) == 432
    assert set(found) == expected
    results = json.loads((tmp_path / "summary.json").read_text())["results"]
    assert [results[mode]["n"] for mode in ("code", "text")] == [216, 216]
    run(cfg, tmp_path / "whole")
    whole, interrupted = trajectories(tmp_path / "whole"), trajectories(tmp_path)
    different = [key for key in whole if whole[key] != interrupted[key]]
    assert different == []
    samples = Counter((mode, name, *texts) for (mode, name, _), texts in whole.items())
    assert len(samples) > 100, "samples of a problem have streams of their own"


def test_a_folder_with_trajectories_is_resumed_only_when_asked_and_with_the_same_settings(
    tmp_path: Path,
) -> None:
    (tmp_path / "trajectories.jsonl").write_text("")
    with pytest.raises(ConfigError, match=r"contains trajectories of an earlier.*evaluate.resume=true"):
        run(CONFIG, tmp_path)
    (tmp_path / "config.json").write_text(json.dumps(asdict(CONFIG)))
    resumed = replace(CONFIG.evaluate, resume=True, temperature=1.0)
    older = asdict(replace(CONFIG, evaluate=resumed))
    older["rollout"]["boundary"] = "fence"  # which is called exact since
    del older["format"]
    (tmp_path / "config.json").write_text(json.dumps(older))
    (tmp_path / "trajectories.jsonl").write_text(json.dumps(asdict(RECORD)) + "\n")  # it has no stream
    with pytest.raises(ConfigError, match=r"trajectories.jsonl: an older version .* evaluate again"):
        run(replace(CONFIG, evaluate=resumed), tmp_path)
    (tmp_path / "config.json").write_text(json.dumps(asdict(CONFIG)))
    other = replace(CONFIG, evaluate=replace(CONFIG.evaluate, resume=True, budget=9))
    with pytest.raises(ConfigError, match=r"evaluate.budget=9: the evaluation in .* has 4;"):
        run(other, tmp_path)
    slower = replace(
        CONFIG.sandbox, workers=7, wall_seconds=9.0
    )  # what programs may do counts, who runs them not
    other = replace(CONFIG, evaluate=replace(CONFIG.evaluate, resume=True), sandbox=slower)
    with pytest.raises(ConfigError, match=r"^[^;]*sandbox.wall_seconds=9.0: the evaluation in .* has 5.0;"):
        run(other, tmp_path)


@pytest.mark.parametrize(("number", "parts"), [(10, 3), (3, 5), (8, 1)])
def test_every_problem_is_in_one_shard(number: int, parts: int) -> None:
    problems = [problem(name=f"p{i}") for i in range(number)]
    dealt = [one.id for i in range(parts) for one in shard(problems, f"{i}/{parts}")]
    assert sorted(dealt) == sorted(one.id for one in problems)
    assert shard(problems, None) == problems


def start(folder: Path, *overrides: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "src.evaluate", f"hydra.run.dir={folder}", *overrides],
        cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip


def alive(session: int) -> list[str]:
    """Processes of a session."""
    found: list[str] = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            text = stat.read_text()
        except OSError:
            continue
        if int(text.rpartition(")")[2].split()[3]) == session:
            found.append(text)
    return found


@pytest.mark.long
def test_interrupting_it_leaves_whole_records_and_no_process(tmp_path: Path) -> None:
    process = start(
        tmp_path, "engine=transformers", "engine.batch_size=8", "evaluate.modes=[code]", "evaluate.k=64",
        "rollout.max_concurrent=8",
    )  # fmt: skip
    records = tmp_path / "trajectories.jsonl"
    end = time.monotonic() + 90
    while not (records.exists() and records.stat().st_size):
        assert time.monotonic() < end
        assert process.poll() is None, process.communicate()
        time.sleep(0.1)
    os.kill(process.pid, signal.SIGINT)
    output, error = process.communicate(timeout=30)
    assert process.returncode == 130
    assert "Traceback" not in output + error
    assert error.rstrip().splitlines()[-1].startswith("interrupted; it goes on with: python -m src.evaluate ")
    assert error.rstrip().endswith(f"hydra.run.dir={tmp_path} evaluate.resume=true")
    rows: list[dict[str, Any]] = [json.loads(line) for line in records.read_text().splitlines()]
    assert rows
    assert all(row["stop_reason"] for row in rows)
    assert not (tmp_path / "summary.json").exists()
    status = json.loads((tmp_path / "status.json").read_text())
    assert (status["state"], status["activity"]["what"]) == ("interrupted", "evaluating, code")
    while alive(process.pid):
        assert time.monotonic() < end + 30, alive(process.pid)
        time.sleep(0.1)


@pytest.mark.long
def test_a_server_that_is_not_there_is_one_message(tmp_path: Path) -> None:
    process = start(
        tmp_path, "engine=vllm_server", "engine.server.url=http://127.0.0.1:9", "benchmark.size=2",
        "engine.server.start_seconds=0.5",
    )  # fmt: skip
    _, error = process.communicate(timeout=90)
    assert process.returncode == 1
    assert "Traceback" not in error
    assert "EngineError: no vLLM server answers at http://127.0.0.1:9" in error
    assert "engine.server.url" in error
