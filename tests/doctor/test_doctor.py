"""Every check is well where nothing is wrong, and finds the fault that is planted for it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from src.config import Config
from src.config.paths import ROOT
from src.doctor.__main__ import checks, examine
from src.doctor.checks_run import two_steps
from src.doctor.patient import ERROR, OK, WARNING, Check, Finding, Patient
from src.launch.entry import composed

OVERRIDES = ["+experiment=mini_debug", "tracking=none"]
FAULTS = {fault: check for check in checks() for fault in check.faults}
SLOW = ("resume",)
NEEDS_ADAPTER = ("adapter",)


@pytest.fixture(scope="module")
def patient() -> Iterator[Patient]:
    """Of the mini family; its parts are built once."""
    with Patient(composed("train", OVERRIDES, Config), OVERRIDES) as one:
        yield one


@pytest.fixture(scope="module")
def adapted() -> Iterator[Patient]:
    overrides = [*OVERRIDES, "model.lora.rank=4"]
    with Patient(composed("train", overrides, Config), overrides) as one:
        yield one


def found(patient: Patient, check: Check, fault: str | None) -> set[str]:
    patient.planted = fault
    try:
        findings = examine(patient, [check])[check.name]
    finally:
        patient.planted = None
    assert all(one.remedy for one in findings if one.level != OK)
    assert not any("the check failed" in one.text for one in findings), findings
    return {one.level for one in findings}


def quick() -> list[Check]:
    return [check for check in checks() if check.name not in (*SLOW, *NEEDS_ADAPTER)]


@pytest.mark.parametrize("check", quick(), ids=lambda check: check.name)
def test_nothing_is_found_where_nothing_is_wrong(patient: Patient, check: Check) -> None:
    assert ERROR not in found(patient, check, None)


@pytest.mark.parametrize("fault", [fault for check in quick() for fault in check.faults])
def test_a_planted_fault_is_found(patient: Patient, fault: str) -> None:
    expected = {WARNING, ERROR} if fault in ("no Landlock", "a template that drops thinking") else {ERROR}
    assert found(patient, FAULTS[fault], fault) & expected


def test_a_reward_is_judged_by_what_it_prefers(patient: Patient) -> None:
    """A wrong answer may be paid for its form, but not more than a right one."""
    (check,) = (one for one in checks() if one.name == "reward")
    reward = patient.cfg.reward
    kept = reward.wrong, reward.answered, reward.correct
    try:
        reward.wrong, reward.answered = 0.0, 0.1
        assert found(patient, check, None) == {OK}
        reward.correct = -1.0
        assert found(patient, check, None) == {ERROR}
    finally:
        reward.wrong, reward.answered, reward.correct = kept


def test_an_adapter_is_delivered_or_not(adapted: Patient) -> None:
    (check,) = (one for one in checks() if one.name == "adapter")
    assert found(adapted, check, None) == {OK}
    assert found(adapted, check, check.faults[0]) == {ERROR}
    (weights,) = (one for one in checks() if one.name == "weights")
    assert found(adapted, weights, None) == {OK}


@pytest.mark.long
def test_a_run_that_is_killed_goes_on_or_not() -> None:
    (check,) = (one for one in checks() if one.name == "resume")
    for fault, level in ((None, OK), (check.faults[0], ERROR)):
        with Patient(composed("train", OVERRIDES, Config), OVERRIDES) as one:
            assert found(one, check, fault) == {level}


def test_a_check_that_fails_is_an_error_and_the_others_go_on() -> None:
    def fails(patient: Patient) -> Iterator[Finding]:
        raise RuntimeError("broken [machine]")
        yield

    def works(patient: Patient) -> Iterator[Finding]:
        yield Finding(OK, "fine")

    with Patient(Config(), []) as one:
        results = examine(one, [Check("a", (), fails), Check("b", (), works)])
    assert [[finding.level for finding in findings] for findings in results.values()] == [[ERROR], [OK]]
    assert "RuntimeError: broken [machine]" in results["a"][0].text


def test_every_fault_belongs_to_one_check() -> None:
    assert len(FAULTS) == sum(len(check.faults) for check in checks())
    assert all(check.faults and check.find.__doc__ for check in checks())


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["--list"], 0, "stale weights"),
        (["--plant", "nothing"], 1, "choose one of 'old Python'"),
        (["trainer.batch_size=100"], 2, "trainer.batch_size=100: not divisible"),
        (["--plant", "old Python"], 1, "use Python 3.11 or 3.12"),
    ],
)
def test_the_command(arguments: list[str], code: int, said: str, tmp_path: Path) -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "src.doctor", *arguments], cwd=ROOT, capture_output=True, text=True
    )
    assert ended.returncode == code
    assert said in ended.stdout + ended.stderr


@pytest.mark.parametrize(
    "given",
    [
        ["+experiment=[mini_debug,dapo]"],
        ["+experiment=mini", "trainer.warmup_steps=5"],
        ["+experiment=mini", "evaluate.every=1", "evaluate.benchmarks=[{benchmark:mini,k:8}]"],
    ],
)
def test_the_two_steps_that_are_killed_are_two_steps_of_any_run(given: list[str]) -> None:
    with Patient(composed("train", given, Config), given) as one:
        cfg = composed("train", two_steps(one), Config)
    assert (cfg.trainer.steps, cfg.trainer.dynamic_sampling) == (2, 0)
    assert (cfg.evaluate.every, cfg.evaluate.benchmarks) == (0, [])
