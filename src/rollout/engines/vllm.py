"""Sampling with vLLM in this process, one engine step at a time.

Every turn is a separate vLLM request, whose key-value blocks stay in the prefix cache for the next turn. A
finished segment leaves the engine at once, so the other sequences never wait for it.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from src.policy.codec import TokenCodec
from src.rollout.engines.base import EngineError, Finish, Generation, Request
from src.rollout.streams import derive_seed

if TYPE_CHECKING:
    from vllm import LLM, RequestOutput


class Power(Protocol):
    """Wakes an engine before a rollout and puts it to sleep afterwards."""

    def wake(self) -> None:
        """Load the weights and allocate the key-value cache before returning."""

    def sleep(self) -> None:
        """Free the weights and the key-value cache."""


class Progress:
    """One request in vLLM, sampled in one or several pieces.

    vLLM stops at every token or string that may end a segment; the request's stop condition then decides.

    Attributes:
        request: the scheduler's request.
        token_ids: tokens sampled so far.
        logprobs: sampling logprob of each of them.
    """

    def __init__(self, request: Request) -> None:
        self.request = request
        self.token_ids: list[int] = []
        self.logprobs: list[float] = []

    @property
    def context(self) -> list[int]:
        """The token ids from which to continue."""
        return [*self.request.token_ids, *self.token_ids]

    @property
    def left(self) -> int:
        """The number of tokens that may still be sampled."""
        return self.request.max_tokens - len(self.token_ids)

    @property
    def seed(self) -> int | None:
        """Seed of the next piece, which must not reuse the random numbers of the previous one."""
        seed = self.request.seed
        return None if seed is None else derive_seed(seed, len(self.token_ids))

    def stops(self, follow: bool, eos_ids: frozenset[int]) -> dict[str, Any]:
        """Return vLLM's stop settings; with ``follow`` every token is checked here instead."""
        condition = None if follow else self.request.stop_condition
        return {
            "stop_token_ids": sorted(eos_ids | condition.stop_ids if condition else eos_ids),
            "stop": list(condition.stop_strings) if condition else [],
            "include_stop_str_in_output": True,
        }

    def take(
        self, token_ids: Sequence[int], logprobs: Sequence[float], eos_ids: frozenset[int]
    ) -> Generation | None:
        """Add a piece sampled by vLLM; return the generation if it is complete, None to continue."""
        self.token_ids += token_ids
        self.logprobs += logprobs
        stop_condition = self.request.stop_condition
        # a list, not a generator: the stop_condition must see every token
        fired = (
            [stop_condition(token_id) for token_id in token_ids if token_id not in eos_ids]
            if stop_condition
            else []
        )
        if any(fired) or (token_ids and token_ids[-1] in eos_ids):
            return self.finish(Finish.STOP)
        if self.left <= 0:
            return self.finish(Finish.LENGTH)
        return None

    def finish(self, finish: Finish) -> Generation:
        """Return the generation, complete or not."""
        return Generation(self.request.id, self.token_ids, self.logprobs, finish)


class VLLMEngine:
    """Samples from a ``vllm.LLM`` in this process.

    Args:
        llm: with ``logprobs_mode="processed_logprobs"``, so that logprobs are of the sampling distribution.
        codec: provides the end-of-text ids.
        temperature: 0 is greedy.
        top_p: nucleus sampling.
        follow: receive every token as it is sampled, so that aborted requests keep their tokens; slower.
        power: wakes ``llm`` for a rollout; None: it is always awake.
    """

    streaming = True
    background = False

    def __init__(
        self,
        llm: LLM,
        codec: TokenCodec,
        *,
        temperature: float,
        top_p: float,
        follow: bool = False,
        power: Power | None = None,
    ) -> None:
        from vllm.sampling_params import RequestOutputKind

        self._engine = llm.llm_engine
        self._eos_ids = codec.eos_ids
        self._follow = follow
        self._power, self._awake = power, False
        self._sampling = {
            "temperature": temperature,
            "top_p": top_p,
            "logprobs": 0,
            "output_kind": RequestOutputKind.DELTA if follow else RequestOutputKind.FINAL_ONLY,
        }
        self._numbers = itertools.count()
        self._pending: dict[str, Progress] = {}

    @property
    def pending(self) -> int:
        """Number of unfinished requests."""
        return len(self._pending)

    def start(self, notify: Callable[[], None]) -> None:
        """See Engine.start."""
        if self._power is not None:
            self._power.wake()
            self._awake = True

    def submit(self, request: Request) -> None:
        """See Engine.submit."""
        self._add(Progress(request))

    def poll(self, until: float | None = None) -> list[Generation]:
        """Run one engine step: one token for every running sequence."""
        try:
            outputs = self._engine.step()
        except Exception as error:
            raise EngineError(f"vLLM failed: {type(error).__name__}: {error}") from error
        generations = (self._take(output) for output in outputs)
        return [generation for generation in generations if generation is not None]

    def abort(self) -> list[Generation]:
        """See Engine.abort."""
        partial = [progress.finish(Finish.LENGTH) for progress in self._pending.values()]
        self._clear()
        return partial

    def stop(self) -> None:
        """See Engine.stop."""
        self._clear()
        if self._power is not None and self._awake:
            self._awake = False
            self._power.sleep()

    def _clear(self) -> None:
        if self._pending:
            self._engine.abort_request(list(self._pending))
            self._pending.clear()

    def _add(self, progress: Progress) -> None:
        from vllm import SamplingParams

        stops = progress.stops(self._follow, self._eos_ids)
        params = SamplingParams(
            **self._sampling,
            max_tokens=progress.left,
            seed=progress.seed,
            **stops,
            detokenize=bool(stops["stop"]),
        )
        name = str(next(self._numbers))
        try:
            self._engine.add_request(name, {"type": "token", "prompt_token_ids": progress.context}, params)
        except Exception as error:
            raise EngineError(
                f"vLLM rejects a sequence of {len(progress.context)} tokens: {type(error).__name__}: {error}"
            ) from error
        self._pending[name] = progress

    def _take(self, output: RequestOutput) -> Generation | None:
        (piece,) = output.outputs
        progress = self._pending[output.request_id]
        token_ids = list(piece.token_ids)
        generation = progress.take(token_ids, sampled_logprobs(piece.logprobs, token_ids), self._eos_ids)
        if generation is None and not output.finished:
            return None
        del self._pending[output.request_id]
        if not output.finished:
            self._engine.abort_request([output.request_id])
        if generation is None:
            self._add(progress)
        return generation


def sampled_logprobs(logprobs: Any, token_ids: Sequence[int]) -> list[float]:
    """Return the logprob of each sampled token; vLLM gives a mapping of token ids per position."""
    return [position[token].logprob for position, token in zip(logprobs, token_ids, strict=True)]
