"""Problem files: what is read, and what a malformed row says."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import polars
import pytest

from src.config import DataConfig, FieldsConfig
from src.problems import Problem, ProblemError, load_problems
from src.problems.files import read_problems, write_problems

GOOD = {"problem": "What is $1 + 1$?", "answer": "2", "subject": "Prealgebra", "level": 1, "key": "a"}
ALL_FIELDS = FieldsConfig(id="key", subject="subject", level="level")


def write(path: Path, *rows: object) -> Path:
    lines = [row if isinstance(row, str) else json.dumps(row) for row in rows]
    path.write_text("\n".join(lines) + "\n")
    return path


def test_reads_json_lines_with_a_field_mapping(tmp_path: Path) -> None:
    path = write(
        tmp_path / "set.jsonl", {"q": " Why? ", "a": "\\frac{1}{2}", "n": 7, "s": None, "l": "Level 3"}
    )
    fields = FieldsConfig(id="n", text="q", answer="a", subject="s", level="l")
    assert read_problems(path, fields) == [Problem("7", "Why?", "\\frac{1}{2}", None, 3, "set.jsonl")]


def test_unmapped_fields_are_unknown_and_ids_number_the_rows(tmp_path: Path) -> None:
    path = write(tmp_path / "set.jsonl", GOOD, "", GOOD)
    problems = read_problems(path, FieldsConfig(id=None, subject=None, level=None))
    assert [problem.id for problem in problems] == ["set-0", "set-1"]
    assert problems[0].subject is None
    assert problems[0].level is None


def test_a_parquet_file_gives_the_same_problems(tmp_path: Path) -> None:
    rows = [GOOD, GOOD | {"key": "b", "level": 5}]
    polars.DataFrame(rows).write_parquet(tmp_path / "set.parquet")
    write(tmp_path / "set.jsonl", *rows)
    from_parquet = read_problems(tmp_path / "set.parquet", ALL_FIELDS)
    from_lines = read_problems(tmp_path / "set.jsonl", ALL_FIELDS)
    assert [(p.id, p.text, p.answer, p.subject, p.level) for p in from_parquet] == [
        (p.id, p.text, p.answer, p.subject, p.level) for p in from_lines
    ]


@pytest.mark.parametrize(("answer", "expected"), [(204, "204"), (0.5, "0.5"), ("033", "033")])
def test_an_answer_may_be_a_number(tmp_path: Path, answer: object, expected: str) -> None:
    path = write(tmp_path / "set.jsonl", GOOD | {"answer": answer})
    assert read_problems(path, FieldsConfig())[0].answer == expected


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ('{"problem": "x"', r"line 2: not valid JSON"),
        ('["x"]', r"line 2: not a JSON object but list"),
        (
            {name: value for name, value in GOOD.items() if name != "problem"},
            r"line 2: field 'problem' is missing \(data\.fields\.text=problem\); the row has answer, ",
        ),
        (GOOD | {"problem": " "}, r"line 2: field 'problem' is empty"),
        (GOOD | {"problem": 5}, r"line 2: field 'problem' is 5, not a string"),
        (GOOD | {"answer": None}, r"line 2: field 'answer' is null"),
        (GOOD | {"answer": True}, r"line 2: field 'answer' is true"),
        (GOOD | {"answer": ["2", "3"]}, r"line 2: field 'answer' is \[\"2\", \"3\"\]"),
        (GOOD | {"subject": 3}, r"line 2: field 'subject' is 3"),
        (GOOD | {"level": "hard"}, r"line 2: field 'level' is \"hard\", not an integer"),
        (GOOD | {"level": 1.5}, r"line 2: field 'level' is 1.5"),
        (GOOD | {"level": True}, r"line 2: field 'level' is true"),
        (GOOD | {"key": None}, r"line 2: field 'key' is null"),
        (GOOD, r"line 2: id 'a' was already used in .*line 1"),
    ],
)
def test_a_malformed_row_names_file_line_and_field(tmp_path: Path, row: object, message: str) -> None:
    path = write(tmp_path / "set.jsonl", GOOD, row)
    with pytest.raises(ProblemError, match=r"set\.jsonl, " + message):
        read_problems(path, ALL_FIELDS)


def test_a_malformed_parquet_row_names_its_row(tmp_path: Path) -> None:
    rows = [GOOD, GOOD | {"key": "b", "answer": ""}]
    polars.DataFrame(rows).write_parquet(tmp_path / "set.parquet")
    with pytest.raises(ProblemError, match=r"set\.parquet, row 2: field 'answer' is empty"):
        read_problems(tmp_path / "set.parquet", ALL_FIELDS)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("set.csv", b"problem,answer\n", "unknown type of problem file; use .jsonl or .parquet"),
        ("set.parquet", b"nonsense", "not a readable Parquet file"),
        ("set.jsonl", b"", "contains no problems"),
        ("set.jsonl", b'{"problem": "\xff"}\n', "line 1: not UTF-8"),
    ],
)
def test_an_unreadable_file(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ProblemError, match=message):
        read_problems(tmp_path / name, FieldsConfig())


def test_a_missing_file() -> None:
    with pytest.raises(ProblemError, match=r"nowhere\.jsonl: this problem file does not exist"):
        read_problems("nowhere.jsonl", FieldsConfig())


def test_load_problems_takes_the_first_rows_of_the_split(tmp_path: Path) -> None:
    train = write(tmp_path / "train.jsonl", *[GOOD | {"answer": i} for i in range(5)])
    heldout = write(tmp_path / "heldout.jsonl", GOOD)
    cfg = DataConfig(kind="file", train_path=str(train), heldout_path=str(heldout), train_size=3)
    assert [problem.answer for problem in load_problems(cfg, "train")] == ["0", "1", "2"]
    assert [problem.id for problem in load_problems(cfg, "heldout")] == ["heldout-0"]


def test_load_problems_says_which_setting_is_wrong() -> None:
    with pytest.raises(ProblemError, match=r"data\.heldout_path=null"):
        load_problems(DataConfig(kind="file", train_path="x.jsonl"), "heldout")
    with pytest.raises(ProblemError, match="split: 'test'"):
        load_problems(DataConfig(), "test")


def test_a_dotted_name_is_a_field_within_a_field(tmp_path: Path) -> None:
    row = {"a": {"b": {"c": "Why?"}}, "reward.truth": "7", "reward": {"truth": "8"}}
    path = write(tmp_path / "set.jsonl", row)
    (problem,) = read_problems(path, FieldsConfig(text="a.b.c", answer="reward.truth"))
    assert (problem.text, problem.answer) == ("Why?", "7"), "a field of that very name comes first"
    for name in ("a.b", "a.x.c", "a.b.c.d"):
        with pytest.raises(ProblemError, match=rf"field '{name}' is"):
            read_problems(path, FieldsConfig(text=name, answer="reward.truth"))


@pytest.mark.parametrize(
    ("messages", "text"),
    [
        ([{"role": "user", "content": "Why?"}], "Why?"),
        ([{"role": "system", "content": "s"}, {"role": "user", "content": "1"},
          {"role": "assistant", "content": "2"}, {"role": "user", "content": "3"}], "3"),
    ],
)  # fmt: skip
def test_of_chat_messages_the_last_by_the_user_is_the_problem(
    tmp_path: Path, messages: list[dict[str, str]], text: str
) -> None:
    write(tmp_path / "set.jsonl", GOOD | {"problem": messages})
    polars.DataFrame([GOOD | {"problem": messages}]).write_parquet(tmp_path / "set.parquet")
    for name in ("set.jsonl", "set.parquet"):
        assert read_problems(tmp_path / name, FieldsConfig())[0].text == text


@pytest.mark.parametrize("messages", [[], ["Why?"], [{"role": "system", "content": "s"}], [{"role": "user"}]])
def test_chat_messages_without_a_user_are_no_problem(tmp_path: Path, messages: list[object]) -> None:
    path = write(tmp_path / "set.jsonl", GOOD | {"problem": messages})
    with pytest.raises(ProblemError, match=r"line 1: field 'problem' is .*, not a string"):
        read_problems(path, FieldsConfig())


def test_an_instruction_around_a_problem_is_taken_off(tmp_path: Path) -> None:
    texts = [
        "Solve it.\n\nWhat is 1?\n\nRemember: a box.",
        "What is 2?",
        "Solve it.\n\nWhat? Solve it.\n\n3?",
    ]
    path = write(tmp_path / "set.jsonl", *[GOOD | {"problem": text} for text in texts])
    found = read_problems(path, FieldsConfig(after="Solve it.\n\n", before="\n\nRemember"))
    assert [problem.text for problem in found] == ["What is 1?", "What is 2?", "What? Solve it.\n\n3?"]
    with pytest.raises(
        ProblemError, match=r"no problem contains the text 'Sove it' \(data\.fields\.after\); .*Solve"
    ):
        read_problems(path, FieldsConfig(after="Sove it"))
    with pytest.raises(ProblemError, match="line 2: nothing is left"):
        read_problems(path, FieldsConfig(before="What is 2?"))


def test_what_is_written_is_read(tmp_path: Path) -> None:
    path = write(
        tmp_path / "set.jsonl", GOOD | {"problem": "\u4e2d\n\u2028 $x$"}, GOOD | {"key": "b", "level": None}
    )
    problems = read_problems(path, ALL_FIELDS)
    write_problems(tmp_path / "out.jsonl", problems, ({"more": at} for at in range(2)))
    fields = FieldsConfig(id="id", subject="subject", level="level")
    assert [
        replace(one, source="set.jsonl") for one in read_problems(tmp_path / "out.jsonl", fields)
    ] == problems
    assert {one.name for one in tmp_path.iterdir()} == {"set.jsonl", "out.jsonl"}
