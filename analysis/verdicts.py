"""What a difference between arms allows one to say: a row and a sentence for each."""

from __future__ import annotations

import math
from typing import Any

from analysis.stats import Mean, holm


def verdict(gap: Mean) -> str:
    """Return higher, lower, none, one seed or not measured; none is any interval that contains 0."""
    if math.isnan(gap.value):
        return "not measured"
    if math.isnan(gap.low):
        return "one seed"
    if gap.low <= 0 <= gap.high:
        return "none"
    return "higher" if gap.value > 0 else "lower"


def difference(
    measure: str, arm: str, baseline: str, gap: Mean, seeds: int, problems: int | None
) -> dict[str, Any]:
    """Return the row of an arm against the baseline."""
    found, size, shown = verdict(gap), _size(seeds, problems), numbers(gap, "+")
    if found in ("higher", "lower"):
        sentence = f"{arm} has {found} {measure} than {baseline} by {numbers(_absolute(gap))} {size}"
    elif found == "none":
        sentence = f"no difference found in {measure} between {arm} and {baseline}: {shown} {size}"
    elif found == "one seed":
        sentence = f"one seed: no interval for {measure}, {arm} minus {baseline}: {shown}"
    else:
        sentence = f"{measure} of {arm} and {baseline} cannot be compared: one of them has no such values"
    return _row(measure, arm, baseline, gap, seeds, problems, found, sentence)


def change(measure: str, arm: str, gap: Mean, seeds: int) -> dict[str, Any]:
    """Return the row of a change that an arm by itself has made, or has not."""
    found, size, shown = verdict(gap), _size(seeds, None), numbers(gap, "+")
    if found in ("higher", "lower"):
        sentence = f"{measure} of {arm} is {'above' if found == 'higher' else 'below'} 0: {shown} {size}"
    elif found == "none":
        sentence = f"no change found in {measure} of {arm}, the interval contains 0: {shown} {size}"
    elif found == "one seed":
        sentence = f"one seed: no interval for {measure} of {arm}: {shown}"
    else:
        sentence = f"{measure} of {arm} has no values"
    return _row(measure, arm, None, gap, seeds, None, found, sentence)


def adjusted(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the rows with ``p_holm`` and ``comparisons``, within the family of each measure."""
    families: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        families.setdefault(row["measure"], []).append(row)
    for family in families.values():
        for row, p in zip(family, holm([row["p"] for row in family]), strict=True):
            row.update(p_holm=p, comparisons=len(family))
    return rows


def _row(
    measure: str,
    arm: str,
    baseline: str | None,
    gap: Mean,
    seeds: int,
    problems: int | None,
    found: str,
    sentence: str,
) -> dict[str, Any]:
    return {
        "measure": measure, "arm": arm, "baseline": baseline, "value": gap.value, "low": gap.low,
        "high": gap.high, "p": gap.p, "seeds": seeds, "problems": problems, "verdict": found,
        "sentence": sentence,
    }  # fmt: skip


def _size(seeds: int, problems: int | None) -> str:
    text = f"{seeds} seed{'s' if seeds != 1 else ''}"
    if problems is not None:
        text += f", {problems} problems"
        if seeds == 1:
            text += "; says nothing about other seeds"
    return f"({text})"


def _absolute(gap: Mean) -> Mean:
    if gap.value >= 0:
        return gap
    return Mean(-gap.value, -gap.high, -gap.low, gap.n, gap.p)


def numbers(gap: Mean, sign: str = "") -> str:
    """Return value and interval, with as many digits as the largest of them needs."""
    known = [abs(one) for one in (gap.value, gap.low, gap.high) if math.isfinite(one)]
    largest = max(known, default=0.0)
    if 0 < largest < 0.01:
        form = f"{sign}.2g"
    else:
        form = f"{sign}.{max(0, 2 - math.floor(math.log10(max(largest, 0.1))))}f"
    text = f"{gap.value:{form}}"
    return text if math.isnan(gap.low) else f"{text} [{gap.low:{form}}, {gap.high:{form}}]"
