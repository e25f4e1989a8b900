"""The start-up probe: what a lane must show, and what one is told when it does not."""

from __future__ import annotations

import pytest

from src.sandbox import ExecutionResult, SandboxError, Status
from src.sandbox.lane import Lane, LaneFailure, Order
from src.sandbox.probe import prove

PROPER = {
    "print(6": ExecutionResult(Status.OK, "42\n", None, 0.0),
    "print(1)\n1/0": ExecutionResult(Status.ERROR, "1\n", "ZeroDivisionError: division by zero", 0.0),
    "while": ExecutionResult(Status.TIMEOUT, "", "timed out after 0.2 s", 0.2),
    "print(open": ExecutionResult(Status.ERROR, "", "FileNotFoundError", 0.0),
    "import socket": ExecutionResult(Status.ERROR, "", "PermissionError", 0.0),
}


class Probed(Lane):
    """Answers as it should, but for the programs that begin with ``odd``."""

    def __init__(self, odd: str = "nothing", answer: ExecutionResult | None = None) -> None:
        self._odd, self._answer = odd, answer
        self.orders: list[Order] = []

    def start(self) -> list[str]:
        return []

    def execute(self, order: Order) -> ExecutionResult:
        self.orders.append(order)
        if order.code.startswith(self._odd):
            if self._answer is None:
                raise LaneFailure("it died")
            return self._answer
        (proper,) = (result for begin, result in PROPER.items() if order.code.startswith(begin))
        return proper

    def interrupt(self) -> None:
        pass

    def close(self) -> None:
        pass


def test_a_proper_lane_passes() -> None:
    lane = Probed()
    prove(lane, "jail", files=True, sockets=True)
    assert len(lane.orders) == len(PROPER)
    assert all(order.history == () and order.trajectory is None for order in lane.orders)


def test_what_a_service_does_not_promise_is_not_asked() -> None:
    lane = Probed()
    prove(lane, "service", files=False, sockets=False)
    assert not [order for order in lane.orders if "open" in order.code or "socket" in order.code]


WRONG = {
    "a program that fails": ("print(6", ExecutionResult(Status.ERROR, "", "ImportError: numpy", 0.0)),
    "a wrong output": ("print(6", ExecutionResult(Status.OK, "41\n", None, 0.0)),
    "an error that passes": ("print(1)\n1/0", ExecutionResult(Status.OK, "1\n", None, 0.0)),
    "output that is lost": ("print(1)\n1/0", ExecutionResult(Status.ERROR, "", "ZeroDivisionError", 0.0)),
    "no time limit": ("while", ExecutionResult(Status.OK, "", None, 5.0)),
    "killed instead": ("while", ExecutionResult(Status.KILLED, "", "killed by signal 9", 0.2)),
    "a file that is read": ("print(open", ExecutionResult(Status.OK, "secret", None, 0.0)),
    "a socket": ("import socket", ExecutionResult(Status.OK, "open\n", None, 0.0)),
}


@pytest.mark.parametrize("kind", WRONG)
def test_anything_unexpected_stops_with_what_to_do(kind: str) -> None:
    odd, answer = WRONG[kind]
    with pytest.raises(SandboxError) as error:
        prove(Probed(odd, answer), "jail", files=True, sockets=True)
    message = str(error.value)
    assert message.startswith("jail: ")
    assert f"gave status {answer.status}" in message
    assert "sandbox=..." in message


def test_a_lane_that_dies_is_for_the_pool_to_replace() -> None:
    with pytest.raises(LaneFailure):
        prove(Probed("while"), "jail", files=True, sockets=True)
