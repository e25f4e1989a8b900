"""When sampling stops for a tool call: the choices of ``rollout.boundary``.

``exact`` (the default) stops sampling as soon as a call is complete. ``post_hoc``, as in the paper's
released code, samples to the end of text or the token limit, then cuts at the first complete call and
discards the rest.
``stop_string``, as in ToRL (arXiv 2503.23383), samples until the policy itself opens a result, then runs the
last complete call before it; the text in between is kept.

Two are inexact, to measure what exact boundaries are good for. ``late`` samples as ``post_hoc`` does and
keeps everything but the end-of-text token: feedback follows what the policy wrote past its call, such as a
result of its own. ``early`` drops the token that completes the call: feedback begins before the fence is
complete.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Protocol

from src.formats.base import Format, ResultScanner, Scanner
from src.policy.codec import TokenCodec
from src.rollout.boundary import Boundary, find_boundary
from src.rollout.engines import StopCondition


class BoundaryRule(Protocol):
    """Decides where a policy segment ends and its tool call runs."""

    def scanner(self) -> Scanner:
        """Return a scanner for a new segment."""

    def stop_condition(self, scanner: Scanner) -> StopCondition | None:
        """Return the stop condition from the state of ``scanner`` on; None: only end of text stops."""

    def find(self, scanner: Scanner, token_ids: Sequence[int]) -> Boundary | None:
        """Feed sampled tokens to ``scanner``; return the boundary, or None."""


def build_boundary_rule(boundary: str, form: Format, codec: TokenCodec) -> BoundaryRule:
    """Return the rule that ``rollout.boundary`` names.

    Raises:
        ValueError: ``stop_string`` with a format whose results the policy cannot open.
    """
    kinds: dict[str, type[ExactRule | StopStringRule]] = {
        "exact": ExactRule,
        "post_hoc": PostHocRule,
        "late": LateRule,
        "early": EarlyRule,
        "stop_string": StopStringRule,
    }
    return kinds[boundary](form, codec)


class ExactRule:
    """Stops right after the end of a tool call."""

    def __init__(self, form: Format, codec: TokenCodec) -> None:
        self._format, self._codec = form, codec
        self._stop_ids = frozenset(_may_close(form, codec))

    def scanner(self) -> Scanner:
        """See BoundaryRule."""
        return self._format.scanner()

    def stop_condition(self, scanner: Scanner) -> StopCondition | None:
        """See BoundaryRule."""
        return _ScannerCondition(scanner, self._codec, stop_ids=self._stop_ids)

    def find(self, scanner: Scanner, token_ids: Sequence[int]) -> Boundary | None:
        """See BoundaryRule."""
        return find_boundary(scanner, token_ids, self._codec)


class PostHocRule(ExactRule):
    """Cuts where ExactRule does, but only after sampling to the end."""

    def stop_condition(self, scanner: Scanner) -> StopCondition | None:
        """See BoundaryRule."""
        return None


class LateRule(PostHocRule):
    """Inexact: keeps what the policy has sampled past its call."""

    def find(self, scanner: Scanner, token_ids: Sequence[int]) -> Boundary | None:
        """See BoundaryRule."""
        found = super().find(scanner, token_ids)
        if found is None:
            return None
        kept = len(token_ids) - (token_ids[-1] in self._codec.eos_ids)
        return _moved(found, token_ids[:kept], self._codec)


class EarlyRule(ExactRule):
    """Inexact: drops the token that completes the call."""

    def find(self, scanner: Scanner, token_ids: Sequence[int]) -> Boundary | None:
        """See BoundaryRule."""
        found = super().find(scanner, token_ids)
        if found is None:
            return None
        return _moved(found, token_ids[: found.kept - (not found.injected)], self._codec)


class StopStringRule:
    """Stops once the policy has opened a result after a complete tool call."""

    def __init__(self, form: Format, codec: TokenCodec) -> None:
        if form.result_opening is None:
            raise ValueError(
                "rollout.boundary=stop_string: with this format results begin with control tokens, which the "
                "policy cannot write; choose rollout.boundary=exact"
            )
        self._format, self._codec, self._opening = form, codec, form.result_opening

    def scanner(self) -> Scanner:
        """See BoundaryRule."""
        return ResultScanner(
            self._format.scanner(), self._opening.encode(), at_line_start=self._format.result_opens_a_line
        )

    def stop_condition(self, scanner: Scanner) -> StopCondition | None:
        """See BoundaryRule."""
        return _ScannerCondition(scanner, self._codec, stop_strings=(self._opening,))

    def find(self, scanner: Scanner, token_ids: Sequence[int]) -> Boundary | None:
        """See BoundaryRule."""
        found = find_boundary(scanner, token_ids, self._codec)
        return None if found is None else replace(found, opened=True)


class _ScannerCondition:
    """Adapts a scanner to the stop condition of one request."""

    def __init__(
        self,
        scanner: Scanner,
        codec: TokenCodec,
        *,
        stop_ids: frozenset[int] = frozenset(),
        stop_strings: tuple[str, ...] = (),
    ) -> None:
        self._scanner, self._codec = scanner.copy(), codec
        self.stop_ids, self.stop_strings = stop_ids, stop_strings

    def __call__(self, token_id: int) -> bool:
        """See StopCondition."""
        return self._scanner.feed(self._codec.bytes_of(token_id)) is not None


def _moved(found: Boundary, kept: Sequence[int], codec: TokenCodec) -> Boundary:
    """Return a boundary at the end of ``kept`` instead, with the same call."""
    ended = codec.text(kept).endswith("\n")
    return replace(found, kept=len(kept), injected=b"", after_newline=ended)


def _may_close(form: Format, codec: TokenCodec) -> Iterable[int]:
    """Yield every token that can contain the last byte of a call."""
    return (token_id for token_id in range(len(codec)) if form.may_close(codec.bytes_of(token_id)))
