"""Sampling with a vLLM server over its OpenAI-compatible HTTP interface, token ids in and out.

Each engine, and so each process of a distributed run, has its own client: one thread with one event loop and
one connection pool. Each running request is an asyncio task, not a thread.
"""

from __future__ import annotations

import asyncio
import json
import queue
import random
import threading
import time
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import aclosing
from typing import Any, TypeVar

import aiohttp

from src.policy.codec import TokenCodec
from src.rollout.engines.base import EngineError, Finish, Generation, Request
from src.rollout.engines.server_watch import watch
from src.rollout.engines.vllm import Progress

T = TypeVar("T")

_BUSY = (429, 502, 503, 504)
_PAUSES = (0.2, 0.5, 1.0, 2.0, 4.0)  # seconds before each retry, plus up to 50 %
_GREETING = 5.0  # timeout in seconds of a query for the server's model


class VLLMServerEngine:
    """Samples from a vLLM server; a context manager that ends its thread.

    The server should run with ``--logprobs-mode processed_logprobs``, so that logprobs are of the sampling
    distribution, and with the trainer's dtype.

    Args:
        url: URL of the server, without a path.
        codec: provides the end-of-text ids.
        temperature: 0 is greedy.
        top_p: nucleus sampling.
        connections: most concurrent requests.
        start_seconds: timeout for the server's first answer.
        follow: receive every token as it is sampled, so that aborted requests keep their tokens; slower.
        longest: most tokens of a trajectory, prompt included; the server must accept as many.
    """

    streaming = True
    background = True

    def __init__(
        self,
        url: str,
        codec: TokenCodec,
        *,
        temperature: float,
        top_p: float,
        connections: int = 1024,
        start_seconds: float = 240.0,
        follow: bool = False,
        longest: int = 0,
    ) -> None:
        self._needed = longest
        self._url, self._eos_ids = url.rstrip("/"), codec.eos_ids
        # all options: the server fills unset ones from the model's generation settings
        self._sampling = {
            "temperature": temperature,
            "top_p": top_p,
            "top_k": 0,
            "min_p": 0.0,
            "repetition_penalty": 1.0,
            "presence_penalty": 0.0,
            "frequency_penalty": 0.0,
            "logprobs": 0,
        }
        self._connections, self._start_seconds, self._follow = connections, start_seconds, follow
        self._model, self._longest = "", 0  # as reported by the server
        self._notify: Callable[[], None] = lambda: None
        self._done: queue.SimpleQueue[Generation | EngineError] = queue.SimpleQueue()
        self._under_way: dict[int, Progress] = {}
        self._tasks: set[asyncio.Task[None]] = set()  # the loop's own
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._session: aiohttp.ClientSession | None = None
        self._watcher: asyncio.Task[None] | None = None

    @property
    def pending(self) -> int:
        """Number of unfinished requests."""
        return len(self._under_way)

    def start(self, notify: Callable[[], None]) -> None:
        """See Engine.start; waits for the server. Raises EngineError if it does not answer in time."""
        self._notify = notify
        if self._loop is None:
            self._loop = asyncio.new_event_loop()
            self._thread = threading.Thread(target=self._loop.run_forever, name="vllm client", daemon=True)
            self._thread.start()
        if self._session is None:
            try:
                self._do(self._open())
                self._refuse_short()
            except BaseException:
                self.close()
                raise

    def _refuse_short(self) -> None:
        if self._needed > self._longest:
            raise EngineError(
                f"the vLLM server at {self._url} accepts {self._longest} tokens (max_model_len), but "
                f"rollout.max_prompt_tokens + rollout.max_tokens is {self._needed}; start it with "
                f"--max-model-len {self._needed}, or lower rollout.max_tokens or rollout.max_prompt_tokens"
            )

    def submit(self, request: Request) -> None:
        """See Engine.submit."""
        if len(request.token_ids) + request.max_tokens > self._longest:
            raise EngineError(
                f"a sequence may reach {len(request.token_ids) + request.max_tokens} tokens, but the vLLM "
                f"server at {self._url} accepts {self._longest}; start it with a larger --max-model-len, or "
                "lower rollout.max_tokens"
            )
        assert self._loop is not None
        progress = self._under_way[request.id] = Progress(request)
        self._loop.call_soon_threadsafe(self._begin, progress, self._done, self._notify)

    def poll(self, until: float | None = None) -> list[Generation]:
        """Return the generations that have arrived, without waiting."""
        generations: list[Generation] = []
        while True:
            try:
                result = self._done.get_nowait()
            except queue.Empty:
                return generations
            if isinstance(result, EngineError):
                raise result
            del self._under_way[result.id]
            generations.append(result)

    def abort(self) -> list[Generation]:
        """See Engine.abort; without ``follow``, tokens sampled since a request's last stop are lost."""
        self._do(self._cancel())
        finished = self.poll()
        partial = [progress.finish(Finish.LENGTH) for progress in self._under_way.values()]
        self._under_way.clear()
        return finished + partial

    def stop(self) -> None:
        """See Engine.stop; closing the connections makes the server abort its running requests."""
        if self._loop is not None:
            self._do(self._cancel())
        self._under_way.clear()
        self._done = queue.SimpleQueue()

    def close(self) -> None:
        """Close the connections and end the thread."""
        if self._loop is None or self._thread is None:
            return
        self.stop()
        self._do(self._close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
        self._loop = self._thread = None

    def __enter__(self) -> VLLMServerEngine:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _do(self, work: Coroutine[Any, Any, T]) -> T:
        """Run ``work`` in the client's thread and wait for its result."""
        assert self._loop is not None
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    # The methods below run in the client's thread.

    async def _open(self) -> None:
        """Connect, and query the model that the server serves."""
        connector = aiohttp.TCPConnector(limit=self._connections, keepalive_timeout=30)
        self._session = aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(total=None))
        until = time.monotonic() + self._start_seconds
        while True:
            try:
                timeout = aiohttp.ClientTimeout(total=_GREETING)
                async with self._session.get(f"{self._url}/v1/models", timeout=timeout) as response:
                    response.raise_for_status()
                    (served, *_) = (await response.json())["data"]
                    self._model, self._longest = served["id"], served["max_model_len"]
                    watching = watch(self._url, lambda: bool(self._tasks), self._lost)
                    self._watcher = asyncio.get_running_loop().create_task(watching)
                    return
            except (aiohttp.ClientError, TimeoutError, OSError, LookupError, ValueError) as error:
                if time.monotonic() >= until:
                    raise EngineError(
                        f"no vLLM server answers at {self._url} ({type(error).__name__}: {error}); "
                        "start one, or correct engine.server.url"
                    ) from None
            await asyncio.sleep(0.5)

    async def _close(self) -> None:
        session, self._session = self._session, None
        if self._watcher is not None:
            self._watcher.cancel()
        if session is not None:
            await session.close()

    def _lost(self, reason: str) -> None:
        self._done.put(self._unavailable(reason))
        self._notify()

    def _unavailable(self, reason: str) -> EngineError:
        return EngineError(
            f"the vLLM server at {self._url} is unavailable ({reason}); restart it and resume the run"
        )

    async def _cancel(self) -> None:
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _begin(
        self,
        progress: Progress,
        done: queue.SimpleQueue[Generation | EngineError],
        notify: Callable[[], None],
    ) -> None:
        task = asyncio.get_running_loop().create_task(self._serve(progress, done, notify))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(
        self,
        progress: Progress,
        done: queue.SimpleQueue[Generation | EngineError],
        notify: Callable[[], None],
    ) -> None:
        """Run a request to its end; put the generation or the error into the rollout's queue."""
        try:
            generation = None
            while generation is None:
                generation = await self._piece(progress)
            done.put(generation)
        except EngineError as error:
            done.put(error)
        except Exception as error:
            done.put(EngineError(f"the vLLM server at {self._url}: {type(error).__name__}: {error}"))
        notify()

    async def _piece(self, progress: Progress) -> Generation | None:
        """Sample until the server stops, with retries; None: the request is not finished there."""
        pauses = iter(_PAUSES)
        while True:
            had = len(progress.token_ids)
            try:
                async with aclosing(self._choices(progress)) as choices:
                    async for choice in choices:
                        logprobs = choice["logprobs"]["token_logprobs"] if choice["token_ids"] else []
                        generation = progress.take(choice["token_ids"], logprobs, self._eos_ids)
                        if generation is not None:
                            return generation
                if len(progress.token_ids) == had:
                    raise EngineError(f"the vLLM server at {self._url} returned no token")
                return None
            except (aiohttp.ClientError, _BusyError, OSError) as error:
                if len(progress.token_ids) > had:
                    pauses = iter(_PAUSES)
                pause = next(pauses, None)
                if pause is None:
                    raise self._unavailable(f"{type(error).__name__}: {error}") from None
            await asyncio.sleep(pause * random.uniform(1.0, 1.5))

    async def _choices(self, progress: Progress) -> AsyncGenerator[dict[str, Any], None]:
        """Yield what the server sampled: all at once, or with ``follow`` as it arrives."""
        assert self._session is not None
        body = self._body(progress)
        async with self._session.post(f"{self._url}/v1/completions", json=body) as response:
            if response.status in _BUSY:
                raise _BusyError(f"status {response.status}")
            if response.status != 200:
                reason = (await response.text())[:500]
                raise EngineError(f"the vLLM server at {self._url} rejects a request: {reason}")
            if not self._follow:
                yield (await response.json())["choices"][0]
                return
            async for line in response.content:
                data = line.removeprefix(b"data:").strip()
                if line.startswith(b"data:") and data != b"[DONE]":
                    message = json.loads(data)
                    if "error" in message:
                        raise EngineError(f"the vLLM server at {self._url}: {message['error']}")
                    if message["choices"]:
                        yield message["choices"][0]

    def _body(self, progress: Progress) -> dict[str, Any]:
        return {
            **self._sampling,
            "model": self._model,
            "prompt": progress.context,
            "max_tokens": progress.left,
            "seed": progress.seed,
            **progress.stops(self._follow, self._eos_ids),
            "return_token_ids": True,
            "return_tokens_as_token_ids": True,
            "stream": self._follow,
        }


class _BusyError(Exception):
    """The server is running but does not accept the request now."""
