"""The tools that a policy can call. To add a tool: docs/extending.md."""

from src.tools.base import Call, CallError, FunctionTool, Tool, Toolbox, ToolResult
from src.tools.python import PythonTool

__all__ = ["Call", "CallError", "FunctionTool", "PythonTool", "Tool", "ToolResult", "Toolbox"]
