"""Runs programs with the executor that the paper's authors released, which is not part of this repository.

A script of its own, because that executor forks whatever process it is in. Its module is given by path; what
it imports must be installed, or lie on PYTHONPATH. It is used through its class ``PythonExecutor`` with its
own defaults: ``batch_apply(programs)`` gives one pair (output, report) a program, the report being "Done", or
the last line of an exception, of which those of its two time limits contain "Timeout".

stdin: a JSON list of programs. Last line of stdout: a JSON object {"seconds", "results"}.
"""

import importlib.util
import json
import sys
import time


def main() -> None:
    """Load the module at the path in the first argument, and run one batch."""
    spec = importlib.util.spec_from_file_location("released", sys.argv[1])
    if spec is None or spec.loader is None:
        sys.exit(f"not a Python module: {sys.argv[1]}")
    module = sys.modules["released"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    executor = module.PythonExecutor()
    programs = json.load(sys.stdin)
    began = time.perf_counter()
    results = executor.batch_apply(programs)
    print(json.dumps({"seconds": time.perf_counter() - began, "results": results}))


if __name__ == "__main__":
    main()
