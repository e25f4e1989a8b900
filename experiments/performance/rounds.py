"""What interleaved rounds of a benchmark say together."""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Sequence
from typing import Any

from scipy.stats import quantile_test

LEAST = 6  # fewer have no interval that covers the median in 95 %


def number_of_rounds(text: str) -> int:
    """Return ``--rounds``. Raises ArgumentTypeError: there would be too few for an interval."""
    if not text.isdecimal() or int(text) < LEAST:
        raise argparse.ArgumentTypeError(f"{text}: expected a number of at least {LEAST}, for an interval")
    return int(text)


def summary(values: Sequence[float]) -> dict[str, Any]:
    """Return the values of at least LEAST rounds, their median, and its 95 % interval.

    The interval is of order statistics: it holds whatever the distribution of the values.
    """
    found = quantile_test(values, p=0.5).confidence_interval(0.95)
    return {
        "rounds": values,
        "median": statistics.median(values),
        "interval": (float(found.low), float(found.high)),
    }
