from __future__ import annotations

import time

import pytest

from src.formats.fence_grammar import fence_spans, fills_output


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
    fence_spans(unit * (1_000_000 // len(unit)))
    assert time.perf_counter() - start < 10
