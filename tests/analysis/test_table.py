"""Policies over benchmarks: values, means, missing cells, published figures, and the four forms."""

from __future__ import annotations

import json
import math
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import yaml

from analysis import table_forms
from analysis.data import AnalysisError
from analysis.published import FILE, load_published
from analysis.stats import Estimate
from analysis.table import TableConfig, cells, chosen_rows, columns_of, mean_of, per_problem, published_cells
from src.run.records import RecordWriter
from tests.analysis.test_scripts import run
from tests.run.test_records import RECORD

FIVE = ["MATH500", "AMC23", "AIME24", "AIME25", "OlymMATH-EN-EASY"]


def write(folder: Path, benchmark: str, right: int, mode: str = "code", lenient: int | None = None) -> str:
    """Eight problems, two trajectories each; of these 16, the first ``right`` are correct."""
    with RecordWriter(folder / "trajectories.jsonl") as writer:
        writer.write_records(
            [
                replace(
                    RECORD, phase="evaluate", mode=mode, source=benchmark, problem_id=f"p{i // 2}",
                    sample=i % 2, correct=i < right, correct_lenient=None if lenient is None else i < lenient,
                )
                for i in range(16)
            ]
        )  # fmt: skip
    setting = {"temperature": 1.0, "top_p": 0.95, "budget": 5, "max_tokens": 99, "prompt_style": "plain"}
    summary = {"settings": {"commit": "abc", "benchmark": benchmark, **setting}, "results": {}}
    (folder / "summary.json").write_text(json.dumps(summary))
    return str(folder)


@pytest.fixture
def cfg(tmp_path: Path) -> TableConfig:
    """The policy ``a`` has both benchmarks, graded leniently, too; ``b`` has only one, in two modes."""
    return TableConfig(
        policies={
            "a": {
                "AIME24": write(tmp_path / "a24", "AIME24", 8, lenient=10),
                "AIME25": write(tmp_path / "a25", "AIME25", 4, lenient=4),
            },
            "b": {
                "AIME24": [
                    write(tmp_path / "b24", "AIME24", 16), write(tmp_path / "b24t", "AIME24", 2, mode="text")
                ]
            },
        },
        resamples=200,
    )  # fmt: skip


def found(cfg: TableConfig) -> dict[tuple[str, str, str], dict[str, Any]]:
    columns = columns_of(cfg)
    rows = list(cells(per_problem(cfg, columns, set(columns)), columns, cfg))
    keys = [(row["name"], row["grading"], row["benchmark"]) for row in rows]
    assert len(set(keys)) == len(keys)
    return dict(zip(keys, rows, strict=True))


class TestCells:
    def test_accuracies_means_and_sizes(self, cfg: TableConfig) -> None:
        rows = found(cfg)
        assert rows["a_code", "strict", "AIME24"]["value"] == 8 / 16
        assert rows["a_code", "lenient", "AIME24"]["value"] == 10 / 16
        assert rows["b_text", "strict", "AIME24"]["value"] == 2 / 16
        one = rows["b_code", "strict", "AIME24"]
        assert (one["value"], one["n"], one["k"]) == (1.0, 8, "2")
        assert 0.5 < one["low"] < 1.0, "all are right, and eight problems do not prove that all others are"
        assert rows["a_code", "strict", "mean"]["value"] == 6 / 16
        assert rows["a_code", "lenient", "mean"]["value"] == 7 / 16

    def test_what_is_not_there_is_missing_and_has_no_mean(self, cfg: TableConfig) -> None:
        rows = found(cfg)
        states = {key: row["state"] for key, row in rows.items()}
        assert len(rows) == 3 * 2 * 3  # arms, gradings, two benchmarks and the mean
        assert [key for key, state in states.items() if state == "missing"] == [
            *(("b_text", "strict", "AIME25"), ("b_text", "strict", "mean")),
            *(("b_text", "lenient", name) for name in ("AIME24", "AIME25", "mean")),
            *(("b_code", "strict", "AIME25"), ("b_code", "strict", "mean")),
            *(("b_code", "lenient", name) for name in ("AIME24", "AIME25", "mean")),
        ]
        assert all("value" not in row for row in rows.values() if row["state"] == "missing")

    def test_a_column_that_nobody_has_is_shown(self, cfg: TableConfig) -> None:
        rows = found(replace(cfg, benchmarks=["MATH500", "AIME25", "AIME24"]))
        assert rows["a_code", "strict", "MATH500"]["state"] == "missing"
        assert rows["a_code", "strict", "mean"]["state"] == "missing"

    def test_the_mean_of_one_benchmark_is_not_shown(self, cfg: TableConfig) -> None:
        one = replace(cfg, policies={"b": cfg.policies["b"]})
        assert {key[2] for key in found(one)} == {"AIME24"}

    def test_an_interval_of_a_mean_covers_it(self) -> None:
        """Against the bootstrap of the sum: three benchmarks of equal size have 1 / sqrt(3) of the width."""
        parts = [Estimate(0.5, 0.4, 0.6, 30), Estimate(0.3, 0.2, 0.4, 30), Estimate(0.1, 0.0, 0.2, 30)]
        mean = mean_of(parts)
        assert mean.value == pytest.approx(0.3)
        assert (mean.low, mean.high) == pytest.approx((0.3 - 0.1 / math.sqrt(3), 0.3 + 0.1 / math.sqrt(3)))
        assert mean.n == 90
        assert mean_of([Estimate(0.0, 0.0, 0.3, 8)] * 2).low == 0.0

    def test_modes_select_rows(self, cfg: TableConfig) -> None:
        assert {key[0] for key in found(replace(cfg, modes=["text"]))} == {"b_text"}
        with pytest.raises(AnalysisError, match=r"modes=\['free'\]: .* none of these modes"):
            found(replace(cfg, modes=["free"]))

    def test_the_folder_of_another_benchmark_is_refused(self, cfg: TableConfig) -> None:
        swapped = {"a": {"AIME24": cfg.policies["a"]["AIME25"], "AIME25": cfg.policies["a"]["AIME24"]}}
        with pytest.raises(AnalysisError, match=r"policies\.a\.AIME24=.*a25: its problems are of AIME25"):
            found(replace(cfg, policies=swapped))

    @pytest.mark.parametrize(
        ("changed", "says"),
        [
            ({"policies": {}}, "policies={}: no policy is given"),
            ({"policies": {"a": {}}}, "policies.a={}: no benchmark is given"),
            ({"policies": {"a": {"mean": "x"}}}, "no benchmark can have the name mean"),
            ({"benchmarks": ["AIME24"]}, "policies has AIME25, too"),
            ({"benchmarks": ["AIME24", "AIME24", "AIME25"]}, "give each once"),
        ],
    )
    def test_columns_that_cannot_be(self, cfg: TableConfig, changed: dict[str, Any], says: str) -> None:
        with pytest.raises(AnalysisError, match=re.escape(says)):
            columns_of(replace(cfg, **changed))


class TestPublished:
    def test_the_paper_s_own_mean_is_told_from_the_mean_of_its_figures(self) -> None:
        """52.4 is printed; (86.4 + 74.2 + 42.3 + 29.2 + 31.6) / 5 is 52.74."""
        published = load_published(str(FILE))
        (row,) = (one for one in published.rows if one.name == "CIR, Qwen2.5-Math-7B")
        mean, printed = published.means(row, FIVE)
        assert (round(mean or 0, 2), printed) == (52.74, 52.4)
        assert published.means(row, FIVE[:4])[1] is None, "the printed mean is of five"
        assert published.means(row, [*FIVE, "x"]) == (None, None)
        table = table_forms.grid([], list(published_cells(published, None, FIVE)), FIVE)
        last = {block.name: block.lines[0][1][-1] for block in table.blocks}
        assert last == {
            "CIR, Qwen2.5-Math-7B": "52.7 (printed: 52.4)",
            "CIR, Qwen3-8B": "66.3",
        } | {
            f"{name}, measured by CIR's authors": mean
            for name, mean in {
                "ToRL-7B": "50.5",
                "Qwen2.5-Math-7B-Instruct with code": "40.2",
                "Oat-Zero-7B": "39.3",
                "Eurus-2-7B-PRIME": "37.6",
                "SimpleRL-Zero-7B": "32.0",
                "Qwen2.5-Math-7B-Instruct": "27.3",
            }.items()
        }
        notes = " ".join(row.notes)
        assert "52.4" in notes
        assert "52.7" in notes
        assert "about 0.17 in the pass@k figure" in notes

    def test_a_row_of_which_only_the_mean_is_known(self) -> None:
        published = load_published(str(FILE))
        row = replace(published.rows[0], accuracies={})
        table = table_forms.grid([], list(published_cells(replace(published, rows=[row]), None, FIVE)), FIVE)
        assert table.blocks[0].lines[0][1] == ["-"] * 5 + ["52.4 (as printed)"]

    def test_every_figure_has_a_source(self) -> None:
        published = load_published(str(FILE))
        for row in published.rows:
            source = published.sources[row.source]
            assert source.url.startswith("https://")
            assert source.place

    @pytest.mark.parametrize(
        ("content", "says"),
        [
            ("rows: [", "not valid YAML"),
            ("rows: [{name: x, source: y}]", "rows[0].source=y: choose nothing"),
            ("rows: [{name: x}]", "rows[0].source: this value is mandatory"),
            ("rows: [{nome: x}]", "rows[0].nome=x: there is no such key"),
            ("x", "rows=x: expected a list"),
        ],
    )
    def test_a_file_that_cannot_be_read(self, tmp_path: Path, content: str, says: str) -> None:
        (tmp_path / "own.yaml").write_text(content)
        with pytest.raises(AnalysisError) as caught:
            load_published(str(tmp_path / "own.yaml"))
        assert f"published={tmp_path / 'own.yaml'}: {says}" in str(caught.value)

    def test_a_figure_above_100_and_a_name_given_twice(self, tmp_path: Path) -> None:
        source = {"title": "t", "url": "u", "place": "p", "sampling": "s"}
        row = {"name": "x", "source": "s", "accuracies": {"AIME24": 101.0}}
        file = tmp_path / "own.yaml"
        file.write_text(yaml.safe_dump({"sources": {"s": source}, "rows": [row]}))
        with pytest.raises(AnalysisError, match=r"AIME24=101\.0: must be at least 0 and at most 100"):
            load_published(str(file))
        row["accuracies"] = {}
        file.write_text(yaml.safe_dump({"sources": {"s": source}, "rows": [row, row]}))
        with pytest.raises(AnalysisError, match="several have the name x"):
            load_published(str(file))
        with pytest.raises(AnalysisError, match="this file does not exist"):
            load_published(str(tmp_path / "none.yaml"))

    def test_chosen_rows(self) -> None:
        published = load_published(str(FILE))
        rows = list(published_cells(published, ["CIR, Qwen3-8B"], FIVE))
        assert {row["name"] for row in rows} == {"CIR, Qwen3-8B"}
        with pytest.raises(AnalysisError, match=r"there is no CIR; choose CIR, Qwen2\.5-Math-7B;"):
            chosen_rows(published, ["CIR"])


def test_the_command_writes_the_table_in_four_forms(cfg: TableConfig, tmp_path: Path) -> None:
    given = "policies={" + ", ".join(
        f"{name}: {{" + ", ".join(f"{key}: {_text(one)}" for key, one in sources.items()) + "}"
        for name, sources in cfg.policies.items()
    ) + "}"  # fmt: skip
    done = run("table", given, "resamples=200", f"hydra.run.dir={tmp_path}/out")
    assert done.returncode == 0, done.stderr
    out = tmp_path / "out"
    csv = pl.read_csv(out / "table.csv")
    assert csv.filter(pl.col("kind") == "measured").height == 18
    content = json.loads((out / "table.json").read_text())
    assert content["settings"]["runs"]["a"]["AIME24"]["records"] == f"{tmp_path}/a24/trajectories.jsonl"
    assert (out / "table.png").read_bytes().startswith(b"\x89PNG")
    text, tex = (out / "table.md").read_text(), (out / "table.tex").read_text()
    lines = [line for line in text.splitlines() if line.startswith("|")]
    assert {line.count("|") for line in lines} == {6}
    assert [cell.strip() for cell in lines[0].split("|")[3:6]] == ["AIME24", "AIME25", "mean"]
    assert [line.split("|")[2].strip() for line in lines[2:5]] == ["strict", "lenient", "problems x k"]
    assert lines[2].startswith("| a_code | strict | 50.0 [")
    (b,) = (line for line in lines if line.startswith("| b_code"))
    assert [cell.strip() for cell in b.split("|")[4:6]] == ["missing", "missing"]
    assert "| CIR, Qwen2.5-Math-7B | published | 42.3 | 29.2 | 35.8 |" in lines
    assert "- Sampling of a on AIME24, AIME25; b on AIME24: temperature 1.0, top_p 0.95, budget 5" in text
    assert r"a\_code & strict & 50.0 [" in tex
    assert tex.count(r"\begin{tabular}") == tex.count(r"\end{tabular}") == 1
    rows = [line for line in tex.splitlines() if line.endswith(r"\\")]
    assert {len(re.findall(r"(?<!\\)&", line)) for line in rows} == {4}
    for form in (done.stdout, text, tex):
        assert "missing" in form
        assert "52.4" in form
        assert "0.17" in form


def _text(sources: str | list[str]) -> str:
    return sources if isinstance(sources, str) else f"[{', '.join(sources)}]"


def test_signs_of_latex_are_escaped() -> None:
    assert table_forms.tex(r"a_b & 5% of {x} \ ~ 30 x 16") == (
        r"a\_b \& 5\% of \{x\} \textbackslash{} \textasciitilde{} 30 $\times$ 16"
    )
