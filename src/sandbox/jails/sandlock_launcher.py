"""Starts one worker under sandlock and stays beside it; a script of its own, run by jails/sandlock.py.

sandlock supervises from threads of the process that calls it, which must not be the trainer. This process
ends when the worker does, and ends the worker when the caller is gone, whichever way that went.

Arguments: one JSON object {"command", "readable", "scratch", "environment"}.
"""

from __future__ import annotations

import json
import os
import select
import shutil
import sys
import threading

from sandlock import Sandbox

_GRACE = 2.0  # seconds for the worker to notice by itself that the caller is gone


def main() -> None:
    """Run the worker to its end; then remove its scratch folder."""
    task = json.loads(sys.argv[1])
    caller = os.getppid()
    sandbox = Sandbox(
        fs_readable=task["readable"],
        fs_writable=[task["scratch"], "/dev/null"],
        clean_env=True,
        env=task["environment"],
        cwd=task["scratch"],
    )
    process = sandbox.popen(task["command"])
    done = threading.Event()

    def wait() -> None:
        process.wait()
        done.set()

    threading.Thread(target=wait, daemon=True).start()
    caller_end = select.poll()
    caller_end.register(0, 0)  # only its end; the frames are the worker's
    while not done.wait(0.25):
        if caller_end.poll(0) or os.getppid() != caller:
            if not done.wait(_GRACE):
                process.kill()
            break
    shutil.rmtree(task["scratch"], ignore_errors=True)


if __name__ == "__main__":
    main()
