"""What every analysis of evaluated policies is told."""

from __future__ import annotations

from dataclasses import dataclass

from src.config.schema import option, seed_option


@dataclass
class AnalysisConfig:
    """Common settings; each script adds its own."""

    policies: dict[str, str | list[str]] = option(
        "???",
        "folder of an evaluation or a run, or a records file, of each name; with @PHASE where there are "
        "several; or a list of these, each with modes of its own",
    )
    modes: list[str] | None = option(None, "null: all that the records hold")
    confidence: float = option(0.95, "of intervals", above=0, below=1)
    resamples: int = option(2000, "of the bootstrap over problems", at_least=100)
    seed: int = seed_option(0, "of the bootstrap")
