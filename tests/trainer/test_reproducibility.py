"""The conditions of an update, as JSON and back."""

from __future__ import annotations

import json

import pytest
import torch

from src.trainer.reproducibility import conditions, machine, restore

CPU = torch.device("cpu")


def test_random_numbers_go_on_as_they_did() -> None:
    torch.rand(3)
    found = json.loads(json.dumps(conditions(CPU)))
    expected = torch.randperm(9).tolist(), torch.rand(4).tolist()
    torch.manual_seed(1)
    assert torch.randperm(9).tolist() != expected[0]
    restore(found, CPU)
    assert (torch.randperm(9).tolist(), torch.rand(4).tolist()) == expected


def test_the_number_of_threads_is_set_only_if_it_is_another(monkeypatch: pytest.MonkeyPatch) -> None:
    """Once torch is told a number, MKL adds up in another order than in a run where nobody did so."""
    told: list[int] = []
    monkeypatch.setattr(torch, "set_num_threads", told.append)
    found = conditions(CPU)
    restore(found, CPU)
    assert told == []
    restore(found | {"threads": found["threads"] + 1}, CPU)
    assert told == [found["threads"] + 1]


def test_the_machine_is_named() -> None:
    assert machine(CPU) == {
        "torch": torch.__version__,
        "device": f"cpu {torch.backends.cpu.get_cpu_capability()}",
        "threads": torch.get_num_threads(),
    }
