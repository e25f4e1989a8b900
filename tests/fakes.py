"""Small deterministic stand-ins: vocabularies, a scripted policy, a sandbox that runs nothing."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Any

from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from src.config import RewardConfig, RolloutConfig
from src.formats import FenceFormat, Format, HermesFormat, ReleasedFenceFormat, TagFormat
from src.policy.codec import TokenCodec
from src.problems import Problem
from src.rollout.engines import Engine, Finish, Generation, Request
from src.rollout.environment import Environment
from src.rollout.scheduler import RolloutScheduler
from src.sandbox import ExecutionResult, Sandbox, Status
from src.tools import PythonTool, Tool, Toolbox

EOS = "<|end|>"


def bpe_tokenizer(pieces: Sequence[str] = ()) -> PreTrainedTokenizerFast:
    """A byte-level tokenizer: the 256 bytes, then ``pieces``, each built by merges from its left."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    vocabulary = {char: index for index, char in enumerate(alphabet)}
    merges: list[tuple[str, str]] = []
    for piece in pieces:
        shown = level.pre_tokenize_str(piece)[0][0]
        for end in range(2, len(shown) + 1):
            if shown[:end] not in vocabulary:
                vocabulary[shown[:end]] = len(vocabulary)
                merges.append((shown[: end - 1], shown[end - 1]))
    tokenizer = Tokenizer(models.BPE(vocabulary, merges))
    tokenizer.pre_tokenizer = level
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(EOS, special=True)])
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token=EOS, pad_token=EOS)


PIECES = ("```", "```\n", "```\n\n", "``", ")\n```", "\n```x", "python", "```python\n", "print", "\\boxed{")
BYTES = TokenCodec(bpe_tokenizer())
BPE = TokenCodec(bpe_tokenizer(PIECES))


def problem(answer: str = "1", name: str = "p0", subject: str | None = "Algebra") -> Problem:
    """A problem; its text is its name."""
    return Problem(id=name, text=name, answer=answer, subject=subject, level=1, source="fake")


class ScriptedEngine:
    """A policy that says, for each request id, the next tokens of a script, whatever the context.

    Args:
        scripts: token ids by request id; a request past the end of its script samples ``filler``.
        overrun: tokens sampled on after the watch has fired, as engines with stop strings do.
        per_poll: most generations a poll returns; the last submitted come first.
        streaming: what it claims to be.
        logprobs: whether to return logprobs (minus the position in the script).
    """

    def __init__(
        self,
        scripts: Sequence[Sequence[int]],
        filler: int,
        *,
        overrun: int = 0,
        per_poll: int = 1_000_000,
        streaming: bool = False,
        logprobs: bool = False,
    ) -> None:
        self.streaming, self.background = streaming, False
        self._scripts = [list(script) for script in scripts]
        self._at = [0] * len(scripts)
        self._filler, self._overrun, self._per_poll, self._logprobs = filler, overrun, per_poll, logprobs
        self._pending: list[Request] = []
        self.log: list[tuple[Request, list[int], Generation]] = []  # request, its context then, answer

    @property
    def pending(self) -> int:
        return len(self._pending)

    def submit(self, request: Request) -> None:
        assert request.max_tokens >= 1
        self._pending.append(request)

    def start(self, notify: Callable[[], None]) -> None:
        assert not self._pending

    def stop(self) -> None:
        self._pending.clear()

    def abort(self) -> list[Generation]:
        given_up = [
            Generation(r.id, [], [] if self._logprobs else None, Finish.LENGTH) for r in self._pending
        ]
        self._pending.clear()
        return given_up

    def poll(self, until: float | None = None) -> list[Generation]:
        return [self._sample(self._pending.pop()) for _ in range(min(self._per_poll, len(self._pending)))]

    def _sample(self, request: Request) -> Generation:
        tokens: list[int] = []
        start, left = self._at[request.id], None
        finish = Finish.LENGTH
        while len(tokens) < request.max_tokens and left != 0:
            script, at = self._scripts[request.id], self._at[request.id]
            token = script[at] if at < len(script) else self._filler
            self._at[request.id] += 1
            tokens.append(token)
            left = None if left is None else left - 1
            if token == self._filler:
                finish = Finish.STOP
                break
            if left is None and request.stop_condition is not None and request.stop_condition(token):
                finish, left = Finish.STOP, self._overrun
        logprobs = [-float(start + i) for i in range(len(tokens))] if self._logprobs else None
        generation = Generation(request.id, tokens, logprobs, finish)
        self.log.append((request, list(request.token_ids), generation))
        return generation


class FakeSandbox(Sandbox):
    """Answers with ``reply(code)``; with ``delay``, from another thread after so many seconds."""

    jail, workers = "fake", 1

    def __init__(self, reply: Callable[[str], ExecutionResult] | None = None, delay: float = 0.0) -> None:
        self._reply = reply or (lambda code: ExecutionResult(Status.OK, "42\n", None, 0.0))
        self._delay = delay
        self.ran: list[str] = []

    def submit(
        self, code: str, *, trajectory: str | None = None, within: float | None = None, block: bool = True
    ) -> Future[ExecutionResult]:
        self.ran.append(code)
        future: Future[ExecutionResult] = Future()
        if self._delay:
            threading.Timer(self._delay, self._answer, (future, code)).start()
        else:
            future.set_result(self._reply(code))
        return future

    def _answer(self, future: Future[ExecutionResult], code: str) -> None:
        if future.set_running_or_notify_cancel():
            future.set_result(self._reply(code))

    def stats(self) -> dict[str, float]:
        return {"executions": float(len(self.ran))}

    def close(self) -> None:
        pass


def printed(text: str) -> Callable[[str], ExecutionResult]:
    """A reply for :class:`FakeSandbox`: every program prints ``text``."""
    return lambda code: ExecutionResult(Status.OK, text, None, 0.0)


FORMATS: dict[str, Callable[[], Format]] = {
    "fence": FenceFormat,
    "fence_released": ReleasedFenceFormat,
    "code_interpreter": lambda: TagFormat(
        result=("<interpreter>", "</interpreter>"), names={"python": "code"}
    ),
    "python_result": TagFormat,
    "hermes": HermesFormat,
}


def a_format(name: str = "fence", tools: Sequence[Tool] = (), codec: TokenCodec = BPE) -> Format:
    """A format that knows Python, and ``tools``."""
    return FORMATS[name]().prepare([PythonTool(None), *tools], codec.tokenizer, "mini")


def rollout_scheduler(
    engine: Engine,
    sandbox: Sandbox | None,
    codec: TokenCodec,
    cfg: RolloutConfig,
    form: str = "fence",
    tools: Sequence[Tool] = (),
) -> RolloutScheduler:
    """A scheduler whose only tool is the sandbox, but for ``tools``."""
    box = None if sandbox is None else Toolbox([PythonTool(sandbox), *tools])
    return RolloutScheduler(engine, box, a_format(form, tools, codec), codec, cfg)


def environment(
    codec: TokenCodec = BPE,
    *,
    sandbox: Sandbox | None = None,
    grader: Any = None,
    rollout: RolloutConfig | None = None,
    reward: RewardConfig | None = None,
) -> Environment:
    """An environment of the mini policy whose only tool is the sandbox."""
    sandbox = sandbox or FakeSandbox()
    tools, limits = Toolbox([PythonTool(sandbox)]), rollout or RolloutConfig()
    return Environment(codec, "mini", sandbox, tools, a_format(), limits, grader, reward or RewardConfig())
