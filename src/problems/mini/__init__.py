"""The generated problem family on which the mini policy learns."""

from src.problems.mini.family import TEMPLATES, generate, stream

__all__ = ["TEMPLATES", "generate", "stream"]
