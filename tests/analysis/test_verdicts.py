"""What a difference, a ratio, a crossing or a change allows one to say."""

from __future__ import annotations

import numpy as np
import pytest

from analysis.stats import Estimate, Mean
from analysis.verdicts import adjusted, change, difference, multiple, overtaking, verdict


def gap(value: float, low: float = float("nan"), high: float = float("nan"), p: float = 0.04) -> Mean:
    return Mean(value, low, high, 3, p)


@pytest.mark.parametrize(
    ("found", "word", "sentence"),
    [
        (gap(-0.031, -0.05, -0.012), "lower",
         "b has lower m than a by 0.031 [0.012, 0.050] (3 seeds, 400 problems x 2)"),
        (gap(12.34, 1.5, 23.18), "higher",
         "b has higher m than a by 12.3 [1.5, 23.2] (3 seeds, 400 problems x 2)"),
        (gap(0.01, -0.03, 0.05), "none",
         "no difference found in m between b and a: +0.010 [-0.030, +0.050] (3 seeds, 400 problems x 2)"),
        (gap(0.01, 0.0, 0.02), "none",
         "no difference found in m between b and a: +0.010 [+0.000, +0.020] (3 seeds, 400 problems x 2)"),
        (gap(0.01), "one seed", "one seed: no interval for m, b minus a: +0.010"),
        (gap(float("nan")), "not measured",
         "m of b and a cannot be compared: one of them has no values"),
    ],
)  # fmt: skip
def test_sentences(found: Mean, word: str, sentence: str) -> None:
    row = difference("m", "b", "a", found, 3, 400, "2")
    assert (row["verdict"], row["sentence"]) == (word, sentence)
    assert (row["value"], row["low"]) == pytest.approx((found.value, found.low), nan_ok=True)


def test_an_interval_with_zero_is_never_a_difference() -> None:
    draw = np.random.default_rng(0)
    for value, one, other in draw.normal(0, 1, (200, 3)):
        low, high = min(value, one, other), max(value, one, other)
        assert (verdict(gap(value, low, high)) == "none") == (low <= 0 <= high)


def test_one_seed_says_nothing_about_others() -> None:
    sentence = difference("m", "b", "a", gap(0.2, 0.1, 0.3), 1, 400, "2")["sentence"]
    assert sentence.endswith("(1 seed, 400 problems x 2; other seeds may differ)")


@pytest.mark.parametrize(
    ("found", "word", "sentence"),
    [
        (Estimate(1.5, 1.2, 1.8, 40), "higher",
         "b takes 1.50 [1.20, 1.80] times the tokens of a (one policy each, 40 problems x 64)"),
        (Estimate(0.5, 0.4, 0.9, 40), "lower",
         "b takes 0.500 [0.400, 0.900] times the tokens of a (one policy each, 40 problems x 64)"),
        (Estimate(1.1, 0.9, 1.3, 40), "none",
         "no difference found in tokens between b and a: 1.10 [0.90, 1.30] times (one policy each, "
         "40 problems x 64)"),
        (Estimate(float("nan"), float("nan"), float("nan"), 0), "not measured",
         "tokens of b and a cannot be compared: no problem is solved by both"),
    ],
)  # fmt: skip
def test_multiples(found: Estimate, word: str, sentence: str) -> None:
    row = multiple("tokens", "b", "a", found, "64")
    assert (row["verdict"], row["sentence"], row["seeds"]) == (word, sentence, None)


@pytest.mark.parametrize(
    ("k", "share", "word", "sentence"),
    [
        (12.0, 0.99, "overtakes", "b overtakes a from k = 12 [5, 30], in 99% of the resamples"),
        (12.0, 0.6, "none",
         "no crossing found of b and a, whose curves meet only at k = 12 [5, 30], in 60% of the "
         "resamples"),
        (float("nan"), 0.1, "none",
         "b does not overtake a up to k = 64, and in only 10% of the resamples"),
        (float("nan"), 0.0, "none", "b does not overtake a up to k = 64"),
    ],
)  # fmt: skip
def test_overtaking(k: float, share: float, word: str, sentence: str) -> None:
    row = overtaking("a", "b", Estimate(k, 5, 30, 40), share, 0.95, 64, "64")
    assert (row["verdict"], row["sentence"]) == (word, f"{sentence} (one policy each, 40 problems x 64)")


def test_changes_of_one_arm() -> None:
    assert change("m", "a", gap(0.2, 0.1, 0.3), 3)["sentence"] == (
        "m of a is above 0: +0.200 [+0.100, +0.300] (3 seeds)"
    )
    assert "the interval contains 0" in change("m", "a", gap(0.2, -0.1, 0.3), 3)["sentence"]


def test_p_values_are_adjusted_within_a_measure() -> None:
    rows = adjusted([difference(m, "b", "a", gap(1, 0.5, 2, p), 3)
                     for m, p in (("m", 0.01), ("n", 0.02), ("m", 0.04))], 0.95)  # fmt: skip
    assert [row["p_holm"] for row in rows] == pytest.approx([0.02, 0.02, 0.04])
    assert [row["comparisons"] for row in rows] == [2, 1, 2]
    assert [row["verdict"] for row in rows] == ["higher"] * 3


def test_what_only_its_own_interval_shows_is_undecided() -> None:
    """Two comparisons of one measure, p = 0.03 and 0.5: adjusted 0.06."""
    found = [gap(0.045, 0.01, 0.08, 0.03), gap(0.03, -0.1, 0.16, 0.5)]
    first, second = adjusted([difference("m", "b", "a", one, 3, 300, "2") for one in found], 0.95)
    assert (first["verdict"], second["verdict"]) == ("undecided", "none")
    assert first["sentence"] == (
        "undecided in m between b and a: +0.045 [+0.010, +0.080] excludes 0, but p adjusted for 2 "
        "comparisons is 0.06 (3 seeds, 300 problems x 2)"
    )
    (alone,) = adjusted([difference("m", "b", "a", found[0], 3, 300, "2")], 0.95)
    assert alone["verdict"] == "higher"
