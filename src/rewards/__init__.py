"""Rewards: extracting and grading answers, and the terms of a trajectory's reward."""

from src.rewards.answers import Grade, Grader, GraderError, extract_answer, last_expression
from src.rewards.compose import Reward, compose
from src.rewards.terms import Outcome

__all__ = [
    "Grade",
    "Grader",
    "GraderError",
    "Outcome",
    "Reward",
    "compose",
    "extract_answer",
    "last_expression",
]
