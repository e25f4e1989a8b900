"""A row and a sentence for each difference between arms."""

from __future__ import annotations

import math
from typing import Any

from analysis.stats import Estimate, Mean, holm


def verdict(gap: Estimate) -> str:
    """Return higher, lower, none, one seed or not measured; none: the interval contains 0.

    None means that no difference was found, not that there is none.
    """
    if math.isnan(gap.value):
        return "not measured"
    if math.isnan(gap.low):
        return "one seed"
    if gap.low <= 0 <= gap.high:
        return "none"
    return "higher" if gap.value > 0 else "lower"


def difference(
    measure: str,
    arm: str,
    baseline: str,
    gap: Estimate,
    seeds: int | None,
    problems: int | None = None,
    k: str | None = None,
) -> dict[str, Any]:
    """Return the row of an arm against the baseline.

    Args:
        measure: name of the measure.
        arm: the arm.
        baseline: the arm that it is compared with.
        gap: ``arm`` minus ``baseline``.
        seeds: number of seeds; None: one policy each.
        problems: number of common problems; None: the measure is of a training curve.
        k: trajectories per problem, as text.
    """
    found, size, shown = verdict(gap), _size(seeds, problems, k), numbers(gap, "+")
    if found in ("higher", "lower"):
        sentence = f"{arm} has {found} {measure} than {baseline} by {numbers(_absolute(gap))} {size}"
    elif found == "none":
        sentence = f"no difference found in {measure} between {arm} and {baseline}: {shown} {size}"
    elif found == "one seed":
        sentence = f"one seed: no interval for {measure}, {arm} minus {baseline}: {shown}"
    else:
        sentence = f"{measure} of {arm} and {baseline} cannot be compared: one of them has no values"
    return _row(measure, arm, baseline, gap, seeds, problems, k, found, sentence)


def multiple(measure: str, arm: str, baseline: str, ratio: Estimate, k: str) -> dict[str, Any]:
    """Return the row of the ratio of an arm's measure to the baseline's; 1 means no difference."""
    found = verdict(Estimate(ratio.value - 1, ratio.low - 1, ratio.high - 1, ratio.n))
    size = _size(None, ratio.n, k)
    if found in ("higher", "lower"):
        sentence = f"{arm} takes {numbers(ratio)} times the {measure} of {baseline} {size}"
    elif found == "none":
        sentence = (
            f"no difference found in {measure} between {arm} and {baseline}: {numbers(ratio)} times {size}"
        )
    else:
        sentence = f"{measure} of {arm} and {baseline} cannot be compared: no problem is solved by both"
    return _row(measure, arm, baseline, ratio, None, ratio.n, k, found, sentence)


def crosses(share: float, confidence: float) -> bool:
    """Return whether a crossing in this fraction of the resamples is reported."""
    return share >= confidence


def overtaking(
    ahead: str, behind: str, k: Estimate, share: float, confidence: float, k_max: int, samples: str
) -> dict[str, Any]:
    """Return the row that states whether one pass@k curve overtakes another.

    Args:
        ahead: the arm that leads at k = 1.
        behind: the other arm.
        k: smallest k at which ``behind`` leads, nan if it never does; ``n`` problems.
        share: fraction of resamples in which the curves cross; reported if at least ``confidence``.
        confidence: level of the interval.
        k_max: the largest k.
        samples: trajectories per problem, as text.
    """
    size = _size(None, k.n, samples)
    if math.isnan(k.value):
        found, sentence = "none", f"{behind} does not overtake {ahead} up to k = {k_max}"
        if share >= 0.005:
            sentence += f", and in only {share:.0%} of the resamples"
    else:
        where = f"k = {k.value:.0f} [{k.low:.0f}, {k.high:.0f}], in {share:.0%} of the resamples"
        found = "overtakes" if crosses(share, confidence) else "none"
        sure = f"{behind} overtakes {ahead} from" if found == "overtakes" else (
            f"no crossing found of {behind} and {ahead}, whose curves meet only at"
        )  # fmt: skip
        sentence = f"{sure} {where}"
    return _row("crossing", behind, ahead, k, None, k.n, samples, found, f"{sentence} {size}")


def change(measure: str, arm: str, gap: Mean, seeds: int) -> dict[str, Any]:
    """Return the row of a change within one arm."""
    found, size, shown = verdict(gap), _size(seeds, None, None), numbers(gap, "+")
    if found in ("higher", "lower"):
        sentence = f"{measure} of {arm} is {'above' if found == 'higher' else 'below'} 0: {shown} {size}"
    elif found == "none":
        sentence = f"no change found in {measure} of {arm}, the interval contains 0: {shown} {size}"
    elif found == "one seed":
        sentence = f"one seed: no interval for {measure} of {arm}: {shown}"
    else:
        sentence = f"{measure} of {arm} has no values"
    return _row(measure, arm, None, gap, seeds, None, None, found, sentence)


def adjusted(rows: list[dict[str, Any]], confidence: float) -> list[dict[str, Any]]:
    """Return the rows with ``p_holm`` and ``comparisons``, within the family of each measure.

    A difference whose interval excludes 0, but whose adjusted p is not significant, is ``undecided``.
    """
    families: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        families.setdefault(row["measure"], []).append(row)
    for family in families.values():
        for row, p in zip(family, holm([row["p"] for row in family]), strict=True):
            row.update(p_holm=p, comparisons=len(family))
            if row["verdict"] in ("higher", "lower") and p >= 1 - confidence:
                gap = Estimate(row["value"], row["low"], row["high"], 0)
                between = f"between {row['arm']} and {row['baseline']}" if row["baseline"] else row["arm"]
                row["verdict"] = "undecided"
                size = _size(row["seeds"], row["problems"], row["k"])
                row["sentence"] = (
                    f"undecided in {row['measure']} {between}: {numbers(gap, '+')} excludes 0, but p "
                    f"adjusted for {len(family)} comparisons is {p:.2g} {size}"
                )
    return rows


def _row(
    measure: str,
    arm: str,
    baseline: str | None,
    gap: Estimate,
    seeds: int | None,
    problems: int | None,
    k: str | None,
    found: str,
    sentence: str,
) -> dict[str, Any]:
    return {
        "measure": measure, "arm": arm, "baseline": baseline, "value": gap.value, "low": gap.low,
        "high": gap.high, "p": gap.p if isinstance(gap, Mean) else math.nan, "seeds": seeds,
        "problems": problems, "k": k, "verdict": found, "sentence": sentence,
    }  # fmt: skip


def _size(seeds: int | None, problems: int | None, k: str | None) -> str:
    size = None if problems is None else f"{problems} problems" + (f" x {k}" if k else "")
    if seeds is None:
        return f"(one policy each, {size})"
    text = f"{seeds} seed{'s' if seeds != 1 else ''}"
    if size is not None:
        text += f", {size}"
        if seeds == 1:
            text += "; other seeds may differ"
    return f"({text})"


def _absolute(gap: Estimate) -> Estimate:
    if gap.value >= 0:
        return gap
    return Estimate(-gap.value, -gap.high, -gap.low, gap.n)


def numbers(gap: Estimate, sign: str = "") -> str:
    """Return value and interval, with the digits that the largest of them needs."""
    known = [abs(number) for number in (gap.value, gap.low, gap.high) if math.isfinite(number)]
    largest = max(known, default=0.0)
    if 0 < largest < 0.01:
        form = f"{sign}.2g"
    else:
        form = f"{sign}.{max(0, 2 - math.floor(math.log10(max(largest, 0.1))))}f"
    text = f"{gap.value:{form}}"
    return text if math.isnan(gap.low) else f"{text} [{gap.low:{form}}, {gap.high:{form}}]"
