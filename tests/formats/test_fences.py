from __future__ import annotations

import time

import pytest

from src.formats.fences import code_spans, fills_output


def pieces(text: str) -> list[tuple[str, str]]:
    return [(text[span.start : span.end], span.kind) for span in code_spans(text)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("no block", []),
        ("a\n```python\nx\n```\nb", [("```python\nx\n```", "python")]),
        ("```py\nx\n```", [("```py\nx\n```", "python")]),
        ("```Python \t\r\nx\n```", [("```Python \t\r\nx\n```", "python")]),
        ("``` output\n5\n```\n", [("``` output\n5\n```", "output")]),
        ("   ```python\nx\n   ``` end", [("   ```python\nx\n   ```", "python")]),
        ("```python\nx", [("```python\nx", "python")]),
        ("```python", [("```python", "python")]),
        ("```python\n```", [("```python\n```", "python")]),
        (
            "```python\na\n```\n```output\n1\n```\n",
            [("```python\na\n```", "python"), ("```output\n1\n```", "output")],
        ),
        # Only a run of backticks at a line's start that is as long as the opening one closes.
        ("```python\ns = '```'\n```", [("```python\ns = '```'\n```", "python")]),
        ("````python\n```\nx\n````", [("````python\n```\nx\n````", "python")]),
        ("```python\nx\n    ```\n", [("```python\nx\n    ```\n", "python")]),
        ("```python\nx\n`````", [("```python\nx\n```", "python")]),
        ("```python\nx\n```output\ny\n", [("```python\nx\n```", "python")]),
        # None of these opens a block.
        ("``python\nx\n``", []),
        ("    ```python\nx\n```", []),
        ("text ```python\nx\n```", []),
        ("```\nx\n```", []),
        ("```pythonic\nx\n```", []),
        ("```python x=1\ny\n```", []),
    ],
)
def test_blocks(text: str, expected: list[tuple[str, str]]) -> None:
    assert pieces(text) == expected


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
def test_a_megabyte_takes_linear_time(unit: str) -> None:
    start = time.perf_counter()
    code_spans(unit * (1_000_000 // len(unit)))
    assert time.perf_counter() - start < 10
