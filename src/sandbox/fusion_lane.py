"""A pool of requests to ByteDance's SandboxFusion, a service that runs programs over HTTP (``/run_code``).

Guaranteed: a program has the same semantics as in the local jails (see src/sandbox/fusion_program.py), its
wall time counts from its own start, its output is cut at the same length. Requests to a busy, unreachable or
failing service are retried at growing intervals with jitter; then the pool tries once more; then the result
is ``infrastructure``, not the program's fault. The service is tested when the pool starts; after a failure a
lane serves again only once the service has run a program for it. A program that the service has twice taken
and then failed (a reset, an error, no answer in time, one without end) is ``killed`` if the service then
still runs others.

Not guaranteed: isolation, which is the responsibility of the service: access to files, the network or other
programs is neither prevented nor tested. Limits of wall time, memory and output are enforced; those of CPU
time, threads and disk are not. The service needs Linux, numpy and sympy, of any version; it starts an
interpreter for each program, so that ``sandbox.warm`` and ``waiting`` have no effect. Its own limit of 1 MB
of output comes first, and output that is not utf-8 is lost. A cancelled or abandoned program continues there
until its limit. ``state=replay`` sends the earlier programs, too; ``session`` is impossible.
"""

from __future__ import annotations

import contextlib
import json
import random
import threading
import time
from concurrent.futures import Future, InvalidStateError
from typing import Any, Self

import urllib3
from urllib3.exceptions import (
    ConnectTimeoutError,
    HTTPError,
    MaxRetryError,
    NewConnectionError,
    ReadTimeoutError,
)

from src.config import SandboxConfig
from src.run.processes import cores
from src.sandbox.api import ExecutionResult, SandboxError, Status
from src.sandbox.fusion_program import Question
from src.sandbox.lane import Lane, LaneFailure, Order, ProgramLost
from src.sandbox.pool import WorkerPool
from src.sandbox.probe import prove

_NAME = "sandbox_fusion"
_CONNECT = 5.0  # seconds
_ANSWER = 5.0  # seconds to wait for the answer beyond the service's limit of the execution
_LONGEST = 10.0  # maximum seconds between attempts, even if the service asks for more
_CANCELLED = ExecutionResult(Status.KILLED, "", "cancelled by the caller", 0.0)
_CHUNK, _LONGEST_ANSWER = 1 << 16, 16 << 20  # bytes; of an answer with the longest output, and all escaped
_FAILING = (429, 500, 502, 503, 504)
_BUSY = (429, 503)  # it has not taken the program


def fusion_pool(cfg: SandboxConfig) -> WorkerPool:
    """Test the service and start the pool of ``cfg``. Raises SandboxError if the service does not work."""
    service = _Service(cfg)
    lane = FusionLane(service, cfg)
    try:
        prove(lane, _NAME, files=False, sockets=False)
        return FusionPool(service, cfg)
    except LaneFailure as error:
        service.close()
        raise SandboxError(
            f"{_NAME}: {service.address} does not serve: {error}; remedy: start the service, or correct "
            "sandbox.sandbox_fusion.url"
        ) from error
    except BaseException:
        service.close()
        raise


class FusionPool(WorkerPool):
    """See the module's header."""

    def __init__(self, service: _Service, cfg: SandboxConfig) -> None:
        self._service = service
        workers = cfg.workers or cores()
        super().__init__(_NAME, workers, lambda: FusionLane(service, cfg), cfg)

    def close(self) -> None:
        """See Sandbox.close."""
        super().close()
        self._service.close()


class FusionLane(Lane):
    """One request at a time, over the shared connections of the service."""

    def __init__(self, service: _Service, cfg: SandboxConfig) -> None:
        self._service, self._cfg = service, cfg
        self._running: tuple[Order, Future[ExecutionResult]] | None = None  # the last one
        self._cancelled: Order | None = None
        self._gone = False

    def start(self) -> list[str]:
        """Run a test program, so that no lane takes programs while the service is down. See Lane.start."""
        result = self.execute(Order("print(6 * 7)", self._cfg.wall_seconds))
        if (result.status, result.stdout) != (Status.OK, "42\n"):
            raise LaneFailure(f"print(6 * 7) gave {result}")
        return []

    def execute(self, order: Order) -> ExecutionResult:
        """See Lane.execute."""
        question = Question(order, self._cfg)
        outcome: Future[ExecutionResult] = Future()
        self._running = order, outcome
        if self._gone:
            raise LaneFailure("it was interrupted")
        if self._cancelled is order:
            return _CANCELLED
        # in a separate thread, because a request cannot be interrupted, only abandoned
        threading.Thread(
            target=self._ask, args=(question, outcome), name="fusion-request", daemon=True
        ).start()
        try:
            return outcome.result(timeout=self._service.longest(question.seconds))
        except TimeoutError as error:
            raise ProgramLost("its answer did not end in time") from error

    def cancel(self, order: Order) -> None:
        """See Lane.cancel."""
        self._cancelled = order
        running = self._running
        if running is not None and running[0] is order:
            with contextlib.suppress(InvalidStateError):
                running[1].set_result(_CANCELLED)

    def interrupt(self) -> None:
        """See Lane.interrupt."""
        self._gone = True
        if self._running is not None:
            with contextlib.suppress(InvalidStateError):
                self._running[1].set_exception(LaneFailure("it was interrupted"))

    def close(self) -> None:
        """See Lane.close."""
        self.interrupt()

    def _ask(self, question: Question, outcome: Future[ExecutionResult]) -> None:
        try:
            result = question.result(self._service.post(question.request(), question.seconds))
        except BaseException as error:
            with contextlib.suppress(InvalidStateError):
                outcome.set_exception(error)
        else:
            with contextlib.suppress(InvalidStateError):
                outcome.set_result(result)


class _Retry(urllib3.Retry):
    """Jitter from the first pause on; no retry of a request that timed out, no reading of failures."""

    def get_backoff_time(self) -> float:
        """Return the seconds before the next attempt."""
        longest = min(self.backoff_factor * 2 ** (len(self.history) - 1), _LONGEST)
        return longest * random.uniform(0.5, 1.0)

    def increment(
        self,
        method: str | None = None,
        url: str | None = None,
        response: Any = None,
        error: Exception | None = None,
        _pool: Any = None,
        _stacktrace: Any = None,
    ) -> Self:
        """See urllib3.Retry."""
        if isinstance(error, ReadTimeoutError):
            raise error
        again = super().increment(method, url, response, error, _pool, _stacktrace)
        if response is not None:
            response.close()  # it would be read to its end, which may be far
        return again


def _read(reply: urllib3.BaseHTTPResponse, deadline: float) -> bytes:
    """Return the body of an answer, as it was sent. Raises ProgramLost or HTTPError."""
    if (encoding := reply.headers.get("Content-Encoding", "identity")) != "identity":
        raise ProgramLost(f"its answer is compressed ({encoding}), which was not asked for")
    parts, total = [], 0
    while part := reply.read1(_CHUNK, decode_content=False):
        parts.append(part)
        total += len(part)
        if total > _LONGEST_ANSWER:
            raise ProgramLost(f"its answer is longer than {_LONGEST_ANSWER >> 20} MB")
        if time.monotonic() > deadline:
            raise ProgramLost("its answer did not end in time")
    return b"".join(parts)


class _Service:
    """The connections to the service, kept open and shared by the lanes."""

    def __init__(self, cfg: SandboxConfig) -> None:
        self.address = f"{(cfg.sandbox_fusion.url or '').rstrip('/')}/run_code"
        self._retries = cfg.sandbox_fusion.retries
        workers = cfg.workers or cores()
        self._http = urllib3.PoolManager(num_pools=1, maxsize=workers)
        self._retry = _Retry(
            self._retries,
            redirect=False,
            allowed_methods=None,  # POST, too: running a program twice is harmless
            status_forcelist=_FAILING,
            raise_on_status=False,
            backoff_factor=cfg.sandbox_fusion.pause_seconds,
            retry_after_max=int(_LONGEST),
        )

    def longest(self, seconds: float) -> float:
        """Return the most seconds that :meth:`post` may take, with all retries."""
        once = _CONNECT + 2 * (seconds + _ANSWER)  # the first byte, then the rest
        return once + self._retries * (once + _LONGEST)

    def post(self, body: dict[str, Any], seconds: float) -> Any:
        """Return the answer to ``body``, within ``seconds`` and the retries.

        Raises LaneFailure if the service did not take it, ProgramLost if it took it and failed.
        """
        limits = urllib3.Timeout(connect=_CONNECT, read=seconds + _ANSWER)
        try:
            reply = self._http.request(
                "POST",
                self.address,
                json=body,
                headers={"Accept-Encoding": "identity"},
                timeout=limits,
                retries=self._retry,
                preload_content=False,
            )
            try:
                data = _read(reply, time.monotonic() + seconds + _ANSWER)
            finally:
                reply.close()
        except ReadTimeoutError as error:
            raise ProgramLost(f"no answer from {self.address} in time: {error}") from error
        except HTTPError as error:
            cause = error.reason if isinstance(error, MaxRetryError) else error
            taken = not isinstance(cause, ConnectTimeoutError | NewConnectionError)
            kind = ProgramLost if taken else LaneFailure
            raise kind(f"no answer from {self.address}: {error}") from error
        if reply.status != 200:
            kind = LaneFailure if reply.status in _BUSY else ProgramLost
            raise kind(f"{self.address} answered {reply.status}: {data[:200]!r}")
        try:
            return json.loads(data)
        except (ValueError, RecursionError) as error:
            raise ProgramLost(f"nonsense: {error}") from error

    def close(self) -> None:
        """Close the connections."""
        self._http.clear()
