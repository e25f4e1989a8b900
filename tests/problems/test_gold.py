"""Gold answers: taken out of worked solutions, and refused where nothing could equal them."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from src.config import BenchmarkConfig, DataConfig, FieldsConfig, HeldoutConfig
from src.launch.checks.problems import benchmark as benchmark_faults
from src.launch.checks.problems import data as data_faults
from src.problems import ProblemError, load_benchmark, load_data
from src.problems.files import read_problems, read_rows
from src.problems.gold import bare_answer, unreadable
from src.rewards import Grader
from src.rewards.golds import refuse_unreadable

GSM8K = [
    (
        "Natalia sold 48/2 = <<48/2=24>>24 in May.\nShe sold 48+24 = <<48+24=72>>72 clips.\n#### 72",
        "72",
    ),
    ("He pays 2*$700=$<<2*700=1400>>1400.\n#### 1,400", "1400"),
    ("It is 0.5-3 = -<<0.5-3=-2.5>>2.5 degrees.\n#### -2.5", "-5/2"),
    ("Six of them cost 6*3 = $<<6*3=18>>18.\n#### $18", "18.00"),
]
PARAGRAPHS = [
    "First we write the sum as a product of two numbers. Then we factor both.",
    "Let x be the number of apples.\nThen she has x + 3 of them",
    "We conclude that every such triangle has equal sides, which was to be shown",
    "The claim follows by induction on n.",
]


def write(path: Path, answers: Iterable[Any]) -> Path:
    rows = ({"problem": f"What is number {i}?", "answer": answer} for i, answer in enumerate(answers))
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def file_config(train: Path, heldout: Path, **fields: Any) -> DataConfig:
    return DataConfig(
        kind="file", train_path=str(train), heldout_path=str(heldout), fields=FieldsConfig(**fields)
    )


class TestWhatIsTakenOut:
    def test_gsm8k_gives_answers_that_grade(self, tmp_path: Path) -> None:
        taken: Counter[str] = Counter()
        problems = read_problems(
            write(tmp_path / "gsm8k.jsonl", [solution for solution, _ in GSM8K]), FieldsConfig(), taken=taken
        )
        with Grader(1, 10) as grader:
            pairs = [(problem.answer, answer) for problem, (_, answer) in zip(problems, GSM8K, strict=True)]
            assert [grade.correct for grade in grader.grade(pairs)] == [True] * len(GSM8K)
        assert taken == {"#### ANSWER": len(GSM8K)}

    @pytest.mark.parametrize(
        ("text", "answer", "how"),
        [
            ("We get $x = 2$, so $x^2 = \\boxed{4}$.", "4", r"\boxed{ANSWER}"),
            (
                "Half is \\boxed{2}.\nSo \\boxed{\\frac{1}{2}} remains.",
                "\\frac{1}{2}",
                r"\boxed{ANSWER}",
            ),
            ("so \\fbox{7}", "7", r"\boxed{ANSWER}"),
            ("He has 3 and 4 of them. The answer is 7.", "7", "The answer is ANSWER"),
            ("3 + 4 = 7\n**Answer: $7$**", "7", "The answer is ANSWER"),
            ("The answer is 3? No. The final answer is: 5.5", "5.5", "The answer is ANSWER"),
            ("\\boxed{3} is not it.\n#### 4", "4", "#### ANSWER"),
            ('["\\\\frac{1}{2}"]', "\\frac{1}{2}", '["ANSWER"]'),
        ],
    )
    def test_known_endings(self, text: str, answer: str, how: str) -> None:
        assert bare_answer(text) == (answer, how)

    @pytest.mark.parametrize(
        "text",
        ["4", "-1,234.5", "A", "\\text{Tuesday}", "(1,2)", "[1,2]", '["1", "2"]',
         "\\boxed{3} or \\boxed{4}", "x = 3 \\text{ or } x = 5", "f(x)=2x", "5 apples",
         "1. We sum.\n#### Step 2\nWe divide.", "\\boxed{}"],
    )  # fmt: skip
    def test_a_bare_answer_stays(self, text: str) -> None:
        assert bare_answer(text) == (text, None)

    @pytest.mark.parametrize(
        ("value", "answer"), [([4], "4"), (["x+1"], "x+1"), (1e-07, "0.0000001"), (2.5, "2.5")]
    )
    def test_numbers_and_lists_of_one(self, value: object, answer: str) -> None:
        (problem,) = read_rows([("row 1", {"problem": "?", "answer": value})], FieldsConfig(), "x", "x")
        assert problem.answer == answer


class TestAPatternOfOnesOwn:
    FIELDS = FieldsConfig(answer_pattern=r"=> (\S+)")

    def test_its_last_match_counts(self, tmp_path: Path) -> None:
        taken: Counter[str] = Counter()
        path = write(tmp_path / "a.jsonl", ["a => 1, b => 2", "#### 5 => 6"])
        assert [p.answer for p in read_problems(path, self.FIELDS, taken=taken)] == ["2", "6"]
        assert taken == {r"=> (\S+)": 2}

    def test_a_row_without_a_match_is_named(self, tmp_path: Path) -> None:
        path = write(tmp_path / "a.jsonl", ["=> 1", "it is 2"])
        with pytest.raises(ProblemError, match=r"line 2: field 'answer' has no match of data\.fields\.ans"):
            read_problems(path, self.FIELDS)

    @pytest.mark.parametrize(
        ("pattern", "fault"),
        [("Answer: .+", "it has 0 groups"), ("(a)(b)", "it has 2 groups"), ("(a", "not a regular")],
    )
    def test_one_that_cannot_be_used_is_refused(self, pattern: str, fault: str) -> None:
        fields = FieldsConfig(answer_pattern=pattern)
        for found, at in [
            (data_faults(DataConfig(kind="file", fields=fields), "data."), "data.fields."),
            (
                data_faults(DataConfig(kind="file", heldout=HeldoutConfig(fields=fields)), "data."),
                "data.heldout.fields.",
            ),
            (benchmark_faults(BenchmarkConfig(fields=fields), "benchmark."), "benchmark.fields."),
        ]:
            assert [one for one in found if one.startswith(f"{at}answer_pattern=") and fault in one], found


class TestRefusal:
    def of(self, path: Path, group: str) -> list[Callable[[], object]]:
        """The ways in which a file comes into a run."""
        good = write(path.with_name("good.jsonl"), range(50, 60))
        if group == "data":
            return [lambda: load_data(file_config(path, good))]
        if group == "data.heldout":
            named = HeldoutConfig(benchmark=f"file@{path}")
            return [
                lambda: load_data(file_config(good, path)),
                lambda: load_data(replace(file_config(good, path), heldout_path=None, heldout=named)),
            ]
        return [lambda: load_benchmark(BenchmarkConfig(kind="file", name="x", path=str(path)))]

    @pytest.mark.parametrize("group", ["data", "data.heldout", "benchmark"])
    def test_paragraphs_are_refused_with_the_first_three(self, tmp_path: Path, group: str) -> None:
        path = write(tmp_path / "prose.jsonl", ["4", *PARAGRAPHS])
        for load in self.of(path, group):
            with pytest.raises(ProblemError) as caught:
                load()
            said = str(caught.value)
            assert said.startswith(f"{group}.fields.answer=answer: 4 of 5 gold answers of prose.jsonl cannot")
            for line, answer in zip((2, 3, 4), PARAGRAPHS, strict=False):
                assert f"line {line}: {answer!r}" in said
            assert "induction" not in said
            assert f"{group}.fields.answer_pattern=REGEX" in said

    def test_one_in_a_hundred_is_let_pass(self, tmp_path: Path) -> None:
        numbers = [str(number) for number in range(198)]
        read_problems(write(tmp_path / "a.jsonl", numbers + PARAGRAPHS[:2]), FieldsConfig())
        with pytest.raises(ProblemError, match="3 of 201"):
            read_problems(write(tmp_path / "a.jsonl", numbers + PARAGRAPHS[:3]), FieldsConfig())
        read_problems(write(tmp_path / "a.jsonl", PARAGRAPHS), FieldsConfig(max_unreadable=1))

    @pytest.mark.parametrize(
        ("answer", "why"),
        [("4\n5", "several lines"), ("\\frac{1}{", "braces"), ("\\frac{1}", "lacks an argument"),
         ("\\left(1,2)", "do not match"), ("$4", r"a single \$"), ("--", "no letter or digit"),
         ("\\boxed{3} or \\boxed{4}", "several boxes"), ("\\boxed{}", "or an empty one"),
         ("4\\", "backslash")],
    )  # fmt: skip
    def test_what_cannot_be_read(self, answer: str, why: str) -> None:
        assert re.search(why, unreadable(answer) or "")

    @pytest.mark.parametrize(
        "answer",
        ["4", "A", "(A)", "\\text{Tuesday}", "Tuesday", "no solution", "Yes.", "18.", "\\$5", "$5$", "½",
         "∞", "π",
         "3 hours and 20 minutes", "x = 3 \\text{ or } x = 5",
         "all positive integers that are divisible by 3",
         "\\begin{pmatrix}\n1 & 2 \\\\\n3 & 4\n\\end{pmatrix}", "\\frac12", "\\sqrt[3]{5}",
         "\\left(1,2\\right]"],
    )  # fmt: skip
    def test_what_can(self, answer: str) -> None:
        assert unreadable(answer) is None

    def test_the_grader_refuses_latex_that_only_it_knows_to_be_unreadable(self) -> None:
        rows = [(f"row {i}", {"problem": "?", "answer": answer}) for i, answer in enumerate(
            ["\\frac{1}{2}", "\\sqrt{2}", "\\nosuch^_", "x^2", "\\text{Tuesday}", "7"])]  # fmt: skip
        problems = read_rows(rows, FieldsConfig(), "x", "x.jsonl")
        with pytest.raises(
            ProblemError, match=r"^benchmark\.fields\.answer.* 1 of 6 .*nosuch.*cannot parse it"
        ):
            refuse_unreadable(problems, FieldsConfig(), "benchmark", 10, workers=1)
        refuse_unreadable(problems[:2] + problems[3:], FieldsConfig(), "benchmark", 10, workers=1)


def test_what_was_taken_out_is_said(tmp_path: Path) -> None:
    train = write(tmp_path / "train.jsonl", [solution for solution, _ in GSM8K])
    heldout = write(tmp_path / "heldout.jsonl", ["\\boxed{1}", "so \\boxed{2}", "3"])
    data = load_data(file_config(train, heldout))
    assert data.report["answers_taken"] == {"train": {"#### ANSWER": 4}, "heldout": {r"\boxed{ANSWER}": 1}}
    assert "train: 4 gold answers were extracted from longer texts: 4 by #### ANSWER" in data.line
    assert "heldout: 1 gold answers" in data.line
