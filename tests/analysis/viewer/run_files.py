"""Folders of small runs for the viewer's tests: records, and token columns that agree with them."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from transformers import AutoTokenizer

from src.config.paths import ROOT
from src.policy.codec import TokenCodec
from src.run.processes import Ranks
from src.run.records import ExecutionRecord, RecordWriter, SegmentRecord, TrajectoryRecord
from src.run.token_columns import CLIPS, SCHEMA, TokenWriter

MINI = ROOT / "experiments" / "mini_base"
PROMPT = "Problem: {problem}\nMode: free\n\n"


@cache
def codec() -> TokenCodec:
    return TokenCodec(AutoTokenizer.from_pretrained(MINI))


def record(problem_id: str = "p/0", **changed: Any) -> TrajectoryRecord:
    """Return a trajectory with two turns; ``policy`` and ``tool`` are parts of its text."""
    policy = changed.pop("policy", "é 𝒳 so I write")
    said = changed.pop("tool", "4")
    program = "import math  # 'x'\nprint(2 ** 2)"
    problem = changed.pop("problem", "What is $2^2$?")
    texts = [
        ("policy", f"{policy}\n```python\n{program}\n```\n"),
        ("tool", f"```output\n{said}\n```\n"),
        ("policy", "The answer is $\\boxed{4}$."),
    ]
    ended = len(codec().encode(texts[2][1])) + 1  # with the end-of-text token, which has no text
    sizes = [*(len(codec().encode(text)) for _, text in texts[:2]), ended]
    one = TrajectoryRecord(
        phase="train",
        mode="free",
        step=0,
        attempt=0,
        sample=0,
        problem_id=problem_id,
        problem=problem,
        gold="4",
        subject="Algebra",
        level=2,
        source="test",
        budget=2,
        prompt_tokens=len(codec().encode(PROMPT.format(problem=problem))),
        segments=[
            SegmentRecord(author, text, size, None if author == "policy" else "python", 0.5)
            for (author, text), size in zip(texts, sizes, strict=True)
        ],
        executions=[ExecutionRecord("ok", 0.25, None, "python", program, said)],
        stop_reason="answered",
        dropped_tokens=0,
        answer="4",
        correct=True,
        rewards={"correctness": 1.0, "total": 1.0},
        correct_lenient=True,
        seed=2**62 + 1,
        prompt=PROMPT.format(problem=problem),
        group=0,
    )
    return replace(one, **changed)


def ids_of(one: TrajectoryRecord) -> tuple[list[int], list[str]]:
    """Return the token ids of a trajectory and the author of each."""
    ids, authors = codec().encode(PROMPT.format(problem=one.problem)), ["prompt"] * one.prompt_tokens
    for segment in one.segments:
        own = codec().encode(segment.text)
        own += sorted(codec().eos_ids)[:1] * (segment.tokens - len(own))
        ids, authors = ids + own, authors + [segment.author] * len(own)
    return ids, authors


def row(one: TrajectoryRecord, seed: int = 0, **changed: Any) -> dict[str, Any]:
    """Return token columns of a trajectory with random values."""
    draw = random.Random(f"{seed} {one.step} {one.problem_id!a} {one.sample}")
    ids, authors = ids_of(one)
    trained = [author == "policy" for author in authors]
    known = [author != "prompt" for author in authors]

    def values(where: list[bool], low: float, high: float) -> list[float | None]:
        return [float(np.float32(draw.uniform(low, high))) if there else None for there in where]

    logprobs = values(known, -4, 0)
    found = {
        **{name: getattr(one, name) for name in ("phase", "mode", "problem_id", "step", "attempt", "sample")},
        "group": one.group,
        "policy_version": one.step,
        "optimizer_step": one.step,
        "process": 0,
        "micro_batch": 0,
        "place": one.sample,
        "advantage": float(np.float32(draw.uniform(-2, 2))),
        "prompt_tokens": one.prompt_tokens,
        "token_ids": ids,
        "author": authors,
        "mask": trained,
        "reason": [
            {"prompt": "prompt", "policy": "trained", "tool": "feedback"}[author] for author in authors
        ],
        "sampled_logprob": [
            float(np.float32(value + draw.gauss(0, 0.05))) if counts and value is not None else None
            for value, counts in zip(logprobs, trained, strict=True)
        ],
        "logprob": logprobs,
        "old_logprob": None,
        "entropy": values(known, 0, 3),
        "ratio": values(known, 0.7, 1.4),
        "engine_weight": values(trained, 0, 3),
        "clipped": [draw.choice(CLIPS) if there else None for there in known],
    }
    return found | changed


def write_records(folder: Path, records: Sequence[TrajectoryRecord]) -> None:
    with RecordWriter(folder / "trajectories.jsonl") as writer:
        writer.write_records(records)


def write_tokens(folder: Path, rows: Sequence[dict[str, Any]]) -> None:
    """Write a file for each step and attempt."""
    writer = TokenWriter(folder, Ranks())
    for step, attempt in sorted({(one["step"], one["attempt"]) for one in rows}):
        own = [one for one in rows if (one["step"], one["attempt"]) == (step, attempt)]
        writer.write(pa.Table.from_pylist(own, SCHEMA), step, attempt)


def describe(folder: Path, steps: int) -> None:
    """Write settings, metrics and summary of a run."""
    (folder / "config.json").write_text(
        json.dumps({"model": {"path": str(MINI)}, "trainer": {"steps": steps}})
    )
    metrics = [{"step": at, "attempt": 0, "reward": at / 10, "accuracy": at / 20} for at in range(steps)]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(one) + "\n" for one in metrics))
    prompt = {"mode": "free", "tokens": 5, "text": "first\u202eprompt"}
    (folder / "summary.json").write_text(json.dumps({"prompt": prompt}))


def write(
    folder: Path, *, steps: int = 4, problems: int = 3, samples: int = 2, seed: int = 0
) -> list[TrajectoryRecord]:
    """Write a run whose problems come back at every step, evaluated before and after; return its records."""
    folder.mkdir(parents=True, exist_ok=True)
    draw = random.Random(seed)
    records = []
    for phase, at in [("before", 0), *(("train", step) for step in range(steps)), ("after", steps)]:
        for number in range(problems):
            for sample in range(samples if phase == "train" else 1):
                right = draw.random() < 0.3 + at / 10
                total = 1.0 if right else -1.0
                records.append(
                    record(
                        f"p/{number}",
                        phase=phase,
                        step=at,
                        sample=sample,
                        group=number if phase == "train" else None,
                        subject=("Algebra", "Geometry", None)[number % 3],
                        policy=f"try {draw.randrange(9)} at {at} é 𝒳 \U0001f600",
                        tool="x" * draw.randrange(30),
                        correct=right,
                        rewards={"correctness": total, "total": total},
                        stop_reason=draw.choice(["answered", "length"]),
                    )
                )
    write_records(folder, records)
    write_tokens(folder, [row(one, seed) for one in records if one.phase == "train"])
    describe(folder, steps)
    return records
