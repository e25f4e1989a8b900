"""What a policy can call. A tool of one's own: docs/extending.md."""

from src.tools.base import Call, CallError, FunctionTool, Tool, Toolbox, ToolResult
from src.tools.python import PythonTool

__all__ = ["Call", "CallError", "FunctionTool", "PythonTool", "Tool", "ToolResult", "Toolbox"]
