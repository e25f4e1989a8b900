"""A pool of requests to ByteDance's SandboxFusion, a service that runs programs over HTTP (``/run_code``).

Guaranteed: a program means what it means in the jails here (src/sandbox/fusion_program.py says how), its wall
time counts from its own beginning, its output is cut at the same length. A service that is busy, out of
reach or broken is asked again, at growing intervals with jitter; then the pool tries once more; then the
result is ``infrastructure``, never the program's fault. The service is proved once, when the pool starts;
after a failure a lane serves again only when the service has run a program for it.

Not guaranteed: safety, which is wholly the service's own matter: that programs reach no file, network or one
another is neither imposed nor tested. Of the limits, wall time, memory and output are imposed; CPU time,
threads and disk are not. The service needs Linux, numpy and sympy, whatever their version; it starts an
interpreter for each program, so that ``sandbox.warm`` and ``waiting`` do nothing. Its own limit of 1 MB of
output comes first, and output that is not utf-8 is lost. A cancelled or abandoned program goes on there until
its limit. ``state=replay`` sends the earlier programs along; ``session`` is impossible.
"""

from __future__ import annotations

import contextlib
import json
import random
import threading
from concurrent.futures import Future, InvalidStateError
from typing import Any, Self

import urllib3
from urllib3.exceptions import HTTPError, ReadTimeoutError

from src.config import SandboxConfig
from src.run.processes import cores
from src.sandbox.api import ExecutionResult, SandboxError, Status
from src.sandbox.fusion_program import Question
from src.sandbox.lane import Lane, LaneFailure, Order
from src.sandbox.pool import WorkerPool
from src.sandbox.probe import prove

_NAME = "sandbox_fusion"
_CONNECT = 5.0  # seconds
_ANSWER = 5.0  # seconds for the answer to come, beyond the service's limit of the execution
_LONGEST = 10.0  # seconds of a pause between attempts, whatever the service asks for
_CANCELLED = ExecutionResult(Status.KILLED, "", "cancelled by the caller", 0.0)
_BUSY = (429, 500, 502, 503, 504)


def fusion_pool(cfg: SandboxConfig) -> WorkerPool:
    """Prove the service and start the pool of ``cfg``. Raises SandboxError when the service does not do."""
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
    """One request at a time; the connections are the service's."""

    def __init__(self, service: _Service, cfg: SandboxConfig) -> None:
        self._service, self._cfg = service, cfg
        self._running: tuple[Order, Future[ExecutionResult]] | None = None  # the last one
        self._cancelled: Order | None = None
        self._gone = False

    def start(self) -> list[str]:
        """Have a program run, so that no lane waits for programs while the service is out. See Lane.start."""
        result = self.execute(Order("6 * 7", self._cfg.wall_seconds))
        if (result.status, result.stdout) != (Status.OK, "42\n"):
            raise LaneFailure(f"6 * 7 gave {result}")
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
        # in a thread of its own, because a request cannot be interrupted, only left behind
        threading.Thread(
            target=self._ask, args=(question, outcome), name="fusion-request", daemon=True
        ).start()
        return outcome.result()

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
    """Pauses with jitter from the first; a service that keeps silent is not asked again."""

    def get_backoff_time(self) -> float:
        """Seconds before the next attempt."""
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
        return super().increment(method, url, response, error, _pool, _stacktrace)


class _Service:
    """The connections to the service, kept open and shared by the lanes."""

    def __init__(self, cfg: SandboxConfig) -> None:
        self.address = f"{(cfg.sandbox_fusion.url or '').rstrip('/')}/run_code"
        workers = cfg.workers or cores()
        self._http = urllib3.PoolManager(num_pools=1, maxsize=workers)
        self._retry = _Retry(
            cfg.sandbox_fusion.retries,
            redirect=False,
            allowed_methods=None,  # POST too: to run a program twice does no harm
            status_forcelist=_BUSY,
            backoff_factor=cfg.sandbox_fusion.pause_seconds,
            retry_after_max=int(_LONGEST),
        )

    def post(self, body: dict[str, Any], seconds: float) -> Any:
        """The answer to ``body``, within some ``seconds`` and the retries. Raises LaneFailure."""
        limits = urllib3.Timeout(connect=_CONNECT, read=seconds + _ANSWER)
        try:
            reply = self._http.request("POST", self.address, json=body, timeout=limits, retries=self._retry)
        except HTTPError as error:
            raise LaneFailure(f"no answer from {self.address}: {error}") from error
        if reply.status != 200:
            raise LaneFailure(f"{self.address} answered {reply.status}: {reply.data[:200]!r}")
        try:
            return json.loads(reply.data)
        except (ValueError, RecursionError) as error:
            raise LaneFailure(f"nonsense: {error}") from error

    def close(self) -> None:
        """Close the connections."""
        self._http.clear()
