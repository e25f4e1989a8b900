"""Formats of tool calls and results in text; one module per format (docs/extending.md)."""

from src.formats.base import Format, Piece, RawCall, Scanner, Span
from src.formats.fence import FenceFormat
from src.formats.fence_released import ReleasedFenceFormat
from src.formats.hermes import HermesFormat
from src.formats.tags import TagFormat

__all__ = [
    "FenceFormat",
    "Format",
    "HermesFormat",
    "Piece",
    "RawCall",
    "ReleasedFenceFormat",
    "Scanner",
    "Span",
    "TagFormat",
]
