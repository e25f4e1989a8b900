"""The client of a vLLM server: the same answers, whatever the network does, and nothing left behind."""

from __future__ import annotations

import itertools
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from aiohttp import web

from src.config import DataConfig, EngineConfig, ModelConfig, RolloutConfig, SandboxConfig, VLLMConfig
from src.config.schema import ConfigError
from src.policy.loading import load_codec, load_model
from src.problems import Problem, load_problems
from src.problems.prompt_text import build_prompt
from src.rollout.collector import Collector
from src.rollout.engines import EngineError
from src.rollout.engines.build import refuse_training
from src.rollout.engines.transformers import TransformersEngine
from src.rollout.engines.vllm_server import VLLMServerEngine
from src.rollout.scheduler import RolloutScheduler
from src.rollout.trajectory import Task, Trajectory
from src.sandbox import build_sandbox
from src.trainer import CIRTrainer, TrainingStep
from src.trainer.curriculum import build_curriculum
from tests import tiny
from tests.fakes import BPE, FakeSandbox, ScriptedEngine, environment, problem, rollout_scheduler
from tests.rollout.answers import policy_tokens, shape, ties
from tests.rollout.server import ModelServer, TableServer, next_tokens

CONFIG = RolloutConfig(max_tokens=300)
TEXTS = (
    "So\n```python\nprint(6*7)\n```\\boxed{42}<|end|>",
    "```python\nx = '```'\n# ```\nprint(1)\n```then\n```py\nprint(2)\n```\\boxed{1}<|end|>",  # false stops
    "no code here, a ``` fence\n```\nplain\n```\nand on\\boxed{3}<|end|>",
    "I do not know<|end|>",
    "a" * 300,
    *(f"```python\nprint({i})\n```\n```python\nprint({i})\n```\\boxed{{{i}}}<|end|>" for i in range(60)),
)


def scheduled(engine: Any, cfg: RolloutConfig = CONFIG, number: int = len(TEXTS)) -> RolloutScheduler:
    return rollout_scheduler(engine, FakeSandbox(delay=0.002), BPE, cfg)


def tasks(number: int = len(TEXTS)) -> list[Task]:
    return [Task(problem(name=f"p{i}"), "free", i, BPE.encode(f"Q{i}\n"), 2) for i in range(number)]


def scripted(cfg: RolloutConfig = CONFIG) -> tuple[list[Trajectory], dict[tuple[int, ...], int]]:
    """What is to come out, and the policy that leads there."""
    (eos,) = BPE.eos_ids
    scripts = [BPE.tokenizer(text, add_special_tokens=False)["input_ids"] for text in TEXTS]
    engine = ScriptedEngine(scripts, eos, logprobs=True)
    return scheduled(engine, cfg).run(tasks()), next_tokens(engine.log)


def client(url: str, **options: Any) -> VLLMServerEngine:
    settings = {"temperature": 1.0, "top_p": 1.0, "start_seconds": 5.0} | options
    return VLLMServerEngine(url, BPE, **settings)


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Further attempts come soon."""
    monkeypatch.setattr("src.rollout.engines.vllm_server._PAUSES", (0.01,) * 6)


@pytest.mark.parametrize("follow", [False, True])
@pytest.mark.parametrize("boundary", ["exact", "post_hoc", "stop_string"])
def test_trajectories_are_those_of_the_scripts(follow: bool, boundary: str) -> None:
    """Every context is fed as it is (the table knows no other), and every logprob is its token's."""
    cfg = replace(CONFIG, boundary=boundary)
    expected, table = scripted(cfg)
    with TableServer(BPE, table) as server, client(server.url, follow=follow) as engine:
        for _ in range(2):  # one client serves many rollouts
            trajectories = scheduled(engine, cfg).run(tasks())
            assert [shape(t) for t in trajectories] == [shape(t) for t in expected]
        for trajectory in trajectories:
            first = len(trajectory.task.prompt_ids)
            positions = range(first, first + len(trajectory.completion_ids))
            assert trajectory.logprobs == [
                -float(position) if sampled else 0.0
                for position, sampled in zip(positions, trajectory.mask, strict=True)
            ]


def test_a_server_that_stops_everywhere_gives_the_same() -> None:
    """Stops that end nothing are gone on from, one token after the other."""
    expected, table = scripted()
    with TableServer(BPE, table) as server, client(server.url) as engine:
        engine._body = lambda progress, body=engine._body: (
            body(progress)
            | {  # type: ignore[method-assign,misc]
                "stop_token_ids": list(range(len(BPE)))
            }
        )
        trajectories = scheduled(engine).run(tasks())
        assert [shape(t) for t in trajectories] == [shape(t) for t in expected]
        assert {body["max_tokens"] for body in server.asked} > {300, 299, 298}


def _status(code: int) -> Callable[[], web.Response]:
    return lambda: web.json_response({"error": {"message": "no such thing"}}, status=code)


def test_busy_servers_are_asked_again(pauses: None) -> None:
    expected, table = scripted()
    with TableServer(BPE, table) as server, client(server.url) as engine:
        server.faults = [None, _status(503), _status(429), None, _status(502)] * 3
        trajectories = scheduled(engine).run(tasks())
        assert [shape(t) for t in trajectories] == [shape(t) for t in expected]
        assert server.faults == []


@pytest.mark.parametrize("follow", [False, True])
def test_connections_that_break_lose_nothing(pauses: None, follow: bool) -> None:
    """Every fifth answer breaks off, or every 41st token of a stream."""
    expected, table = scripted()
    with TableServer(BPE, table) as server, client(server.url, follow=follow) as engine:
        server.break_every = 41 if follow else 5
        trajectories = scheduled(engine).run(tasks())
        assert server.broken > 10
        assert [shape(t) for t in trajectories] == [shape(t) for t in expected]


def test_a_server_that_refuses_ends_the_rollout_with_what_it_said() -> None:
    _, table = scripted()
    with TableServer(BPE, table) as server, client(server.url) as engine:
        server.faults = [None, _status(400)]
        with pytest.raises(EngineError, match=r"rejects a request: .*no such thing"):
            scheduled(engine).run(tasks())
        assert engine.pending == 0
        scheduled(engine).run(tasks())  # and the next rollout is clean


def test_no_server_is_said_before_anything_is_sampled() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}"
    began = time.monotonic()
    with (
        client(url, start_seconds=0.3) as engine,
        pytest.raises(EngineError, match=r"no vLLM server answers at .*engine\.server\.url"),
    ):
        scheduled(engine).run(tasks())
    assert time.monotonic() - began < 5
    assert not any(thread.name == "vllm client" for thread in threading.enumerate())


def test_a_sequence_that_would_not_fit_is_refused_with_the_remedy() -> None:
    _, table = scripted()
    with (
        TableServer(BPE, table, longest=100) as server,
        client(server.url) as engine,
        pytest.raises(EngineError, match=r"may reach 303 tokens.*accepts 100.*--max-model-len"),
    ):
        scheduled(engine).run(tasks())


@pytest.mark.parametrize("follow", [False, True])
def test_time_that_is_up_ends_stragglers_on_the_server_too(follow: bool) -> None:
    _, table = scripted()
    with (
        TableServer(BPE, table, delay=0.01) as server,
        client(server.url, follow=follow) as engine,
    ):
        scheduler = scheduled(engine, replace(CONFIG, max_seconds=1.5))
        trajectories = scheduler.run(tasks())
        assert scheduler.meter.stragglers > 0
        late = trajectories[4]  # 300 tokens, which would have taken 3 s
        assert late.stop_reason == "length"
        said = sum(late.mask)
        assert (0 < said < 300) if follow else said == 0
        _until(lambda: server.under_way == 0)
        assert server.aborted > 0
        assert engine.pending == 0


def test_a_rollout_that_is_cancelled_ends_on_the_server_too() -> None:
    _, table = scripted()
    with TableServer(BPE, table, delay=0.01) as server, client(server.url) as engine:
        stream = scheduled(engine).stream(tasks())
        next(stream)
        stream.close()
        assert engine.pending == 0
        _until(lambda: server.under_way == 0)


def test_at_most_so_many_connections() -> None:
    expected, table = scripted()
    most = 0
    with TableServer(BPE, table, delay=0.0005) as server, client(server.url, connections=3) as engine:
        trajectories = []
        for _, trajectory in scheduled(engine).stream(tasks()):
            most = max(most, server.under_way)
            trajectories.append(trajectory)
    assert len(trajectories) == len(expected)
    assert 0 < most <= 3


def _until(true: Callable[[], bool], seconds: float = 5.0) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end
        time.sleep(0.01)


# Training through a server, with a queue in the place of NCCL.


@pytest.fixture
def wired(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[tuple[CIRTrainer, ModelServer]]:
    """A trainer whose vLLM is a server; TRL's client speaks to it, its tensors go over a queue."""
    from trl.generation import vllm_client

    cfg = tiny.config(steps=3, minibatches=1)
    with ModelServer(BPE, tiny.model(0)) as server, client(server.url) as engine:
        cfg.engine.kind, cfg.engine.server.url = "vllm_server", server.url

        def send(iterator: Iterator[tuple[str, torch.Tensor]], **_: Any) -> None:
            for _, tensor in iterator:
                server.wire.put(tensor.detach().clone())

        monkeypatch.setattr(vllm_client, "packed_nccl_broadcast_producer", send)
        monkeypatch.setattr(vllm_client.VLLMClient, "init_communicator", lambda self, device: None)
        given = environment(grader=tiny.FakeGrader(), rollout=cfg.rollout, reward=cfg.reward)
        collector = Collector(engine, given)  # type: ignore[arg-type]
        problems = [problem(name=f"p{i}") for i in range(16)]
        trainer = CIRTrainer(cfg, tmp_path, tiny.model(0), BPE.tokenizer, problems, "vllm_server")
        trainer.attach(TrainingStep(cfg, problems, collector, build_curriculum(cfg.curriculum)))
        yield trainer, server


def differences(trainer: CIRTrainer) -> list[float]:
    name = "sampling/sampling_logp_difference/mean"
    return [row[name] for row in trainer.state.log_history if name in row]


@pytest.mark.vllm
def test_new_weights_reach_a_server_before_every_rollout(wired: tuple[CIRTrainer, ModelServer]) -> None:
    trainer, server = wired
    trainer.train()
    update = ["start_weight_update", "update_weights", "finish_weight_update", "reset_prefix_cache"]
    assert server.calls == [*update, "completion"] * 3
    assert len(differences(trainer)) == 3
    assert max(differences(trainer)) < 1e-5


@pytest.mark.vllm
def test_without_them_the_difference_shows(
    wired: tuple[CIRTrainer, ModelServer], monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer, server = wired
    monkeypatch.setattr(trainer.vllm_generation, "sync_weights", lambda: None)
    trainer.train()
    assert server.calls == ["completion"]
    assert differences(trainer)[0] < 1e-5
    assert min(differences(trainer)[1:]) > 1e-3


def test_training_through_a_server_needs_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ConfigError, match=r"engine\.kind=vllm_server: .*NCCL.*engine=vllm"):
        refuse_training("vllm_server", EngineConfig())
    for kind in ("transformers", "vllm"):
        refuse_training(kind, EngineConfig())
    with pytest.raises(ConfigError, match=r"engine\.vllm\.sleep=true: .*set it to false"):
        refuse_training("vllm", EngineConfig(vllm=VLLMConfig(sleep=True)))


# The true server, on the loopback address.

BASE = Path(ModelConfig().path)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """Where vLLM serves the mini policy as it must be served."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    log = tmp_path_factory.mktemp("server") / "log"
    command = [
        sys.executable, "-m", "vllm.entrypoints.openai.api_server", "--model", str(BASE),
        "--dtype", "float32", "--logprobs-mode", "processed_logprobs", "--max-model-len", "1184",
        "--enforce-eager", "--no-enable-chunked-prefill", "--host", "127.0.0.1", "--port", str(port),
    ]  # fmt: skip
    environment = os.environ | {"VLLM_CPU_KVCACHE_SPACE": "1", "VLLM_CPU_OMP_THREADS_BIND": "nobind"}
    with log.open("wb") as output:
        server = subprocess.Popen(
            command, env=environment, stdout=output, stderr=output, start_new_session=True
        )
    url = f"http://127.0.0.1:{port}"
    codec = load_codec(ModelConfig())
    while True:
        with VLLMServerEngine(url, codec, temperature=1.0, top_p=1.0, start_seconds=1.0) as engine:
            try:
                engine.start(lambda: None)
                break
            except EngineError:
                if server.poll() is not None:
                    pytest.fail(log.read_text()[-3000:])
    yield url, server
    if server.poll() is None:
        os.killpg(server.pid, signal.SIGKILL)
    server.wait()


def mini_tasks(codec: Any, number: int, mode: str = "free") -> list[Task]:
    problems = load_problems(DataConfig(heldout_size=number), "heldout")

    def prompt(one: Problem) -> list[int]:
        return list(codec.tokenizer(build_prompt(one, mode, "mini"))["input_ids"])

    return [Task(one, mode, 0, prompt(one), 3) for one in problems]


@pytest.mark.vllm
@pytest.mark.parametrize("follow", [False, True])
def test_the_true_server_answers_as_transformers_does(
    served: tuple[str, subprocess.Popen[bytes]], follow: bool
) -> None:
    """Greedy, 200 problems, true programs; without ``follow`` and with it."""
    url, _ = served
    limits = RolloutConfig(max_tokens=160)
    model, codec = load_model(ModelConfig()), load_codec(ModelConfig())
    asked = mini_tasks(codec, 200)
    local = TransformersEngine(model, codec, temperature=0.0, top_p=1.0, batch_size=128)
    with (
        build_sandbox(SandboxConfig()) as sandbox,
        VLLMServerEngine(url, codec, temperature=0.0, top_p=1.0, follow=follow) as engine,
    ):
        ours = rollout_scheduler(local, sandbox, codec, limits).run(asked)
        theirs = rollout_scheduler(engine, sandbox, codec, limits).run(asked)
    found, faults = ties(model, ours, theirs)
    print(f"{policy_tokens(ours)} tokens, ties: {found}")
    assert faults == []
    assert len(found) <= 4
    assert sum(len(t.executions) for t in ours) > 50


@pytest.mark.vllm
def test_the_true_servers_logprobs_are_those_of_the_policy(
    served: tuple[str, subprocess.Popen[bytes]],
) -> None:
    """At a temperature of 0.7: of the distribution that was sampled from."""
    url, _ = served
    model, codec = load_model(ModelConfig()), load_codec(ModelConfig())
    with VLLMServerEngine(url, codec, temperature=0.7, top_p=1.0) as engine:
        limits = RolloutConfig(max_tokens=160)
        scheduler = rollout_scheduler(engine, FakeSandbox(), codec, limits)
        trajectories = scheduler.run(mini_tasks(codec, 16, "code"))
    for trajectory in trajectories:
        ids, first = trajectory.task.prompt_ids + trajectory.completion_ids, len(trajectory.task.prompt_ids)
        with torch.no_grad():
            logits = model(torch.tensor([ids])).logits[0, first - 1 : -1]
        true = (logits / 0.7).log_softmax(-1).gather(1, torch.tensor(ids[first:])[:, None])[:, 0]
        assert trajectory.logprobs is not None
        ours = [x for x, sampled in zip(trajectory.logprobs, trajectory.mask, strict=True) if sampled]
        theirs = true[torch.tensor(trajectory.mask, dtype=torch.bool)].tolist()
        assert ours == pytest.approx(theirs, abs=1e-3)


@pytest.mark.vllm
def test_evaluation_against_the_true_server(
    served: tuple[str, subprocess.Popen[bytes]], tmp_path: Path
) -> None:
    url, _ = served
    command = [
        sys.executable, "-m", "src.evaluate", "engine=vllm_server", f"engine.server.url={url}",
        "benchmark.size=24", "evaluate.modes=[code]", "rollout.max_tokens=160",
        f"hydra.run.dir={tmp_path}",
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert summary["settings"]["engine"] == "vllm_server"
    assert summary["results"]["code"]["n"] == 24
    assert 0.3 < summary["results"]["code"]["accuracy"] <= 1.0
    assert len((tmp_path / "trajectories.jsonl").read_text().splitlines()) == 24


@pytest.mark.vllm
def test_a_server_that_is_killed_ends_the_rollout(
    served: tuple[str, subprocess.Popen[bytes]], pauses: None
) -> None:
    """The last test: it takes the server away. What had finished is there."""
    url, server = served
    codec = load_codec(ModelConfig())
    finished = []
    with VLLMServerEngine(url, codec, temperature=1.0, top_p=1.0) as engine:
        stream = rollout_scheduler(engine, FakeSandbox(), codec, RolloutConfig(max_tokens=160)).stream(
            mini_tasks(codec, 200)
        )
        for _, trajectory in itertools.islice(stream, 5):
            finished.append(trajectory)
        os.killpg(server.pid, signal.SIGKILL)
        with pytest.raises(EngineError, match="is unavailable"):
            finished += [trajectory for _, trajectory in stream]
        assert engine.pending == 0
    assert all(trajectory.stop_reason for trajectory in finished)  # whole, those from before
    assert len(finished) == 5
