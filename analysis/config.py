"""Settings that all analyses of evaluated policies share."""

from __future__ import annotations

from dataclasses import dataclass

from src.config.schema import option, seed_option


@dataclass
class IntervalConfig:
    """Settings of intervals, and the modes."""

    modes: list[str] | None = option(None, "modes to analyse; null: all in the records")
    confidence: float = option(0.95, "confidence level of intervals", above=0, below=1)
    resamples: int = option(2000, "bootstrap resamples over problems", at_least=100)
    seed: int = seed_option(0, "seed of the bootstrap")


@dataclass
class AnalysisConfig(IntervalConfig):
    """Common settings; each script adds its own."""

    policies: dict[str, str | list[str]] = option(
        "???",
        "name -> folder of an evaluation or a run, or a records file; with @PHASE if there are several "
        "phases; or a list of these, each with different modes",
    )
