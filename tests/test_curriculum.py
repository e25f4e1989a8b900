"""Budgets by rollout step."""

from __future__ import annotations

from src.config import CurriculumConfig
from src.curriculum import build_curriculum


def test_the_papers_schedule_is_the_default() -> None:
    budget = build_curriculum(CurriculumConfig())
    assert [budget(step) for step in (0, 99, 100, 199, 200, 10_000)] == [2, 2, 3, 3, 4, 4]


def test_fixed() -> None:
    budget = build_curriculum(CurriculumConfig(kind="fixed", budget=0))
    assert {budget(step) for step in range(500)} == {0}
