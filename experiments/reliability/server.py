"""The vLLM server of disturbed evaluations: a process of its own, one for a campaign."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path

from experiments.reliability.runs import wait_until
from src.config.paths import ROOT

_START_SECONDS = 300.0
_STARTS = 2
_POSITIONS = 2048  # at least the longest trajectory of the mini policy


class Server:
    """Serves the mini policy. ``ensure`` starts it, or starts it again if it was killed."""

    def __init__(self, port: int, log: Path) -> None:
        self.url, self._port, self._log = f"http://127.0.0.1:{port}", port, log
        self._process: subprocess.Popen[bytes] | None = None

    def pids(self) -> list[int]:
        """Return its process id, while it runs."""
        running = self._process is not None and self._process.poll() is None
        return [self._process.pid] if self._process is not None and running else []

    def ensure(self) -> None:
        """Return once it answers. Raises RuntimeError if it does not start."""
        for _ in range(_STARTS):
            if not self.pids():
                self.close()  # what a killed server left of itself
                self._start()
            # one that was told to end may still be at it
            wait_until(lambda: self._answers() or not self.pids(), _START_SECONDS)
            if self.pids():
                break
        if not self._answers():
            raise RuntimeError(f"the vLLM server does not start: {self._log.read_text()[-2000:]}")

    def close(self) -> None:
        """Kill it and its engine, which is in its session."""
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()

    def _start(self) -> None:
        command = [
            sys.executable, "-m", "vllm.entrypoints.openai.api_server",
            "--model", str(ROOT / "experiments" / "mini_base"), "--dtype", "float32",
            "--logprobs-mode", "processed_logprobs", "--max-model-len", str(_POSITIONS), "--enforce-eager",
            "--no-enable-chunked-prefill", "--host", "127.0.0.1", "--port", str(self._port),
        ]  # fmt: skip
        environment = os.environ | {"VLLM_CPU_KVCACHE_SPACE": "1", "VLLM_CPU_OMP_THREADS_BIND": "nobind"}
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                command, cwd=ROOT, env=environment, stdout=log, stderr=log, start_new_session=True
            )

    def _answers(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.url}/v1/models", timeout=2.0):
                return True
        except (urllib.error.URLError, OSError):
            return False
