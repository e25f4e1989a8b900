"""Checks of what only shows while running: weights of engine and trainer, resuming, several processes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from typing import Any

import torch

from src.config.paths import ROOT
from src.doctor.patient import ERROR, OK, WARNING, Finding, Patient
from src.rollout.engines import Request
from src.run import checkpoints
from src.run.processes import Ranks
from src.run.provenance import config_hash
from src.run.records import read_records
from src.sandbox.api import printable

_SEQUENCES, _TOKENS = 10, 24
_CLOSE = {"float32": 1e-3, "bfloat16": 0.1, "float16": 0.05}  # largest mean difference of a logprob
_OTHERS = {"float32": 0.02, "bfloat16": 0.15, "float16": 0.1}  # largest share of tokens: ties
_STEP = 0.5  # how far the weights are moved, in standard deviations
_LONGEST = 300.0  # seconds of a process


def weights(patient: Patient) -> Iterator[Finding]:
    """Engine and trainer have the same weights, before and after new ones are pushed.

    Ten sequences are sampled greedily: each token must be the trainer's most likely one and, where the engine
    gives logprobs, have the trainer's.
    """
    run, cfg = patient.training, patient.cfg
    dtype = cfg.trainer.autocast or cfg.model.dtype
    run.trainer.push_weights()
    samples = _sampled(patient, temperature=0.0)
    before = _disagreement(patient, samples)
    moved = _moved(patient)
    kept = [one.detach().clone() for one in moved]
    with torch.no_grad():
        for one in moved:
            noise = torch.randn(one.shape, generator=torch.Generator().manual_seed(0))
            one.add_(_STEP * one.std() * noise.to(one))
    if not patient.has("stale weights"):
        run.trainer.push_weights()
        samples = _sampled(patient, temperature=0.0)
    after = _disagreement(patient, samples)
    with torch.no_grad():
        for one, old in zip(moved, kept, strict=True):
            one.copy_(old)
    run.trainer.push_weights()
    said = "of the engine's tokens are not the trainer's choice"
    text = f"{max(before[0], after[0]):.1%} {said} (before and after new weights, {_SEQUENCES} sequences)"
    if before[1] is not None and after[1] is not None:
        text += f"; logprobs differ by {max(before[1], after[1]):.1e} in the mean"
    far = max(before[1] or 0.0, after[1] or 0.0) > _CLOSE[dtype]
    if max(before[0], after[0]) > _OTHERS[dtype] or far:
        yield Finding(ERROR, text, "the engine has other weights than the trainer, or another dtype")
    else:
        yield Finding(OK, text)


def adapter(patient: Patient) -> Iterator[Finding]:
    """A change of an adapter changes what the engine samples from."""
    run, cfg = patient.training, patient.cfg
    if not cfg.model.lora.rank:
        yield Finding(OK, "not needed: all weights are trained")
        return
    run.trainer.push_weights()
    first = _sampled(patient, temperature=1.0)
    with torch.no_grad():
        for name, one in run.trainer.model.named_parameters():
            if "lora_B" in name:
                one.add_(torch.randn(one.shape, generator=torch.Generator().manual_seed(1)).to(one))
    run.trainer.push_weights()
    second = first if patient.has("an adapter that is not delivered") else _sampled(patient, temperature=1.0)
    if [one.token_ids for one in first] == [one.token_ids for one in second]:
        yield Finding(
            ERROR, "the engine samples the same with another adapter", "check the engine's weight sync"
        )
    else:
        yield Finding(OK, f"the engine follows the adapter (rank {cfg.model.lora.rank})")


def resume(patient: Patient) -> Iterator[Finding]:
    """A run of two steps that is killed after the first one goes on, and consumes each problem once."""
    if patient.training.kind == "vllm" or patient.cfg.trainer.batch_size > 1024:
        remedy = "examine a smaller run: engine=transformers, and a smaller trainer.batch_size"
        yield Finding(WARNING, "not tried: two steps of this run take long", remedy)
        return
    folder = patient.folder / "resume"
    group = patient.cfg.trainer.samples_per_prompt * patient.cfg.trainer.minibatches
    process = _start([*two_steps(patient), f"hydra.run.dir={folder}"], patient)
    first = folder / "checkpoints" / "step-1"
    deadline = time.monotonic() + _LONGEST
    while not checkpoints.complete(first.parent) and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    if patient.has("a damaged checkpoint") and (first / "optimizer.pt").exists():
        (first / "optimizer.pt").write_bytes(b"")
    if not checkpoints.complete(first.parent):
        yield Finding(
            ERROR, f"killed after its first step, the run cannot go on: {_end(patient)}", "see the error"
        )
        return
    code = _start([f"trainer.resume={folder}"], patient).wait()
    if code:
        yield Finding(ERROR, f"the resumed run ended with code {code}: {_end(patient)}", "see the error")
        return
    records = [one for one in read_records(folder / "trajectories.jsonl") if one.phase == "train"]
    counts = Counter((one.step, one.problem_id, one.sample) for one in records)
    if len(records) != 2 * group or max(counts.values()) > 1:
        text = f"{len(records)} trajectories of two steps instead of {2 * group}"
        yield Finding(ERROR, f"the resumed run lost or repeated some: {text}", "report this")
    else:
        yield Finding(OK, "killed after its first step, a run goes on, and consumes each problem once")


def two_steps(patient: Patient) -> list[str]:
    """Return the overrides of two steps of the run, each with one problem for each optimizer step."""
    cfg = patient.cfg.trainer
    group = cfg.samples_per_prompt * cfg.minibatches
    return [
        *patient.overrides,
        "trainer.steps=2",
        "trainer.checkpoint_every=1",
        "trainer.warmup_steps=0",
        "trainer.dynamic_sampling=0",  # which would sample more than are counted
        f"trainer.batch_size={group}",
        f"trainer.micro_batch_size={min(cfg.micro_batch_size, group // cfg.minibatches)}",
        "evaluate.phases=[after]",
        "evaluate.every=0",
        "evaluate.benchmarks=[]",
        f"evaluate.modes=[{patient.cfg.evaluate.modes[0]}]",
        "data.heldout_size=4",
        "tracking=none",
    ]


def ranks(patient: Patient) -> Iterator[Finding]:
    """All processes have the same settings and the same weights."""
    world = Ranks()
    weights = sum(float(one.detach().double().sum()) for one in patient.training.trainer.model.parameters())
    found = world.gather((config_hash(patient.cfg), round(weights, 6)))
    if patient.has("other settings in a process"):
        found = [*found, ("other", found[0][1])]
    if patient.has("other weights in a process"):
        found = [*found, (found[0][0], found[0][1] + 1)]
    if len(set(found)) > 1:
        yield Finding(
            ERROR, f"processes differ in settings or weights: {found}", "start them with one launcher"
        )
    else:
        yield Finding(OK, f"{len(found)} processes agree" if len(found) > 1 else "one process")


def _moved(patient: Patient) -> list[torch.Tensor]:
    """Return two matrices that are trained, the last ones."""
    model: Any = patient.training.trainer.model
    return [one for one in model.parameters() if one.requires_grad and one.dim() == 2][-2:]


def _disagreement(patient: Patient, samples: list[Any]) -> tuple[float, float | None]:
    """Return the share of tokens that are not the trainer's choice, and the mean difference of logprobs."""
    run = patient.training
    model: Any = run.trainer.model
    other, total, apart = 0, 0, []
    model.eval()
    for prompt, one in zip(_prompts(patient), samples, strict=True):
        ids = torch.tensor([[*prompt, *one.token_ids]], device=next(model.parameters()).device)
        with torch.no_grad(), run.trainer.accelerator.autocast():
            scores = model(ids).logits[0, len(prompt) - 1 : -1].float()
        chosen = torch.tensor(one.token_ids, device=scores.device)
        other += int((scores.argmax(-1) != chosen).sum())
        total += len(one.token_ids)
        if one.logprobs is not None:
            ours = scores.log_softmax(-1).gather(-1, chosen[:, None])[:, 0]
            apart.append(float((ours - torch.tensor(one.logprobs, device=scores.device)).abs().mean()))
    model.train()
    return other / max(total, 1), sum(apart) / len(apart) if apart else None


def _prompts(patient: Patient) -> list[list[int]]:
    run = patient.training
    found = run.environment.prompts.ids(run.problems[:_SEQUENCES], patient.cfg.rollout.mode)
    return [found[index % len(found)] for index in range(_SEQUENCES)]


def _sampled(patient: Patient, temperature: float) -> list[Any]:
    """Have the engine sample, with the same random numbers each time; in order."""
    engine = patient.training.engine(temperature, 1.0)
    engine.start(lambda: None)
    try:
        for index, prompt in enumerate(_prompts(patient)):
            engine.submit(Request(index, prompt, _TOKENS, None, seed=index))
        found: list[Any] = []
        deadline = time.monotonic() + _LONGEST
        while len(found) < _SEQUENCES and time.monotonic() < deadline:
            found += engine.poll(time.monotonic() + 1.0)
    finally:
        engine.stop()
    return sorted(found, key=lambda one: one.id)


def _start(overrides: list[str], patient: Patient) -> subprocess.Popen[bytes]:
    with (patient.folder / "log.txt").open("ab") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "src.train", *overrides],
            cwd=ROOT,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )


def _end(patient: Patient) -> str:
    lines = (patient.folder / "log.txt").read_text(errors="replace").strip().splitlines()
    return printable(" ".join(lines[-3:])[-500:])
