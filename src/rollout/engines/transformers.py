"""Sampling with the trained model itself through ``generate``: exact, simple, no second copy.

Batch-synchronous: one poll samples for all pending requests, up to the batch size. If the weights are sharded
over processes, every forward pass needs all of them: all processes then poll equally often, with a dummy
request if they have none, until the last one is done.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from typing import Any

import torch
from transformers import (
    GenerationConfig,
    LogitsProcessorList,
    PreTrainedModel,
    StoppingCriteria,
    StoppingCriteriaList,
)

from src.policy.codec import TokenCodec
from src.rollout.engines.base import Finish, Generation, Request
from src.rollout.engines.cache import build_cache
from src.rollout.streams import stream_processors
from src.run.processes import Ranks


class _RowLimits(StoppingCriteria):
    """Stops each row at its own limit, at the end of text, or at its stop_condition.

    Args:
        requests: one per row.
        eos_ids: end-of-text ids.
        min_active: all rows stop once at most this many are still sampling.
        until: deadline (``time.monotonic()``) at which all rows stop.
    """

    def __init__(
        self, requests: list[Request], eos_ids: frozenset[int], min_active: int, until: float | None
    ) -> None:
        self._requests, self._eos_ids, self._min_active = requests, eos_ids, min_active
        self._until = float("inf") if until is None else until
        self.sampled: list[list[int]] = [[] for _ in requests]
        self.finish: list[Finish | None] = [None] * len(requests)

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor, **_: Any) -> torch.Tensor:
        """Return a mask of the finished rows, (B,); ``input_ids`` is (B, L)."""
        for row, token_id in enumerate(input_ids[:, -1].tolist()):
            if self.finish[row] is not None:
                continue
            request, tokens = self._requests[row], self.sampled[row]
            tokens.append(token_id)
            closed = token_id in self._eos_ids or (
                request.stop_condition is not None and request.stop_condition(token_id)
            )
            if closed:
                self.finish[row] = Finish.STOP
            elif len(tokens) >= request.max_tokens:
                self.finish[row] = Finish.LENGTH
        live = sum(finish is None for finish in self.finish)
        if live <= self._min_active or time.monotonic() >= self._until:
            return torch.ones(len(self.finish), dtype=torch.bool, device=input_ids.device)
        return torch.tensor([finish is not None for finish in self.finish], device=input_ids.device)


class TransformersEngine:
    """Samples from a model in this process.

    Args:
        model: the policy; its weights may change between polls.
        codec: provides the end-of-text and padding ids.
        temperature: 0 is greedy.
        top_p: nucleus sampling.
        batch_size: most rows at once.
        min_active_fraction: a poll ends once at most this fraction of the batch's rows is still sampling;
            these continue in the next poll, together with the next turns of the others.
        in_step: the processes over which the weights are sharded; None: the weights are not sharded.
    """

    streaming = False
    background = False

    def __init__(
        self,
        model: PreTrainedModel,
        codec: TokenCodec,
        *,
        temperature: float,
        top_p: float,
        batch_size: int,
        min_active_fraction: float = 0.0,
        in_step: Ranks | None = None,
    ) -> None:
        self._model, self._codec, self._in_step = model, codec, in_step
        self._failed = False
        self._pad_id = codec.pad_id
        self._batch_size, self._min_active_fraction = batch_size, min_active_fraction
        self._pending: deque[Request] = deque()
        self._partial: dict[int, list[int]] = {}  # sampled before the last poll ended
        sampling = {"do_sample": True, "temperature": temperature, "top_p": top_p, "top_k": 0}
        self._sampling: dict[str, Any] = sampling if temperature > 0 else {"do_sample": False}

    @property
    def pending(self) -> int:
        """Number of unfinished requests."""
        return len(self._pending)

    def start(self, notify: Callable[[], None]) -> None:
        """See Engine.start."""

    def submit(self, request: Request) -> None:
        """Add a request."""
        self._pending.append(request)

    def abort(self) -> list[Generation]:
        """See Engine.abort."""
        partial = [Generation(r.id, self._partial.pop(r.id, []), None, Finish.LENGTH) for r in self._pending]
        self._pending.clear()
        return partial

    def stop(self) -> None:
        """Drop all pending requests; with sharded weights, poll until all processes are done."""
        self._pending.clear()
        self._partial.clear()
        if self._in_step is None or self._failed:
            return
        while self._in_step.any(False):
            self._generate([Request(0, [self._pad_id], 1)], None, {"do_sample": False})  # no random numbers

    def poll(self, until: float | None = None) -> list[Generation]:
        """Sample for up to a batch of requests; return those that finished."""
        if self._in_step is not None:
            self._in_step.any(True)  # keeps the other processes polling
        self._failed = True
        done = self._poll(until)
        self._failed = False
        return done

    def _poll(self, until: float | None) -> list[Generation]:
        # Rows of similar length need the least padding. Ties are broken by id: requests arrive in the
        # order in which programs finish, and a seed must give the same samples in any order.
        order = sorted(self._pending, key=lambda request: (len(request.token_ids), request.id))
        requests = order[: self._batch_size]
        chosen = {id(request) for request in requests}
        self._pending = deque(request for request in self._pending if id(request) not in chosen)
        limits = self._generate(requests, until, self._sampling, self._processors(requests))
        done = []
        for request, tokens, finish in zip(requests, limits.sampled, limits.finish, strict=True):
            earlier = self._partial.pop(request.id, [])
            if finish is None:
                self._partial[request.id] = earlier + tokens
                rest = Request(
                    request.id,
                    [*request.token_ids, *tokens],
                    request.max_tokens - len(tokens),
                    request.stop_condition,
                    request.seed,
                )
                self._pending.append(rest)
            else:
                done.append(Generation(request.id, earlier + tokens, None, finish))
        return done

    def _processors(self, requests: list[Request]) -> LogitsProcessorList | None:
        """Return logits processors that sample each row from its own stream; None: torch's generator."""
        seeds = [request.seed for request in requests if request.seed is not None]
        if not seeds or not self._sampling["do_sample"]:
            return None
        if len(seeds) < len(requests):
            raise ValueError("concurrent requests with and without a seed; give all of them a seed, or none")
        return stream_processors(
            seeds,
            [len(self._partial.get(request.id, [])) for request in requests],
            max(request.max_tokens for request in requests),
            temperature=self._sampling["temperature"],
            top_p=self._sampling["top_p"],
            device=self._model.device,
        )

    @torch.no_grad()
    def _generate(
        self,
        requests: list[Request],
        until: float | None,
        sampling: dict[str, Any],
        processors: LogitsProcessorList | None = None,
    ) -> _RowLimits:
        model = self._model
        width = max(len(request.token_ids) for request in requests)
        rows = [[self._pad_id] * (width - len(r.token_ids)) + list(r.token_ids) for r in requests]
        mask = [[0] * (width - len(r.token_ids)) + [1] * len(r.token_ids) for r in requests]
        limits = _RowLimits(
            requests, self._codec.eos_ids, int(self._min_active_fraction * len(requests)), until
        )
        settings = GenerationConfig(
            **({"do_sample": False} if processors else sampling),
            pad_token_id=self._pad_id,
            eos_token_id=sorted(self._codec.eos_ids),
            max_new_tokens=max(request.max_tokens for request in requests),
        )
        # generate fills unset options from the model's generation settings, such as a repetition penalty:
        # then it would sample from a distribution other than the trained one
        training, own = model.training, model.generation_config
        model.eval()
        model.generation_config = settings
        try:
            model.generate(
                input_ids=torch.tensor(rows, device=model.device),
                attention_mask=torch.tensor(mask, device=model.device),
                past_key_values=build_cache(model),
                generation_config=settings,
                logits_processor=processors,
                stopping_criteria=StoppingCriteriaList([limits]),
                synced_gpus=self._in_step is not None,
            )
        finally:
            model.generation_config = own
            model.train(training)
        return limits
