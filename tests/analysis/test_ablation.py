"""Planted differences between arms are found within their intervals; where there are none, none are."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from analysis import ablation
from analysis.ablation import HELDOUT, AblationConfig
from analysis.arms import Run, load_heldout, load_runs
from analysis.data import AnalysisError
from analysis.measures import HOWS, Measure, Windows
from experiments.analysis.synthetic_runs import PLANS, STEPS, RunPlan, metrics, write, write_run
from src.run.records import RecordWriter, read_metrics, read_records
from tests.analysis.test_scripts import run

MEASURES = ["accuracy:last", "reward:drop", "accuracy:gain", "accuracy:rise", "accuracy_after_failure:all"]
SLOPE = 1 / (STEPS - 1)
Verdicts = dict[tuple[str, str], dict[str, Any]]  # by arm and measure


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[str]]:
    return write(tmp_path_factory.mktemp("runs"))


@pytest.fixture(scope="module")
def written(folders: dict[str, list[str]], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The analysis, as a command."""
    out = tmp_path_factory.mktemp("out")
    listed = ",".join(f"{arm}: [{','.join(mine)}]" for arm, mine in folders.items())
    done = run(
        "ablation", f"arms={{{listed}}}", "baseline=staged",
        "metrics=[reward,accuracy,accuracy_after_failure]", f"measures={json.dumps(MEASURES)}",
        f"hydra.run.dir={out}",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    words = " ".join(done.stdout.split())
    assert "fixed_2 has lower accuracy:last than staged by 0.09" in words
    assert f"comparisons ({3 * (1 + len(MEASURES))})" in words
    return out


@pytest.fixture(scope="module")
def verdicts(written: Path) -> Verdicts:
    rows = json.loads((written / "ablation.json").read_text())["results"]["verdicts"]
    return {(row["arm"], row["measure"]): row for row in rows}


# What is planted, as arm minus staged. Of two dips that fall 0.16 and rise 0.014 with a step, the larger is
# expected to be 0.016 deeper than that, for noise.
PLANTED = {
    ("fixed_2", HELDOUT): -0.3,
    ("fixed_2", "accuracy:last"): -0.1 * (1 - 4.5 * SLOPE),
    ("fixed_2", "accuracy:gain"): -0.1 * (1 - 9 * SLOPE),
    ("fixed_2", "accuracy:rise"): 0.08,
    ("no mask", "reward:drop"): 0.9 - (0.16 + 0.016),
}


@pytest.mark.parametrize("of", PLANTED, ids=" ".join)
def test_what_is_planted_is_found(verdicts: Verdicts, of: tuple[str, str]) -> None:
    found, truth = verdicts[of], PLANTED[of]
    assert found["verdict"] == ("higher" if truth > 0 else "lower")
    assert found["low"] <= truth <= found["high"]
    assert found["seeds"] == 3
    assert (found["problems"], found["k"]) == ((400, "1") if of[1] == HELDOUT else (None, None))
    assert found["sentence"].startswith(f"{of[0]} has {found['verdict']} {of[1]} than staged by ")
    assert found["p"] < 0.05
    assert found["p"] <= found["p_holm"] <= 3 * found["p"]


# One in twenty of such comparisons is found to differ, as the interval says; these seeds are not among them.
@pytest.mark.parametrize(
    "of", [("same again", HELDOUT), ("no mask", HELDOUT), ("same again", "accuracy:last"),
           ("same again", "accuracy:rise"), ("same again", "reward:drop")], ids=" ".join
)  # fmt: skip
def test_where_nothing_is_planted_nothing_is_found(verdicts: Verdicts, of: tuple[str, str]) -> None:
    assert verdicts[of]["verdict"] == "none"
    assert verdicts[of]["low"] <= 0 <= verdicts[of]["high"]
    assert verdicts[of]["sentence"].startswith(f"no difference found in {of[1]} between {of[0]} and staged: ")


def in_memory(plan: RunPlan, seed: int, luck: int) -> Run:
    rows = metrics(plan, np.random.default_rng([seed, luck]))
    curves = {name: np.array([row[name] for row in rows]) for name in ("accuracy", "reward", "budget")}
    return Run("run", Path("run"), seed, [row["step"] for row in rows], curves)


@pytest.mark.parametrize(
    ("how", "other", "truth"),
    [
        *((how, "same again", 0.0) for how in ("last", "drop", "rise")),
        *((how, "fixed_2", PLANTED["fixed_2", f"accuracy:{how}"]) for how in ("last", "gain", "rise")),
    ],
)
def test_intervals_hold_the_truth_as_often_as_they_say(how: str, other: str, truth: float) -> None:
    """Nominal 5 % of 200 comparisons do not: 10, with a standard deviation of 3.1."""
    missed = 0
    for luck in range(200):
        arms = {arm: [in_memory(PLANS[arm], seed, 2 * luck + i) for seed in range(3)]
                for i, arm in enumerate(("staged", other))}  # fmt: skip
        _, (row,) = ablation.on_curves(arms, "staged", [Measure("accuracy", how)], AblationConfig())
        assert (row["verdict"] == "none") == (row["low"] <= 0 <= row["high"])
        missed += not row["low"] <= truth <= row["high"]
    assert 1 <= missed <= 20


def test_tables_and_figures(written: Path, folders: dict[str, list[str]]) -> None:
    table = pl.read_csv(written / "ablation.csv")
    assert table.height == len(PLANS) * (1 + len(MEASURES))
    assert len(table["of_seeds"][0].split()) == 3
    assert pl.read_csv(written / "verdicts.csv").height == 3 * (1 + len(MEASURES))
    curves = pl.read_csv(written / "curves.csv")
    assert curves.height == STEPS * len(PLANS) * 4
    one = curves.filter((pl.col("arm") == "fixed_2") & (pl.col("metric") == "reward") & (pl.col("step") == 7))
    expected = [read_metrics(Path(folder, "metrics.jsonl"))[7]["reward"] for folder in folders["fixed_2"]]
    assert one["mean"].item() == pytest.approx(np.mean(expected))
    assert (one["min"].item(), one["max"].item()) == pytest.approx((min(expected), max(expected)))
    missing = curves.filter((pl.col("metric") == "accuracy_after_failure") & (pl.col("step") == 7))
    assert (missing["seeds"].to_list(), missing["mean"].null_count()) == ([0] * 4, 4)
    for name in ("curves", "ablation"):
        assert (written / f"{name}.png").read_bytes().startswith(b"\x89PNG")
        assert "same again" in (written / f"{name}.svg").read_text()
    settings = json.loads((written / "ablation.json").read_text())["settings"]
    assert [run["seed"] for run in settings["runs"]["no mask"]] == [0, 1, 2]


class TestMeasures:
    CURVE = np.array([0.0, 1.0, np.nan, 5.0, 2.0, 3.0])  # before 3 on the line to 3, from it on to 5 or so
    WINDOWS = Windows(last=2, around=3, window=3)

    @pytest.mark.parametrize(
        ("how", "expected"),
        [
            ("last", 2.5),
            ("first", 0.5),
            ("all", 11 / 5),
            ("max", 5.0),
            ("best", 10 / 3),
            ("drop", 3.0),
            ("gain", 2.0),
            ("rise", 13 / 3 - 3),  # lines through 0, 1 and through 5, 2, 3, where they meet step 3
        ],
    )
    def test_by_hand(self, how: str, expected: float) -> None:
        assert Measure("m", how).of(self.CURVE, self.WINDOWS, [3]) == pytest.approx(expected)

    def test_every_measure_is_tested_and_described(self) -> None:
        for text in HOWS.values():
            assert "{" not in text.format(**vars(self.WINDOWS))
        assert len(HOWS) == 8

    @pytest.mark.parametrize("how", HOWS)
    def test_nothing_has_no_value(self, how: str) -> None:
        assert np.isnan(Measure("m", how).of(np.full(4, np.nan), self.WINDOWS, []))

    def test_a_curve_that_only_rises_has_no_drop(self) -> None:
        assert Measure("m", "drop").of(np.arange(5.0), self.WINDOWS, []) == 0.0

    @pytest.mark.parametrize(
        ("measure", "bounds", "gap_bounds"),
        [
            ("accuracy:last", (0, 1), (-1, 1)),
            ("accuracy:gain", (-1, 1), (-2, 2)),
            ("entropy:last", (0, np.inf), (-np.inf, np.inf)),
            ("entropy:gain", None, None),
            ("reward:drop", (0, np.inf), (-np.inf, np.inf)),
            ("reward:last", None, None),
        ],
    )
    def test_intervals_end_at_what_is_possible(
        self, measure: str, bounds: tuple[float, float] | None, gap_bounds: tuple[float, float] | None
    ) -> None:
        parsed = Measure.parse(measure, "")
        assert (parsed.bounds, parsed.gap_bounds) == (bounds, gap_bounds)
        arms = {"a": [replace(in_memory(RunPlan(), seed, 0),
                              curves={parsed.metric: np.full(10, value), "budget": np.full(10, 2.0)})
                      for seed, value in enumerate((0.0, 0.0, 0.9))]}  # fmt: skip
        (row,), _ = ablation.on_curves(arms, "a", [parsed], AblationConfig())
        assert row["low"] >= (bounds or (-np.inf,))[0]
        assert (row["low"] < 0) == (measure == "reward:last")

    def test_without_rises_an_arm_is_measured_where_the_baselines_budget_rises(self) -> None:
        arms = {"staged": [in_memory(PLANS["staged"], 0, 0)], "fixed": [in_memory(PLANS["fixed_2"], 0, 0)]}
        found = ablation.measured(arms, "staged", Measure("accuracy", "rise"), Windows(10, 5, 5))
        assert found["fixed"].item() == pytest.approx(0, abs=0.02)
        assert found["staged"].item() == pytest.approx(-0.08, abs=0.02)
        assert np.isnan(
            ablation.measured(arms, "fixed", Measure("accuracy", "rise"), Windows(10, 5, 5))["fixed"]
        )

    @pytest.mark.parametrize("text", ["accuracy", "accuracy:middle", ":last"])
    def test_a_mistake_is_said(self, text: str) -> None:
        with pytest.raises(
            AnalysisError, match=rf"measures\[1\]={text}: give METRIC:HOW, where HOW is one of last"
        ):
            Measure.parse(text, "measures[1]")


def test_one_arm_by_itself_and_one_seed(tmp_path: Path) -> None:
    runs = [str(write_run(tmp_path / str(seed), PLANS["staged"], seed, problems=20)) for seed in range(3)]
    cfg = AblationConfig(arms={"staged": runs}, measures=["accuracy:gain", "accuracy:last"])
    arms, baseline, measures = ablation.check(cfg)
    rows, (row,) = ablation.on_curves(arms, baseline, measures, cfg)
    assert len(rows) == 2
    assert (row["measure"], row["baseline"], row["verdict"]) == ("accuracy:gain", None, "higher")
    assert ablation.on_problems(arms, baseline, cfg)[1] == []
    other = str(write_run(tmp_path / "other", PLANS["fixed_2"], 0, problems=20, luck=1))
    cfg = AblationConfig(arms={"staged": runs[:1], "fixed_2": [other]}, measures=["accuracy:last"])
    arms, baseline, measures = ablation.check(cfg)
    _, (row,) = ablation.on_curves(arms, baseline, measures, cfg)
    assert row["verdict"] == "one seed"
    rows, (row,), _ = ablation.on_problems(arms, baseline, cfg)
    assert (row["seeds"], row["problems"]) == (1, 20)
    assert row["verdict"] in ("lower", "none")
    assert "other seeds may differ" in row["sentence"]


def test_what_the_infrastructure_spoilt_is_left_out_of_every_run(tmp_path: Path) -> None:
    folders = [write_run(tmp_path / str(seed), RunPlan(), seed, problems=6, k=2) for seed in range(2)]
    file = folders[1] / "trajectories.jsonl"
    records = read_records(file)
    spoilt = {("p3", 0), ("p3", 1), ("p4", 0)}
    file.unlink()
    with RecordWriter(file) as writer:
        writer.write_records(
            replace(one, stop_reason="infrastructure", rewards=None, correct=False)
            if one.phase == "after" and (one.problem_id, one.sample) in spoilt else one
            for one in records
        )  # fmt: skip
    found = load_heldout(load_runs({"a": list(map(str, folders))}, []), "free")
    assert (found.values["a"].shape, found.left_out, found.k) == ((2, 5), 1, (1, 2))
    p4 = next(one for one in records if (one.problem_id, one.sample, one.phase) == ("p4", 1, "after"))
    assert found.values["a"][1, 3] == float(p4.correct)
    of_first = [
        one.correct for one in read_records(folders[0] / "trajectories.jsonl") if one.phase == "after"
    ]
    assert found.values["a"][0, 0] == np.mean(of_first[:2])


def rename_seed(folder: Path) -> None:
    (folder / "config.json").write_text('{"trainer": {"seed": 7}}')


def lose_seed(folder: Path) -> None:
    (folder / "config.json").unlink()
    (folder / "summary.json").unlink()


def lose_a_step(folder: Path) -> None:
    lines = (folder / "metrics.jsonl").read_text().splitlines(keepends=True)
    (folder / "metrics.jsonl").write_text("".join(lines[:-1]))


def lose_steps(folder: Path) -> None:
    (folder / "metrics.jsonl").unlink()


def ask_others(folder: Path) -> None:
    file = folder / "trajectories.jsonl"
    file.write_text(file.read_text().replace('"p1"', '"q1"'))


@pytest.mark.parametrize(
    ("spoil", "settings", "says"),
    [
        (rename_seed, {}, r"arms.b: its runs have the seeds \[0, 7\], those of a have \[0, 1\]"),
        (lose_seed, {}, r"arms.b\[1\]=.*: neither config.json nor summary.json contains its seed"),
        (lose_a_step, {}, r"arms.b\[1\]=.*: has 59 rollout steps, .* has 60"),
        (lose_steps, {}, r"arms.b\[1\]=.*: its metrics.jsonl is missing or empty"),
        (ask_others, {}, r"arms.b\[1\]=.*: 2 of its held-out problems differ from those of the first run"),
        (None, {"mode": "code"}, r"has no records of mode code after training \(it has: free\)"),
        (None, {"baseline": "c"}, "baseline=c: choose one of the arms a, b"),
        (None, {"metrics": ["loss"]}, "metrics=loss: none of these runs has it; choose from acc"),
        (None, {"measures": ["loss:last"]}, "metrics=loss: none of these runs has it"),
        (None, {"last": 31}, "last=31: a gain compares .* of 60 steps, which overlap; give last=30 at most"),
        (None, {"arms": {}}, "arms={}: no arm is given"),
        (None, {"arms": {"a": []}}, r"arms.a=\[\]: give the folders of its runs"),
    ],
)
def test_runs_that_cannot_be_compared_are_refused(
    tmp_path: Path, spoil: Callable[[Path], None] | None, settings: dict[str, Any], says: str
) -> None:
    arms = {
        arm: [str(write_run(tmp_path / arm / str(seed), RunPlan(), seed, problems=3)) for seed in (0, 1)]
        for arm in ("a", "b")
    }
    if spoil:
        spoil(tmp_path / "b" / "1")
    cfg = replace(AblationConfig(arms=arms), **settings)
    with pytest.raises(AnalysisError, match=says):
        ablation.on_problems(*ablation.check(cfg)[:2], cfg)


def test_the_same_run_twice_is_refused(tmp_path: Path) -> None:
    one = str(write_run(tmp_path, RunPlan(), 0, problems=3))
    with pytest.raises(AnalysisError, match=r"arms.a: two of its runs have the same seed \(\[0, 0\]\)"):
        load_runs({"a": [one, one]}, [])
