"""The measurements of experiments/grading, on a small benchmark."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from experiments.grading.parity import ALTERATIONS, altered, by_math_verify, differences
from src.config.paths import ROOT

ANSWERS = [
    r"\frac{1}{2}",
    "10",
    r"\left( 3, \frac{\pi}{2} \right)",
    "x^2 - 7",
    r"\sqrt{13}",
    r"\text{Evelyn}",
]


@pytest.mark.parametrize(("shift", "status"), [(0, 0), (1, 1)])
def test_status_says_whether_targets_are_met(tmp_path: Path, shift: int, status: int) -> None:
    golds = ANSWERS[shift:] + ANSWERS[:shift]
    rows = [
        {"solution": f"So ${'x' * number} = \\boxed{{{answer}}}$.", "answer": gold}
        for number, (answer, gold) in enumerate(zip(ANSWERS, golds, strict=True), start=1)
    ]
    path = tmp_path / "benchmark.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)))
    done = subprocess.run(
        [sys.executable, "-m", "experiments.grading.check", "--path", path, "--workers", "1"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == status, done.stderr
    right = f"{0 if shift else 6} of     6 equivalent"
    assert right in done.stdout.splitlines()[0]


def test_math_verify_mode_gives_the_verdicts_of_math_verify() -> None:
    golds = [*ANSWERS, "12", "x=3", "(1,2)", r"\{1,2\}", "0.5", "x>2", "1,000", r"30^\circ"]
    pairs = [(gold, gold) for gold in golds] + altered(golds, 4 * len(ALTERATIONS))
    verdicts = [by_math_verify(*pair) for pair in pairs]
    assert len(pairs) == len(set(pairs)) == len(golds) + 4 * len(ALTERATIONS)
    assert 10 < sum(verdicts) < len(pairs) - 10
    assert differences(pairs, workers=2) == []
