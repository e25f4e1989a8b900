"""Two tools as a user would write them."""

from __future__ import annotations

import ast
import operator
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from src.tools import FunctionTool

_OPERATORS = {ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.Div: operator.truediv}


class Calculator(FunctionTool):
    """Sums, differences, products and quotients."""

    name = "calculator"
    description = "Computes a formula of numbers, + - * / and parentheses."
    parameters: Mapping[str, Any] = {
        "type": "object",
        "properties": {"formula": {"type": "string"}},
        "required": ["formula"],
        "additionalProperties": False,
    }

    def call(self, formula: str) -> str:
        return str(self._value(ast.parse(formula.strip(), mode="eval").body))

    def _value(self, node: ast.expr) -> float:
        if isinstance(node, ast.BinOp):
            return float(_OPERATORS[type(node.op)](self._value(node.left), self._value(node.right)))
        if isinstance(node, ast.Constant) and isinstance(node.value, int | float):
            return node.value
        raise ValueError(f"no formula: {ast.unparse(node)}")


class Lookup(FunctionTool):
    """The first lines of a text file that hold a word."""

    name = "lookup"
    description = "Finds lines of a text that hold a word."
    parameters: Mapping[str, Any] = {
        "type": "object",
        "properties": {"word": {"type": "string"}, "lines": {"type": "integer", "minimum": 1}},
        "required": ["word"],
        "additionalProperties": False,
    }

    def __init__(self, path: str) -> None:
        self._text = Path(path).read_text().splitlines()

    def call(self, word: str, lines: int = 1) -> str:
        return "\n".join([line for line in self._text if word in line][:lines]) or "no such line"
