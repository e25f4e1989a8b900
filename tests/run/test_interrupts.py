"""Ctrl-C and SIGTERM, sent to a program that starts as ``src.train`` does."""

from __future__ import annotations

import signal
import subprocess
import time
from pathlib import Path

import pytest

from tests.shop import Shop

CODES = {signal.SIGINT: 130, signal.SIGTERM: 143}
NOTE = "stopping after this step, with a checkpoint; a second signal stops immediately\n"


def started(shop: Shop, seed: int, *overrides: str, **environment: str) -> subprocess.Popen[str]:
    process = shop.start(
        "model.path=model", f"trainer.seed={seed}", "hydra.run.dir=run", *overrides, program="alone",
        **environment,
    )  # fmt: skip
    assert process.stdout is not None
    process.stdout.readline()
    assert process.stdout.readline() in ("staying\n", "training\n")
    return process


@pytest.mark.parametrize("number", CODES)
def test_before_training_it_ends_at_once_with_one_line(number: signal.Signals, tmp_path: Path) -> None:
    process = started(Shop(tmp_path), 9)
    process.send_signal(number)
    _, error = process.communicate(timeout=10)
    assert (process.returncode, error) == (CODES[number], "interrupted\n")
    assert not (tmp_path / "run" / "lock").exists()


@pytest.mark.parametrize("number", CODES)
def test_in_training_the_step_is_finished(number: signal.Signals, tmp_path: Path) -> None:
    process = started(Shop(tmp_path), 10, "trainer.kl_coef=1")
    process.send_signal(number)
    _, error = process.communicate(timeout=10)
    assert (process.returncode, error) == (CODES[number], f"{NOTE}stopped after a step\n")


@pytest.mark.parametrize("number", CODES)
def test_a_second_one_ends_it_at_once(number: signal.Signals, tmp_path: Path) -> None:
    process = started(Shop(tmp_path), 10)  # its step does not end
    process.send_signal(signal.SIGINT)
    assert process.stderr is not None
    assert process.stderr.readline() == NOTE
    process.send_signal(number)
    _, error = process.communicate(timeout=10)
    assert (process.returncode, error) == (CODES[number], "interrupted\n")


def test_what_a_launcher_hands_on_is_no_second_one(tmp_path: Path) -> None:
    process = started(Shop(tmp_path), 10, WORLD_SIZE="2", RANK="0", LOCAL_RANK="0")
    process.send_signal(signal.SIGTERM)
    assert process.stderr is not None
    assert process.stderr.readline() == NOTE
    process.send_signal(signal.SIGTERM)
    time.sleep(1.1)  # an echo comes within a second
    assert process.poll() is None
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=10)
    assert process.returncode == 143


def test_an_ignored_one_stays_ignored(tmp_path: Path) -> None:
    """As shells tell their background jobs, which Ctrl-C is not meant for."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        process = started(Shop(tmp_path), 9)
    finally:
        signal.signal(signal.SIGINT, before)
    process.send_signal(signal.SIGINT)
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(0.5)
    process.terminate()
    process.communicate(timeout=10)
    assert process.returncode == 143
