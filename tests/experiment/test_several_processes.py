"""Several processes: the same losses as one, no hang when they differ, and whole runs after any kill.

Run by the launcher on this machine, over gloo, with the configurations of conf/accelerate.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from src.config.paths import ROOT
from src.run import checkpoints
from src.run.processes import Ranks
from src.run.records import read_metrics, read_records
from src.run.token_columns import read_tokens, token_files
from tests import processes_job as job


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT)}


def launcher(config: str) -> list[str]:
    command = [sys.executable, "-m", "accelerate.commands.launch", "--num_processes", "2"]
    command += [
        "--main_process_port",
        "0",
        "--config_file",
        str(ROOT / "conf" / "accelerate" / f"{config}.yaml"),
    ]
    return command


def launch(config: str, *arguments: str) -> str:
    done = subprocess.run(
        [*launcher(config), *arguments],
        cwd=ROOT,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=400,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("alone")
    return job.train("scripted", folder, Ranks()) | {"folder": folder}


@pytest.fixture(scope="module")
def together(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    results = {}
    for config in ("ddp", "fsdp2"):
        folder = tmp_path_factory.mktemp(config)
        launch(config, "tests/processes_job.py", str(folder))
        results[config] = json.loads((folder / "result.json").read_text()) | {"folder": folder}
    return results


WRAPPED = {"ddp": "DistributedDataParallel", "fsdp2": "FSDPQwen3ForCausalLM"}


@pytest.mark.long
@pytest.mark.parametrize("config", WRAPPED)
class TestTwoProcesses:
    def test_they_are_two_and_the_model_is_wrapped(self, config: str, together: dict[str, Any]) -> None:
        for scenario in ("scripted", "uneven"):
            result = together[config][scenario]
            assert result["world"] == 2
            assert result["wrapped"] == WRAPPED[config]
            assert result["shared"] == (config == "fsdp2")

    def test_the_loss_is_that_of_one_process(
        self, config: str, together: dict[str, Any], alone: dict[str, Any]
    ) -> None:
        ours = together[config]["scripted"]
        assert len(ours["steps"]) == len(alone["steps"]) == 3
        for one, other in zip(ours["steps"], alone["steps"], strict=True):
            assert abs(other["loss"]) > 1e-3
            for name in ("loss", "grad_norm", "reward", "accuracy", "entropy", "executions_per_trajectory"):
                assert one[name] == pytest.approx(other[name], abs=1e-4), name
        for name, values in alone["weights"].items():
            np.testing.assert_allclose(ours["weights"][name], values, atol=1e-4)

    def test_a_checkpoint_holds_what_the_next_step_needs(self, config: str, together: dict[str, Any]) -> None:
        result = together[config]["scripted"]
        (resumed,) = result["resumed"]
        for name in ("loss", "grad_norm", "entropy"):
            assert resumed[name] == pytest.approx(result["steps"][-1][name], abs=1e-6), name

    def test_all_trajectories_are_in_one_file(self, config: str, together: dict[str, Any]) -> None:
        folder = together[config]["folder"] / "scripted"
        counts = Counter(
            (r.step, r.problem_id, r.sample) for r in read_records(folder / "trajectories.jsonl")
        )
        assert len(counts) == 3 * 24
        assert set(counts.values()) == {1}
        assert all(not path.read_text() for path in folder.glob("trajectories-process-*"))

    def test_token_columns_are_those_of_one_process(
        self, config: str, together: dict[str, Any], alone: dict[str, Any]
    ) -> None:
        """Which are TRL's tensors (tests/trainer/test_token_capture.py), for each trajectory in its place."""
        folder = together[config]["folder"] / "scripted"
        assert list(token_files(folder)) == [0, 1, 2]
        near = ["advantage", "logprob", "old_logprob", "entropy", "ratio"]
        places = ["process", "micro_batch", "place"]
        for step in range(3):
            ours, theirs = read_tokens(folder, step), read_tokens(alone["folder"], step)
            assert ours["process"].to_list() == [0] * 12 + [1] * 12
            assert ours.select(places).n_unique() == 24
            assert ours.drop(near, places).equals(theirs.drop(near, places))
            assert theirs["advantage"].n_unique() > 1
            for name in near:
                one, other = (
                    (frame.explode(name) if name != "advantage" else frame)[name].cast(float).fill_null(9.0)
                    for frame in (ours, theirs)
                )
                np.testing.assert_allclose(one, other, atol=1e-4, err_msg=name)

    def test_replaced_groups_have_token_columns_too(self, config: str, together: dict[str, Any]) -> None:
        folder = together[config]["folder"] / "uneven"
        records = read_records(folder / "trajectories.jsonl")
        for step in range(3):
            tokens = read_tokens(folder, step)
            names = [(r.problem_id, r.sample) for r in records if r.step == step]
            assert sorted(tokens.select("problem_id", "sample").rows()) == sorted(names)
            assert tokens["group"].null_count() == 8

    def test_uneven_rounds_and_a_slow_sandbox_do_not_hang(
        self, config: str, together: dict[str, Any]
    ) -> None:
        result = together[config]["uneven"]
        assert result["executions"][0] == 0
        assert result["executions"][1] == 2 * 8 * 3  # and a further group, all with the whole budget
        for step in result["steps"]:
            assert step["seconds/execution"] > 0
            assert step["dynamic_sampling/rounds"] == 1
            assert (
                step["dynamic_sampling/frac_reward_zero_std"] == step["dynamic_sampling/frac_replaced"] == 0.5
            )
            assert step["frac_reward_zero_std"] == 0


@pytest.mark.long
def test_shared_out_weights_sample_what_whole_ones_do(together: dict[str, Any]) -> None:
    """And what a process samples only because others are not done yet changes no random number."""
    said = {
        config: sorted(
            (r.problem_id, r.sample, [s.text for s in r.segments])
            for r in read_records(result["folder"] / "uneven" / "trajectories.jsonl")
            if r.step == 0
        )
        for config, result in together.items()
    }
    assert len(said["ddp"]) == 24
    assert said["ddp"] == said["fsdp2"]


@pytest.mark.long
def test_a_run_that_is_killed_twenty_times_is_the_whole_run(tmp_path: Path) -> None:
    """Two processes, kill -9 at random moments: same samples, budgets, weights, optimizer, random states."""
    steps, folders = 128, {"whole": 0, "killed": 20}
    for name, kills in folders.items():
        command = [
            sys.executable,
            "-m",
            "tests.processes_kills",
            str(tmp_path / name),
            str(kills),
            str(steps),
            "1",
        ]
        done = subprocess.run(
            command, cwd=ROOT, env=environment(), capture_output=True, text=True, timeout=550
        )
        assert done.returncode == 0, done.stdout + done.stderr
    records = {name: read_records(tmp_path / name / "trajectories.jsonl") for name in folders}
    assert max(r.attempt for r in records["killed"]) > 5, "many a kill was between checkpoints"
    said = {
        name: sorted((r.step, r.problem_id, r.sample, r.budget, [s.text for s in r.segments]) for r in rows)
        for name, rows in records.items()
    }
    assert said["whole"] == said["killed"]
    assert {row[3] for row in said["whole"]} == {1, 2, 3, 4}, "the adaptive budget rose"
    for step in range(steps):
        whole, killed = (read_tokens(tmp_path / name, step) for name in folders)
        assert whole.drop("attempt").equals(killed.drop("attempt"))
    ours, theirs = (checkpoints.resolve(tmp_path / name) for name in folders)
    assert ours.name == theirs.name == f"step-{steps}"
    for file in ("model.safetensors", "curriculum.json"):
        assert (ours / file).read_bytes() == (theirs / file).read_bytes()
    for file in ("optimizer.pt", "scheduler.pt", "rng_state_0.pth", "rng_state_1.pth"):
        assert_equal(*(torch.load(folder / file, weights_only=False) for folder in (ours, theirs)))


def assert_equal(one: Any, other: Any) -> None:
    """Compare nested states, tensors and arrays bit by bit."""
    assert type(one) is type(other)
    if isinstance(one, dict):
        assert one.keys() == other.keys()
        for key in one:
            assert_equal(one[key], other[key])
    elif isinstance(one, list | tuple):
        assert len(one) == len(other)
        for pair in zip(one, other, strict=True):
            assert_equal(*pair)
    elif isinstance(one, torch.Tensor):
        assert torch.equal(one, other)
    elif isinstance(one, np.ndarray):
        np.testing.assert_array_equal(one, other)
    else:
        assert one == other


@pytest.mark.parametrize(
    "engine",
    [pytest.param("transformers", marks=pytest.mark.long), pytest.param("vllm", marks=pytest.mark.vllm)],
)
def test_the_main_entry_as_two_processes(engine: str, tmp_path: Path) -> None:
    """One run folder, one file of records, metrics over both; as README says to start it."""
    printed = launch(
        "ddp",
        "-m",
        "src.train",
        "+experiment=mini_debug",
        f"engine={engine}",
        "tracking=none",
        "data.heldout_size=5",
        f"hydra.run.dir={tmp_path}/${{now:%f}}",
    )
    (run_dir,) = tmp_path.iterdir()
    assert printed.count("step   0 (1/2 done)") == 1
    summary = json.loads((run_dir / "summary.json").read_text())
    assert summary["steps"] == 2
    assert all(summary[phase][mode]["n"] == 5 for phase in ("before", "after") for mode in ("free", "text"))
    rows = read_metrics(run_dir / "metrics.jsonl")
    records = read_records(run_dir / "trajectories.jsonl")
    assert not list(run_dir.glob("trajectories-process-*"))
    for row in rows:
        rewards = [
            r.rewards["total"] for r in records if (r.phase, r.step) == ("train", row["step"]) and r.rewards
        ]
        assert len(rewards) == 32
        assert row["reward"] == pytest.approx(np.mean(rewards))
        tokens = read_tokens(run_dir, row["step"])
        assert len(tokens) == 32
        assert tokens["sampled_logprob"].null_count() == (0 if engine == "vllm" else 32)
        if engine == "vllm":  # each process has its own, at the weights of both
            assert row["sampling/sampling_logp_difference/mean"] < 1e-4
    counts = Counter((r.phase, r.mode, r.step, r.problem_id, r.sample) for r in records)
    assert set(counts.values()) == {1}
    if engine == "transformers":  # the evaluation before training is what one process makes of it
        overrides = ["+experiment=mini_debug", "tracking=none", "data.heldout_size=5", "trainer.steps=1"]
        done = subprocess.run(
            [sys.executable, "-m", "src.train", *overrides, f"hydra.run.dir={tmp_path}/alone"],
            cwd=ROOT, capture_output=True, text=True, timeout=300,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        alone = read_records(tmp_path / "alone" / "trajectories.jsonl")
        evaluated = [
            {
                (r.mode, r.problem_id, r.sample, *(s.text for s in r.segments))
                for r in one
                if r.phase == "before"
            }
            for one in (records, alone)
        ]
        assert evaluated[0] == evaluated[1]
        assert len(evaluated[0]) == 15


def second_of(ancestor: int) -> int:
    """The process of rank 1 that the launcher ``ancestor`` has started."""
    for child in Path(f"/proc/{ancestor}/task/{ancestor}/children").read_text().split():
        if b"RANK=1" in Path(f"/proc/{child}/environ").read_bytes().split(b"\0"):
            return int(child)
    raise AssertionError("there is none")


@pytest.mark.long
def test_all_stop_after_the_same_step_where_one_is_asked_to(tmp_path: Path) -> None:
    overrides = ["+experiment=mini_debug", "tracking=none", "data.heldout_size=2", "evaluate.modes=[free]",
                 "trainer.steps=99", "trainer.checkpoint_every=0", f"hydra.run.dir={tmp_path}"]  # fmt: skip
    process = subprocess.Popen(
        [*launcher("ddp"), "-m", "src.train", *overrides],
        cwd=ROOT, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    deadline = time.monotonic() + 240
    while not read_metrics(tmp_path / "metrics.jsonl"):
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < deadline
        time.sleep(0.05)
    os.kill(second_of(process.pid), signal.SIGTERM)
    process.communicate(timeout=120)
    assert process.returncode != 0
    done = len(read_metrics(tmp_path / "metrics.jsonl"))
    assert 1 <= done < 99
    assert checkpoints.step_of(checkpoints.resolve(tmp_path)) == done
    assert not (tmp_path / "summary.json").exists()
    steps = Counter(r.step for r in read_records(tmp_path / "trajectories.jsonl") if r.phase == "train")
    assert steps == dict.fromkeys(range(done), 32), "both have made their parts of the same steps"
