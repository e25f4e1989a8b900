"""The generated problem family on which the mini policy learns."""

from src.problems.mini.family import TEMPLATES, generate

__all__ = ["TEMPLATES", "generate"]
