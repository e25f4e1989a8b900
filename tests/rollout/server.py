"""A small server that answers as vLLM's HTTP server does, from a table of next tokens."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable, Iterable
from typing import Any

from aiohttp import web

from src.rollout.engines import Generation, Request
from src.rollout.tokens import TokenCodec


def next_tokens(log: Iterable[tuple[Request, list[int], Generation]]) -> dict[tuple[int, ...], int]:
    """The policy that says again what a scripted engine said, and nothing in any other context."""
    table = {}
    for _, context, generation in log:
        for position, token in enumerate(generation.token_ids):
            table[(*context, *generation.token_ids[:position])] = token
    return table


class TableServer:
    """Serves ``/v1/models`` and ``/v1/completions`` from a thread of its own; a context manager.

    Args:
        codec: decodes for stop strings.
        table: context to next token; a context that is not in it is refused, as is one that is too long.
        longest: ``max_model_len``.
        delay: seconds before each token.

    Attributes:
        url: where it listens.
        asked: the bodies of all completion requests.
        faults: what to answer to the first requests instead; None answers well.
        break_every: after so many answers, or tokens of a stream, the connection breaks; 0: never.
        broken: how often it did.
        aborted: requests whose client went away.
        under_way: requests that are being answered.
    """

    def __init__(
        self,
        codec: TokenCodec,
        table: dict[tuple[int, ...], int],
        *,
        longest: int = 4096,
        delay: float = 0.0,
    ) -> None:
        self._codec, self._table, self._longest, self._delay = codec, table, longest, delay
        self.asked: list[dict[str, Any]] = []
        self.faults: list[Callable[[], web.Response] | None] = []
        self.break_every = self.broken = 0
        self._answers = 0
        self.aborted = 0
        self.under_way = 0
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)

    def __enter__(self) -> TableServer:
        self._thread.start()
        self.url = asyncio.run_coroutine_threadsafe(self._open(), self._loop).result()
        return self

    def __exit__(self, *_: object) -> None:
        asyncio.run_coroutine_threadsafe(self._runner.cleanup(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _open(self) -> str:
        application = web.Application()
        application.router.add_get("/v1/models", self._models)
        application.router.add_post("/v1/completions", self._completions)
        self._runner = web.AppRunner(application, handler_cancellation=True, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        host, port = self._runner.addresses[0][:2]
        return f"http://{host}:{port}"

    async def _models(self, request: web.Request) -> web.Response:
        return web.json_response({"data": [{"id": "table", "max_model_len": self._longest}]})

    async def _completions(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        self.asked.append(body)
        fault = self.faults.pop(0) if self.faults else None
        if fault is not None:
            return fault()
        assert body["model"] == "table"
        assert body["return_token_ids"]
        assert body["include_stop_str_in_output"]
        self.under_way += 1
        try:
            return await (self._stream if body["stream"] else self._whole)(request, body)
        except asyncio.CancelledError:
            self.aborted += 1
            raise
        finally:
            self.under_way -= 1

    async def _sample(self, body: dict[str, Any]) -> Any:
        """Yield token, logprob (minus its position) and why it ends there, or None."""
        context, sampled = list(body["prompt"]), b""
        for position in range(body["max_tokens"]):
            await asyncio.sleep(self._delay)
            token = self._table[tuple(context)]
            context.append(token)
            sampled += self._codec.bytes_of(token)
            stops = token in body["stop_token_ids"] or any(s.encode() in sampled for s in body["stop"])
            finish = "stop" if stops else "length" if position + 1 == body["max_tokens"] else None
            yield token, -float(len(context) - 1), finish
            if finish:
                return

    async def _whole(self, request: web.Request, body: dict[str, Any]) -> web.Response:
        try:
            sampled = [one async for one in self._sample(body)]
        except KeyError:
            return web.json_response({"error": {"message": "a context that is not in the table"}}, status=400)
        self._perhaps_break(request)
        return web.json_response({"choices": [self._choice(sampled)]})

    async def _stream(self, request: web.Request, body: dict[str, Any]) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        async for one in self._sample(body):
            self._perhaps_break(request)
            await response.write(f"data: {json.dumps({'choices': [self._choice([one])]})}\n\n".encode())
        await response.write(b'data: {"choices": [], "usage": {}}\n\n')
        await response.write(b"data: [DONE]\n\n")
        return response

    def _perhaps_break(self, request: web.Request) -> None:
        self._answers += 1
        if self.break_every and self._answers % self.break_every == 0:
            self.broken += 1
            assert request.transport is not None
            request.transport.abort()

    @staticmethod
    def _choice(sampled: list[tuple[int, float, str | None]]) -> dict[str, Any]:
        tokens, logprobs, finishes = zip(*sampled, strict=True)
        return {
            "token_ids": list(tokens),
            "logprobs": {"token_logprobs": list(logprobs)},
            "finish_reason": finishes[-1],
        }
