"""A run of two processes that is killed again and again: ``processes_kills.py FOLDER KILLS STEPS SEED``.

Everything is imported once; the processes of each attempt are forked from here, and both are killed at once.
"""

from __future__ import annotations

import os
import random
import signal
import socket
import sys
import time
import traceback
from pathlib import Path

import torch

from src.config import Config, CurriculumConfig
from src.run import checkpoints
from src.run.processes import Ranks
from src.run.records import last_attempt
from tests import tiny

WORLD = 2


def config(steps: int) -> Config:
    cfg = tiny.config(steps=steps, checkpoint_every=2, batch_size=8, samples_per_prompt=4, learning_rate=1e-3)
    cfg.curriculum = CurriculumConfig(
        kind="adaptive", start=1, budget=4, window=steps // 8, min_exhausted_rate=0.0, max_reward_drift=9.0
    )
    cfg.records.tokens = True
    return cfg


def train(rank: int, port: int, folder: Path, steps: int) -> None:
    """The life of one process."""
    names = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": WORLD, "LOCAL_WORLD_SIZE": WORLD}
    os.environ |= {name: str(value) for name, value in names.items()}
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    torch.set_num_threads(1)
    with Ranks(120) as ranks:
        found = checkpoints.complete(folder / "checkpoints")
        checkpoint = ranks.broadcast(str(found[-1]) if found else None)
        attempt = ranks.broadcast(last_attempt(folder / "trajectories.jsonl") + 1)
        trainer = tiny.trainer(config(steps), folder, ranks=ranks, attempt=attempt)
        trainer.train(resume_from_checkpoint=checkpoint)


def start(folder: Path, steps: int) -> list[int]:
    """Fork the processes of an attempt."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    pids = []
    for rank in range(WORLD):
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                train(rank, port, folder, steps)
                code = 0
            except BaseException:
                traceback.print_exc()
            finally:
                sys.stderr.flush()
                os._exit(code)
        pids.append(pid)
    return pids


def steps_done(folder: Path, per_step: int) -> int:
    path = folder / "trajectories.jsonl"
    return path.read_bytes().count(b"\n") // per_step if path.exists() else 0


def wait_and_kill(pids: list[int], folder: Path, per_step: int, draw: random.Random) -> None:
    """Kill at a random moment: while they start, or within the step after the first, second or third."""
    wanted, before = draw.randrange(4), steps_done(folder, per_step)
    began = time.monotonic()
    while steps_done(folder, per_step) < before + wanted:
        for pid in pids:
            if (ended := os.waitpid(pid, os.WNOHANG)) != (0, 0):
                sys.exit(f"a process ended by itself: {ended}")
        time.sleep(0.01)
        if steps_done(folder, per_step) == before:
            began = time.monotonic()  # of the step that is then the first
    time.sleep(draw.uniform(0, time.monotonic() - began if wanted > 1 else 0.2 if wanted else 1.5))
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
    ends = [os.waitpid(pid, 0)[1] for pid in pids]
    if ends != [signal.SIGKILL] * WORLD:
        sys.exit(f"a process ended by itself: {ends}")


def main(folder: Path, kills: int, steps: int, seed: int) -> None:
    draw = random.Random(seed)
    for _ in range(kills):
        wait_and_kill(start(folder, steps), folder, config(steps).trainer.batch_size, draw)
    codes = [os.waitpid(pid, 0)[1] for pid in start(folder, steps)]
    sys.exit(int(any(codes)))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]))
