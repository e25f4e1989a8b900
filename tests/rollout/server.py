"""Small servers that answer as vLLM's HTTP server does: from a table of next tokens, or from a model."""

from __future__ import annotations

import asyncio
import json
import queue
import threading
from collections.abc import Callable, Iterable
from typing import Any

import torch
from aiohttp import web
from transformers import PreTrainedModel

from src.policy.codec import TokenCodec
from src.rollout.engines import Generation, Request


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
        self._add_routes(application)
        self._runner = web.AppRunner(application, handler_cancellation=True, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        host, port = self._runner.addresses[0][:2]
        return f"http://{host}:{port}"

    def _add_routes(self, application: web.Application) -> None:
        """For more than completions."""

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


class ModelServer(TableServer):
    """Samples from a model of its own, whose weights come over ``wire`` in the calls that vLLM documents.

    Args:
        codec: decodes for stop strings.
        model: what it starts with.

    Attributes:
        wire: stands for NCCL: the tensors of an update, in the order in which they are sent.
        calls: the names of all calls about weights, and ``completion`` once for each run of completions.
    """

    def __init__(self, codec: TokenCodec, model: PreTrainedModel) -> None:
        super().__init__(codec, {})
        self._model = model.eval()
        self.wire: queue.SimpleQueue[torch.Tensor] = queue.SimpleQueue()
        self.calls: list[str] = []
        self._received: dict[str, torch.Tensor] = {}

    def _add_routes(self, application: web.Application) -> None:
        async def known(_: web.Request) -> web.Response:
            model = {"logprobs_mode": "processed_logprobs"}
            config = {"weight_transfer_config": {"backend": "nccl"}, "model_config": model}
            return web.json_response({"vllm_config": config, "world_size": 1})

        for path in ("/health", "/server_info", "/get_world_size"):
            application.router.add_get(path, known)
        calls = {
            "/start_weight_update": self._start,
            "/update_weights": self._update,
            "/finish_weight_update": self._finish,
            "/reset_prefix_cache": self._start,
        }
        for path, handler in calls.items():
            application.router.add_post(path, handler)

    async def _start(self, request: web.Request) -> web.Response:
        assert self.under_way == 0, "no sequence may go on with other weights"
        self.calls.append(request.path[1:])
        return web.json_response({"success": True})

    async def _update(self, request: web.Request) -> web.Response:
        info = (await request.json())["update_info"]
        loop = asyncio.get_running_loop()
        for name, dtype, shape in zip(info["names"], info["dtype_names"], info["shapes"], strict=True):
            tensor = await loop.run_in_executor(None, self.wire.get)
            assert str(tensor.dtype) == f"torch.{dtype}"
            assert list(tensor.shape) == shape
            self._received[name] = tensor
        return await self._start(request)

    async def _finish(self, request: web.Request) -> web.Response:
        missing, unexpected = self._model.load_state_dict(self._received, strict=False)
        assert not unexpected
        assert set(missing) <= {"lm_head.weight"}  # tied
        self._received = {}
        return await self._start(request)

    async def _sample(self, body: dict[str, Any]) -> Any:
        if self.calls[-1:] != ["completion"]:
            self.calls.append("completion")
        context = list(body["prompt"])
        for position in range(body["max_tokens"]):
            await asyncio.sleep(0)
            with torch.no_grad():
                logits = self._model(torch.tensor([context])).logits[0, -1] / body["temperature"]
            logprobs = logits.log_softmax(-1)
            token = int(torch.multinomial(logprobs.exp(), 1))
            context.append(token)
            stops = token in body["stop_token_ids"]
            finish = "stop" if stops else "length" if position + 1 == body["max_tokens"] else None
            yield token, float(logprobs[token]), finish
            if finish:
                return
