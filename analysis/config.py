"""What every analysis of evaluated policies is told."""

from __future__ import annotations

from dataclasses import dataclass, field

from src.config.schema import option, seed_option


@dataclass
class AnalysisConfig:
    """Common settings; each script adds its own."""

    # name -> run folder or records file, or either@PHASE; or a list of these, each with modes of its own
    policies: dict[str, str | list[str]] = field(default_factory=dict)
    modes: list[str] | None = None  # null: all that the records hold
    confidence: float = option(0.95, above=0, below=1)  # of intervals
    resamples: int = option(2000, at_least=100)  # of the bootstrap over problems
    seed: int = seed_option(0)  # of the bootstrap
