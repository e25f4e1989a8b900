"""Where a rollout's time goes."""

from __future__ import annotations

import time

import pytest

from src.rollout import meter as module
from src.rollout.meter import Meter


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [100.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    return now


def test_idle_is_only_what_the_engine_spends_with_nothing_to_do(clock: list[float]) -> None:
    meter = Meter()
    meter.waited(2.0, 10)
    meter.waited(1.0, 40)
    meter.waited(0.5, 0)
    assert meter.seconds() == {"generation": 3.0, "execution": 0.5}
    assert meter.metrics()["running_sequences"] == pytest.approx((2 * 10 + 1 * 40) / 3)


def test_rates_count_up_to_the_end(clock: list[float]) -> None:
    meter = Meter(_began=100.0)
    meter.sampled, meter.executions, meter.live = 600, 30, 3
    clock[0] += 2
    assert meter.line() == "3 live, 300 tokens/s, 15.0 executions/s"
    clock[0] += 1
    meter.end()
    clock[0] += 50
    assert meter.elapsed == 3
    assert meter.metrics()["tokens_per_second"] == 200
    assert meter.live == 0


def test_turn_latencies_are_quantiles_of_recent_turns() -> None:
    meter = Meter()
    assert "turn_p50_seconds" not in meter.metrics()
    meter.turns += [100.0] * 10
    meter.turns += [i / 16_384 for i in range(16_384)]
    metrics = meter.metrics()
    assert metrics["turn_p50_seconds"] == pytest.approx(0.5, abs=1e-3)
    assert metrics["turn_p95_seconds"] == pytest.approx(0.95, abs=1e-3)


def test_nothing_yet_divides_by_nothing() -> None:
    meter = Meter()
    assert meter.metrics()["running_sequences"] == 0.0
    assert "0 live" in meter.line()
    assert meter.elapsed <= time.monotonic()
