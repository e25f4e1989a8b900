"""Fields of problem files that are recognised by their names and contents."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import polars
import pytest

from src.config import BenchmarkConfig, Config, DataConfig, EvaluationConfig, FieldsConfig, HeldoutConfig
from src.config.composition import compose
from src.config.schema import build
from src.launch.checks import load
from src.launch.resumption import renamed
from src.problems import Problem, ProblemError, load_benchmark, load_data
from src.problems.fields import SAMPLE
from src.problems.files import read_problems, read_rows

Fields = dict[str, str]
ASKED = ("What is $1 + 1$?", "What is $2 + 2$?")
WORKED = ("One and one are two, so $\\boxed{2}$.", "Two and two are $\\boxed{4}$.")


def table(**columns: Any) -> list[dict[str, Any]]:
    return [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]


def lines(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def read(rows: list[dict[str, Any]], **fields: Any) -> tuple[list[Problem], Fields]:
    found: Fields = {}
    placed = [(f"row {number}", row) for number, row in enumerate(rows, start=1)]
    return read_rows(placed, FieldsConfig(**fields), "set", "set.jsonl", found=found), found


# shapes of the benchmark files that the paper's authors released, and of other public sets
SHAPES: dict[str, tuple[list[dict[str, Any]], Fields]] = {
    "boxed solution only": (
        table(problem=ASKED, solution=["\\boxed{2}", "\\boxed{4}"]),
        {"text": "problem", "answer": "solution"},
    ),
    "answer beside a worked solution": (
        table(
            problem=ASKED, solution=WORKED, answer=["2", "4"], subject=["Algebra", "Geometry"], level=[1, 5],
            unique_id=["a/1", "a/2"],
        ),
        {"text": "problem", "answer": "answer", "id": "unique_id", "subject": "subject", "level": "level"},
    ),
    "number as id": (
        table(id=[0, 1], problem=ASKED, solution=["2", "4"], url=["u", "v"]),
        {"text": "problem", "answer": "solution", "id": "id"},
    ),
    "question and numbers": (
        table(question=ASKED, answer=[2, 4.0]),
        {"text": "question", "answer": "answer"},
    ),
    "lists with one element": (
        table(
            question=ASKED, solution=[list(WORKED)] * 2, final_answer=[["2"], ["4"]], subject=["Algebra"] * 2
        ),
        {"text": "question", "answer": "final_answer", "subject": "subject"},
    ),
    "chat messages and a nested answer": (
        table(
            prompt=[[{"role": "user", "content": text}] for text in ASKED],
            reward_model=[{"ground_truth": "2"}, {"ground_truth": "4"}],
            extra_info=[{"index": 1}, {"index": 1}],
        ),
        {"text": "prompt", "answer": "reward_model.ground_truth"},
    ),
    "capitals": (
        table(ID=["I-1", "I-2"], Problem=ASKED, Solution=["long", "longer"], Answer=[2, 4]),
        {"text": "Problem", "answer": "Answer", "id": "ID"},
    ),
    "other names": (
        table(
            problem=ASKED, expected_answer=["2", "4"], problem_type=["Algebra", None], level=["Level 3", None]
        ),
        {"text": "problem", "answer": "expected_answer", "subject": "problem_type", "level": "level"},
    ),
    "a prompt around the problem": (
        table(prompt=["Box it: " + text for text in ASKED], problem=ASKED, gold=["2", "4"]),
        {"text": "problem", "answer": "gold"},
    ),
    "the same twice": (
        table(problem=ASKED, question=[" " + text for text in ASKED], answer=["2", "4"], gold=["$2$", "4"]),
        {"text": "problem", "answer": "answer"},
    ),
    "a column that is always empty": (
        table(problem=[None, ""], question=ASKED, answer=[None, None], solution=WORKED, subject=[None, None]),
        {"text": "question", "answer": "solution"},
    ),
    "worked answers beside bare ones": (
        table(problem=ASKED, answer=["It is two.", "It is surely four."], gold=["2", "4"]),
        {"text": "problem", "answer": "gold"},
    ),
}  # fmt: skip


@pytest.mark.parametrize("shape", SHAPES)
def test_fields_with_common_names_are_recognised(shape: str) -> None:
    rows, expected = SHAPES[shape]
    problems, found = read(rows)
    assert found == expected
    assert [(one.text, float(one.answer)) for one in problems] == [(ASKED[0], 2), (ASKED[1], 4)]


@pytest.mark.parametrize("ending", ["jsonl", "parquet"])
@pytest.mark.parametrize("shape", ["boxed solution only", "chat messages and a nested answer"])
def test_files_need_no_names(tmp_path: Path, shape: str, ending: str) -> None:
    rows, _ = SHAPES[shape]
    path = lines(tmp_path / "set.jsonl", rows)
    if ending == "parquet":
        path = tmp_path / "set.parquet"
        polars.DataFrame(rows).write_parquet(path)
    data = load_data(DataConfig(kind="file", train_path=str(path), heldout_path=str(path)))
    assert [one.answer for one in data.train] == [one.answer for one in data.heldout] == ["2", "4"]


OPTIONS = ["file", "aime24", "aime25", "amc23", "math500", "olymmath_easy", "olymmath_hard"]


@pytest.mark.parametrize("option", OPTIONS)
def test_every_benchmark_reads_every_released_shape_from_a_file(tmp_path: Path, option: str) -> None:
    for shape in ("boxed solution only", "answer beside a worked solution", "number as id"):
        path = lines(tmp_path / "set.jsonl", SHAPES[shape][0])
        given = [f"benchmark={option}", f"benchmark.path={path}", "rollout.max_tokens=512"]
        cfg = load(EvaluationConfig, compose("evaluate", EvaluationConfig, given))
        assert [one.answer for one in load_benchmark(cfg.benchmark)] == ["2", "4"]


class TestWhatCannotBeUsed:
    """Ids, subjects and levels are only taken if every row has one that can be read."""

    @pytest.mark.parametrize(
        "column",
        [
            {"id": [1, 1]}, {"id": ["a", None]}, {"id": [True, False]}, {"id": [0.5, 1.5]},
            {"subject": [3, 4]}, {"subject": ["Algebra", ""]}, {"level": ["hard", "easy"]},
            {"level": [1.5, 2]}, {"level": [None] * 2}, {"difficulty": [5.0, 6.0]},
        ],
    )  # fmt: skip
    def test_it_is_left(self, column: dict[str, list[Any]]) -> None:
        problems, found = read(table(problem=ASKED, answer=["2", "4"], **column))
        assert found == {"text": "problem", "answer": "answer"}
        assert [(one.id, one.subject, one.level) for one in problems] == [
            ("set-0", None, None),
            ("set-1", None, None),
        ]

    def test_the_next_name_is_taken(self) -> None:
        rows = table(problem=ASKED, answer=["2", "4"], id=[1, 1], problem_id=["x", "y"])
        assert read(rows)[1]["id"] == "problem_id"
        assert read([rows[0], {"problem": ASKED[1], "answer": "4"}])[1] == {
            "text": "problem",
            "answer": "answer",
        }


def test_a_given_name_is_used_and_null_uses_none() -> None:
    rows, _ = SHAPES["answer beside a worked solution"]
    problems, found = read(rows, answer="solution", id=None, level=None)
    assert found == {"text": "problem", "subject": "subject"}
    assert [(one.id, one.answer, one.level) for one in problems] == [
        ("set-0", "2", None),
        ("set-1", "4", None),
    ]


def test_an_answer_pattern_finds_the_field_in_which_it_matches() -> None:
    rows = table(problem=ASKED, answer=["A", "B"], solution=["It is => 2", "It is => 4"])
    problems, found = read(rows, answer_pattern=r"=> (\d)")
    assert (found["answer"], [one.answer for one in problems]) == ("solution", ["2", "4"])


def test_with_own_prompts_the_prompt_comes_first(tmp_path: Path) -> None:
    rows, _ = SHAPES["a prompt around the problem"]
    (first, _) = read_problems(lines(tmp_path / "a.jsonl", rows), FieldsConfig(), keep_prompt=True)
    assert first.prompt == "Box it: " + ASKED[0]


@pytest.mark.parametrize(
    ("columns", "says"),
    [
        ({"problem": ASKED, "question": ["Why?"] * 2, "answer": [1, 2]},
         r"^row 1: data\.fields\.text=auto: both problem and question may be meant, and they differ "
         r".*1 \+ 1.*Why.*; give data\.fields\.text=problem or data\.fields\.text=question$"),
        ({"problem": ASKED, "answer": [2, 4], "gold": [2, 5]},
         r"^row 2: data\.fields\.answer=auto: both answer and gold may be meant.*\('4' and '5'\)"),
        ({"problem": [*ASKED, "What is 3 + 3?"], "answer": [2, None, 6], "gold": [0, 1, 2]},
         r"^row 1: data\.fields\.answer=auto: both gold and answer may be meant.*\('0' and '2'\)"),
        ({"problem": [*ASKED, ""], "question": ["Why?"] * 3, "answer": [2, 4, 6]},
         r"^row 1: data\.fields\.text=auto: both question and problem may be meant"),
        ({"task": ASKED, "answer": [2, 4]},
         r"^set\.jsonl: data\.fields\.text=auto knows none of the fields task, answer, but problem, "
         r".*; give data\.fields\.text=NAME$"),
        ({"problem": ASKED, "result": [2, 4]},
         r"fields\.answer=auto knows none of the fields problem, result, but answer, .*fields\.answer=NAME$"),
        ({"problem": ASKED, "answer": [["2", "3"], 4]},
         r"^row 1: field 'answer' is .*\(data\.fields\.answer=answer\); recognised were text=problem, "
         r"answer=answer: data\.fields\.ROLE=NAME names another$"),
        ({"problem": ASKED, "solution": ["This is how it is done.", "Done in the same way."]},
         r"data\.fields\.answer=solution: 2 of 2 gold answers of set\.jsonl cannot be graded"),
    ],
)  # fmt: skip
def test_what_is_not_clear_is_refused_with_the_remedy(columns: dict[str, Any], says: str) -> None:
    with pytest.raises(ProblemError, match=says):
        read(table(**columns))


def test_a_later_row_that_does_not_fit_is_an_error() -> None:
    rows = [{"problem": "?", "answer": number, "id": number} for number in range(SAMPLE)]
    assert len(read(rows)[0]) == SAMPLE
    with pytest.raises(
        ProblemError, match=rf"row {SAMPLE + 1}: id '3' was .*data\.fields\.id=null numbers the"
    ):
        read([*rows, {"problem": "?", "answer": 0, "id": 3}])
    with pytest.raises(
        ProblemError, match=rf"row {SAMPLE + 1}: field 'id' is missing .*; recognised were .*id=id"
    ):
        read([*rows, {"problem": "?", "answer": 0}])


def test_what_was_recognised_is_said_and_recorded(tmp_path: Path) -> None:
    train = lines(tmp_path / "train.jsonl", SHAPES["other names"][0])
    heldout = lines(tmp_path / "heldout.jsonl", SHAPES["number as id"][0])
    cfg = DataConfig(kind="file", train_path=str(train), heldout_path=str(heldout))
    data = load_data(cfg)
    assert data.report["fields_recognised"] == {
        "train": SHAPES["other names"][1],
        "heldout": SHAPES["number as id"][1],
    }
    assert data.line.splitlines()[1:] == [
        "train: fields recognised: text=problem, answer=expected_answer, subject=problem_type, level=level",
        "heldout: fields recognised: text=problem, answer=solution, id=id",
    ]
    named = replace(cfg, fields=FieldsConfig(None, "problem", "expected_answer", None, None))
    named.heldout = HeldoutConfig(fields=FieldsConfig(None, "problem", "solution", None, None))
    data = load_data(named)
    assert (data.report["fields_recognised"], "fields recognised" in data.line) == (
        {"train": {}, "heldout": {}},
        False,
    )


def test_an_older_run_on_the_mini_family_is_resumed_though_the_defaults_have_changed() -> None:
    for cfg, group in ((Config(), "data"), (EvaluationConfig(), "benchmark")):
        before = asdict(cfg)
        before[group]["fields"] |= {"text": "problem", "answer": "answer", "id": None}
        assert asdict(build(type(cfg), renamed(before))) == asdict(cfg)
        before[group]["kind"] = "file"
        assert asdict(build(type(cfg), renamed(before)))[group]["fields"]["text"] == "problem"


def test_texts_alone_are_read_to_clean_against(tmp_path: Path) -> None:
    path = lines(tmp_path / "set.jsonl", table(question=ASKED, id=[1, 1]))
    cfg = BenchmarkConfig(kind="file", path=str(path))
    assert [one.text for one in load_benchmark(cfg, texts_only=True)] == list(ASKED)
    with pytest.raises(ProblemError, match=r"fields\.answer=auto knows none of the fields question, id"):
        load_benchmark(cfg)
