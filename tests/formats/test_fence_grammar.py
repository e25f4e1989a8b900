from __future__ import annotations

import ast
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from src.formats.fence_grammar import Dialect, dedented, fence_spans, fills_output, last_program


def pieces(text: str) -> list[tuple[str, str]]:
    return [(text[span.start : span.end], span.kind) for span in fence_spans(text)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("no block", []),
        ("a\n```python\nx\n```\nb", [("```python\nx\n```", "call")]),
        ("```py\nx\n```", [("```py\nx\n```", "call")]),
        ("```Python \t\r\nx\n```", [("```Python \t\r\nx\n```", "call")]),
        ("``` output\n5\n```\n", [("``` output\n5\n```", "result")]),
        ("   ```python\nx\n   ``` end", [("   ```python\nx\n   ```", "call")]),
        ("```python\nx", [("```python\nx", "call")]),
        ("```python", [("```python", "call")]),
        ("```python\n```", [("```python\n```", "call")]),
        (
            "```python\na\n```\n```output\n1\n```\n",
            [("```python\na\n```", "call"), ("```output\n1\n```", "result")],
        ),
        # Only a run of backticks at a line's start that is as long as the opening one closes.
        ("```python\ns = '```'\n```", [("```python\ns = '```'\n```", "call")]),
        ("````python\n```\nx\n````", [("````python\n```\nx\n````", "call")]),
        ("```python\nx\n    ```\n", [("```python\nx\n    ```\n", "call")]),
        ("```python\nx\n`````", [("```python\nx\n```", "call")]),
        ("```python\nx\n```output\ny\n", [("```python\nx\n```", "call")]),
        # In a list: the closing fence is indented as far as the opening one, or less.
        ("    ```python\n    x\n    ```\n", [("    ```python\n    x\n    ```", "call")]),
        ("    ```python\n    x\n```\n", [("    ```python\n    x\n```", "call")]),
        ("    ```python\nx\n     ```\n", [("    ```python\nx\n     ```\n", "call")]),
        ("\t```python\n\tx\n\t```\n", [("\t```python\n\tx\n\t```", "call")]),
        ("\t```python\n\tx\n    ```\n", [("\t```python\n\tx\n    ```", "call")]),
        ("1. ```python\n   x\n   ```\n", [("1. ```python\n   x\n   ```", "call")]),
        (f"{' ' * 16}```python\nx\n```", [(f"{' ' * 16}```python\nx\n```", "call")]),
        ("```python3\nx\n```", [("```python3\nx\n```", "call")]),
        # The rest of a closing line opens no block.
        ("```python\nx\n``` ```python\ny\n", [("```python\nx\n```", "call")]),
        # None of these opens a block.
        ("``python\nx\n``", []),
        (f"{' ' * 17}```python\nx\n```", []),
        ("> ```python\nx\n```", []),
        ("~~~python\nx\n~~~", []),
        ("text ```python\nx\n```", []),
        ("```\nx\n```", []),
        ("```pythonic\nx\n```", []),
        ("```python x=1\ny\n```", []),
    ],
)
def test_blocks(text: str, expected: list[tuple[str, str]]) -> None:
    assert pieces(text) == expected


@pytest.mark.parametrize(
    ("text", "after_prose", "info"),
    [
        ("so ```python\nx\n```", True, False),
        ("`a`: ````python\nx\n````", True, False),
        (f"{'so ' * 999}```python\nx\n```", True, False),
        ('```python title="a.py"\nx\n```', False, True),
        ("```python # \u4e2d\nx\n```", False, True),
        ("so ```python x\ny\n```", False, False),
        ("```python `x`\ny\n```", False, False),
        (f"```python {'x' * 100}\ny\n```", False, False),
    ],
)
def test_what_further_lines_open_a_block_is_the_dialects(text: str, after_prose: bool, info: bool) -> None:
    for dialect in (Dialect(), Dialect(after_prose=True), Dialect(info=True)):
        opens = (dialect.after_prose and after_prose) or (dialect.info and info)
        assert len(fence_spans(text, dialect)) == opens, dialect


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("x\n  y\n", "x\n  y\n"),
        ("   x\n     y\n\n   z\n", "x\n  y\n\nz\n"),
        ("\n   x\n", "\nx\n"),
        ("\tx\n\t\ty\n", "x\n\ty\n"),
        ("   x = '''\n a\n'''\n", "x = '''\na\n'''\n"),  # as far as there is any
        ("   # c\nfor i in x:\n   print(i)\n", "   # c\nfor i in x:\n   print(i)\n"),  # it runs as it is
        ("  # c\n   x\n   y\n", "# c\nx\ny\n"),
        (" \n\t\n", " \n\t\n"),
        ("", ""),
    ],
)
def test_a_program_loses_the_indentation_of_its_first_line(body: str, expected: str) -> None:
    assert dedented(body) == expected
    assert dedented(dedented(body)) == expected


PARTS = ["x = 1", " ", "if x:", "\n", "\t", "# c", "   ", "print(x)", "'''"]


@given(st.lists(st.sampled_from(PARTS)).map("".join))
def test_no_program_that_python_accepts_is_changed(body: str) -> None:
    try:
        ast.parse(body)
    except SyntaxError:
        return
    assert dedented(body) == body


@pytest.mark.parametrize(
    ("text", "program"),
    [
        ("no block", None),
        ("```python\na\n```\n```py\nb\n```", "b"),
        ("1. So:\n    ```python\n    if x:\n        y\n    ```\n", "if x:\n    y"),
        ("   ```python\n   a\n   b", "a\nb"),
    ],
)
def test_the_last_program_of_a_text(text: str, program: str | None) -> None:
    assert last_program(text) == program


@pytest.mark.parametrize(
    ("text", "fills"),
    [
        ("no block", False),
        ("```output\n5\n```", True),
        ("```python\na\n```\n```output\n5", True),
        ("```Output \r\n\n 5\n```\nso 5", True),
        ("```output\n```\n```output\n5\n```", True),
        ("```output", False),
        ("```output\n \n\t\n```\nso 5", False),
        ("```output\n```", False),
        ("```python\n'```output\\n5'\n```", False),
        ("```\n5\n```", False),
    ],
)
def test_an_output_block_that_holds_something(text: str, fills: bool) -> None:
    assert fills_output(text) == fills


@pytest.mark.parametrize("unit", ["`", "```python\n", "\n```", " ", "````python\n```", "```python\nx\n```\n"])
@pytest.mark.parametrize("dialect", [Dialect(), Dialect(after_prose=True, info=True)], ids=["default", "all"])
def test_a_megabyte_takes_linear_time(unit: str, dialect: Dialect) -> None:
    start = time.perf_counter()
    fence_spans(unit * (1_000_000 // len(unit)), dialect)
    assert time.perf_counter() - start < 10
