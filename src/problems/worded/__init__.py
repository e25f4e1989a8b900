"""The generated problem family for pretrained language models: many phrasings, and word problems."""

from src.problems.worded.family import TEMPLATES, UNSEEN, generate, stream

__all__ = ["TEMPLATES", "UNSEEN", "generate", "stream"]
