"""What a fork costs: a warm process that forks a child, which ends at once, and waits for it; nothing else.

A script of its own, for an interpreter that has loaded nothing but what it is told to. The first line of
stdin is a JSON list of statements; then each line is how many seconds to go on, answered with a JSON list of
what each fork-and-wait took.
"""

import gc
import json
import os
import sys
import time


def main() -> None:
    """Warm up, then answer until stdin ends."""
    namespace: dict[str, object] = {}
    for statement in json.loads(sys.stdin.readline()):
        exec(statement, namespace)
    gc.collect()
    gc.freeze()
    print("ready", flush=True)
    for line in iter(sys.stdin.readline, ""):
        taken, end = [], time.perf_counter() + float(line)
        while (began := time.perf_counter()) < end:
            child = os.fork()
            if child == 0:
                os._exit(0)
            os.waitpid(child, 0)
            taken.append(time.perf_counter() - began)
        print(json.dumps(taken), flush=True)


if __name__ == "__main__":
    main()
