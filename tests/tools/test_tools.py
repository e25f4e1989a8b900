"""Tools: arguments are checked, errors are results, several work at once."""

from __future__ import annotations

from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest

from src.config.schema import ConfigError
from src.sandbox import Status
from src.tools import Call, CallError, PythonTool, Toolbox, ToolResult
from src.tools.build import build_tools
from tests.fakes import BPE, FakeSandbox
from tests.tools.examples import Calculator, Lookup


@pytest.fixture
def book(tmp_path: Path) -> str:
    (tmp_path / "book.txt").write_text("a prime has two divisors\na square has an odd number of them\n")
    return str(tmp_path / "book.txt")


def test_each_call_goes_to_its_tool(book: str) -> None:
    sandbox = FakeSandbox()
    tools = Toolbox([PythonTool(sandbox), Calculator(), Lookup(book)])
    results = [
        tools.submit(call, trajectory="1").result()
        for call in (
            Call("python", {"code": "print(6*7)"}),
            Call("calculator", {"formula": "6*7"}),
            Call("lookup", {"word": "square"}),
        )
    ]
    assert [result.output for result in results] == ["42", "42.0", "a square has an odd number of them"]
    assert sandbox.ran == ["print(6*7)"]
    assert tools.stats() == {"sandbox/executions": 1.0}
    tools.close()


def test_what_a_tool_raises_is_what_the_policy_reads() -> None:
    result = Calculator().submit({"formula": "1/0"}, trajectory="1").result()
    assert (result.status, result.output) == (Status.ERROR, "ZeroDivisionError: division by zero")


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (Call("bash", {}), "there is no tool 'bash'; there is calculator"),
        (Call("calculator", {}), "calculator: 'formula' is a required property"),
        (Call("calculator", {"formula": 1}), "1 is not of type 'string'"),
    ],
)
def test_a_call_that_cannot_be_made(call: Call, says: str) -> None:
    with pytest.raises(CallError, match=says):
        Toolbox([Calculator()]).submit(call, trajectory="1")


def test_a_call_that_could_not_be_made_needs_no_cancelling() -> None:
    """A rollout that ends early cancels whatever is under way, the call of a tool that there is not, too."""
    refused: Future[ToolResult] = Future()
    refused.set_result(ToolResult(Status.ERROR, "", "CallError", 0.0))
    Toolbox([Calculator()]).cancel("bash", refused)


def test_a_lone_surrogate_becomes_text() -> None:
    assert BPE.text(BPE.encode("x\ud800")) == "x?"


def test_tools_are_made_from_their_settings(book: str) -> None:
    cfg: dict[str, Any] = {
        "python": {"_target_": "src.tools.PythonTool"},
        "sums": {"_target_": "tests.tools.examples.Calculator"},
        "book": {"_target_": "tests.tools.examples.Lookup", "path": book},
    }
    assert [tool.name for tool in build_tools(cfg, FakeSandbox())] == ["python", "calculator", "lookup"]
    assert [tool.name for tool in build_tools(cfg | {"python": None}, FakeSandbox())] == [
        "calculator",
        "lookup",
    ]


@pytest.mark.parametrize(
    ("cfg", "says"),
    [
        (
            {"x": {"_target_": "nowhere.Tool"}},
            r"tools\.x\._target_=nowhere\.Tool: it cannot be built: .*nowhere",
        ),
        ({"x": {"path": "y"}}, r"tools\.x\._target_=null: it cannot be built"),
        (
            {"x": {"_target_": "tests.tools.examples.Lookup"}},
            "missing 1 required positional argument: 'path'",
        ),
        ({n: {"_target_": "src.tools.PythonTool"} for n in "ab"}, "two tools have the same name: python"),
    ],
)
def test_settings_that_make_no_tool(cfg: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        build_tools(cfg, FakeSandbox())
