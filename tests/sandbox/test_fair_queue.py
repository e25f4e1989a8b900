"""The pool's queue: nothing lost, nothing twice, turns, room, deadlines, cancellation."""

from __future__ import annotations

import collections
import gc
import threading
import time
import weakref
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import hypothesis
import hypothesis.strategies as st
import pytest

from src.sandbox.api import ExecutionResult, QueueFull, Status
from src.sandbox.fair_queue import FairQueue, ProgramTask
from tests.sandbox.helpers import eventually

NEVER = 1e9
RESULT = ExecutionResult(Status.OK, "", None, 0.0)


def task(code: str = "", trajectory: str | None = None, seconds: float = NEVER) -> ProgramTask:
    return ProgramTask(code, trajectory, time.monotonic() + seconds)


def queue_of(*tasks: ProgramTask, size: int = 100, exclusive: bool = False) -> FairQueue:
    queue = FairQueue(size, exclusive)
    for item in tasks:
        assert queue.put(item, block=False)
    return queue


def taken(queue: FairQueue) -> str:
    found = queue.take()
    assert found is not None
    queue.done(found)
    return found.code


def later(act: Callable[[], Any]) -> Future[Any]:
    """``act`` in a thread of its own, which may hang without holding up the end of the tests."""
    future: Future[Any] = Future()
    threading.Thread(target=lambda: future.set_result(act()), daemon=True).start()
    return future


def test_tasks_of_nobody_in_particular_come_in_order() -> None:
    queue = queue_of(*(task(str(i)) for i in range(5)))
    assert [taken(queue) for _ in range(5)] == list("01234")


@pytest.mark.parametrize("exclusive", [False, True])
def test_trajectories_take_turns(exclusive: bool) -> None:
    queue = queue_of(
        *(task(f"a{i}", "a") for i in range(3)),
        task("b0", "b"),
        task("n"),
        task("b1", "b"),
        exclusive=exclusive,
    )
    assert [taken(queue) for _ in range(6)] == ["a0", "b0", "n", "a1", "b1", "a2"]


def test_a_newcomer_waits_for_one_round_at_most() -> None:
    queue = queue_of(*(task("many", "a") for _ in range(50)), *(task("many", "b") for _ in range(50)))
    taken(queue)
    queue.put(task("new", "c"), block=False)
    assert "new" in [taken(queue) for _ in range(3)]


def test_an_exclusive_trajectory_has_one_task_out_at_a_time() -> None:
    queue = queue_of(task("a0", "a"), task("a1", "a"), task("b0", "b"), exclusive=True)
    first, second = queue.take(), queue.take()
    assert first is not None
    assert second is not None
    assert (first.code, second.code) == ("a0", "b0")
    waiting = later(queue.take)
    time.sleep(0.05)
    assert not waiting.done()
    queue.done(first)
    assert waiting.result(timeout=5).code == "a1"


def test_a_task_that_arrives_while_its_trajectory_is_busy_waits() -> None:
    queue = queue_of(task("a0", "a"), exclusive=True)
    first = queue.take()
    assert first is not None
    queue.put(task("a1", "a"), block=False)
    queue.put(task("b0", "b"), block=False)
    assert taken(queue) == "b0"
    queue.done(first)
    assert taken(queue) == "a1"


def test_a_taken_task_cannot_be_cancelled() -> None:
    queue = queue_of(task("a"))
    found = queue.take()
    assert found is not None
    assert not found.future.cancel()


@pytest.mark.parametrize("exclusive", [False, True])
def test_a_cancelled_task_is_passed_over_and_makes_room(exclusive: bool) -> None:
    tasks = [task(name, "a") for name in ("a0", "a1", "a2")]
    queue = queue_of(*tasks, size=3, exclusive=exclusive)
    tasks[0].future.cancel()
    tasks[1].future.cancel()
    assert len(queue) == 1
    queue.put(task("b0", "b"), block=False)
    assert [taken(queue), taken(queue)] == ["a2", "b0"]


def test_a_cancelled_trajectory_leaves_nothing_behind() -> None:
    """Thousands of trajectories come and go; what they leave would add up."""
    queue = queue_of(task("kept", "z"))
    for index in range(100):
        gone = task("gone", f"t{index}")
        queue.put(gone, block=False)
        gone.future.cancel()
    assert (len(queue), taken(queue)) == (1, "kept")
    waiting = later(queue.take)  # it looks at what is left
    queue.put(task("last", "z"), block=False)
    assert waiting.result(timeout=5).code == "last"
    assert not queue._waiting
    assert not any(queue._turns.values())


def test_putting_into_a_full_queue_is_refused_or_waits() -> None:
    queue = queue_of(task("a"), task("b"), size=2)
    with pytest.raises(QueueFull):
        queue.put(task("c"), block=False)
    waiting = later(lambda: queue.put(task("d"), block=True))
    time.sleep(0.05)
    assert not waiting.done()
    assert taken(queue) == "a"
    assert waiting.result(timeout=5) is True
    assert [taken(queue), taken(queue)] == ["b", "d"]


@pytest.mark.parametrize("way", ["take", "cancel", "expire", "close"])
def test_whoever_waits_for_room_gets_it(way: str) -> None:
    old = task("old", seconds=0.1 if way == "expire" else NEVER)
    queue = queue_of(old, size=1)
    waiting = later(lambda: queue.put(task("new"), block=True))
    time.sleep(0.15)
    assert not waiting.done()
    {"take": queue.take, "cancel": old.future.cancel, "expire": queue.expire, "close": queue.close}[way]()
    assert waiting.result(timeout=5) is (way != "close")


def test_late_tasks_are_taken_out_once_and_no_others() -> None:
    late, cancelled, fine = task("late", "a", -1), task("cancelled", "a", -1), task("fine", "a")
    queue = queue_of(late, cancelled, fine)
    cancelled.future.cancel()
    assert [item.code for item in queue.expire()] == ["late"]
    assert late.future.running()
    assert (queue.expire(), len(queue), taken(queue)) == ([], 1, "fine")


def test_a_deadline_is_noticed_after_an_earlier_one_has_passed() -> None:
    queue = queue_of(task("first", seconds=-1), task("second", seconds=0.1), task("third", seconds=0.2))
    assert [item.code for item in queue.expire()] == ["first"]
    assert eventually(lambda: [item.code for item in queue.expire()] == ["second"], seconds=2)
    assert eventually(lambda: [item.code for item in queue.expire()] == ["third"], seconds=2)


def test_closing_hands_back_what_waits_and_takes_no_more() -> None:
    queue = queue_of(task("a0", "a"), task("a1", "a"), task("gone"))
    queue.put(cancelled := task("cancelled"), block=False)
    cancelled.future.cancel()
    assert taken(queue) == "a0"
    left = queue.close()
    assert sorted(item.code for item in left) == ["a1", "gone"]
    assert all(item.future.running() for item in left)
    assert (queue.put(task("new"), block=False), queue.take(), queue.close(), len(queue)) == (
        False,
        None,
        [],
        0,
    )


def test_closing_wakes_every_taker() -> None:
    queue = queue_of()
    takers = [later(queue.take) for _ in range(4)]
    time.sleep(0.05)
    queue.close()
    assert [taker.result(timeout=5) for taker in takers] == [None] * 4


def test_finishing_an_exclusive_task_after_closing_is_harmless() -> None:
    queue = queue_of(task("a0", "a"), task("a1", "a"), exclusive=True)
    first = queue.take()
    assert first is not None
    queue.close()
    queue.done(first)
    assert queue.take() is None


ACTIONS = st.lists(
    st.one_of(
        st.tuples(st.just("put"), st.sampled_from(["a", "b", "c", None]), st.booleans()),  # late already?
        st.tuples(st.just("take"), st.none(), st.none()),
        st.tuples(st.just("done"), st.integers(0, 3), st.none()),
        st.tuples(st.just("cancel"), st.integers(0, 30), st.none()),
        st.tuples(st.just("expire"), st.none(), st.none()),
    ),
    max_size=60,
)


@hypothesis.given(actions=ACTIONS, exclusive=st.booleans(), size=st.integers(1, 6))
def test_every_task_comes_out_exactly_once(
    actions: list[tuple[str, Any, Any]], exclusive: bool, size: int
) -> None:
    """Against a model: the length, the order within a trajectory, and who may be out, always hold."""
    queue = FairQueue(size, exclusive)
    every: list[ProgramTask] = []
    waiting: list[ProgramTask] = []  # the model
    running: list[ProgramTask] = []

    def ready() -> list[ProgramTask]:
        busy = {item.key for item in running} if exclusive else set()
        return [item for item in waiting if item.key not in busy]

    for act, argument, late in actions:
        if act == "put":
            new = task(str(len(every)), argument, -1 if late else NEVER)
            if len(waiting) == size:
                with pytest.raises(QueueFull):
                    queue.put(new, block=False)
            else:
                assert queue.put(new, block=False)
                every.append(new)
                waiting.append(new)
        elif act == "take" and ready():
            found = queue.take()
            assert found in ready()
            assert found is not None
            assert found is next(item for item in waiting if item.key == found.key)
            waiting.remove(found)
            running.append(found)
        elif act == "done" and argument < len(running):
            queue.done(running.pop(argument))
        elif act == "cancel" and argument < len(every):
            if every[argument].future.cancel() and every[argument] in waiting:
                waiting.remove(every[argument])
        elif act == "expire":
            out = queue.expire()
            assert set(map(id, out)) == {id(item) for item in waiting if item.deadline < time.monotonic()}
            waiting = [item for item in waiting if item not in out]
        assert len(queue) == len(waiting)
    assert set(map(id, queue.close())) == set(map(id, waiting))


@hypothesis.given(counts=st.lists(st.integers(1, 20), min_size=1, max_size=6))
def test_no_trajectory_gets_two_turns_before_another_that_waits_gets_one(counts: list[int]) -> None:
    queue = queue_of(
        *(task(str(who), str(who)) for who, count in enumerate(counts) for _ in range(count)), size=200
    )
    left, turns = dict(enumerate(counts)), collections.Counter[int]()
    while left:
        who = int(taken(queue))
        turns[who] += 1
        left[who] -= 1
        assert all(turns[who] <= turns[other] + 1 for other in left)
        if not left[who]:
            del left[who]


@pytest.mark.parametrize("exclusive", [False, True])
def test_under_threads_every_task_is_settled_exactly_once(exclusive: bool) -> None:
    """Putting, taking, cancelling and expiring at once, through a queue that is often full."""
    queue, settled, out = FairQueue(20, exclusive), collections.Counter[str](), collections.Counter[Any]()
    lock, overlaps = threading.Lock(), []

    def settle(item: ProgramTask) -> None:
        with lock:
            settled[item.code] += 1
        item.future.set_result(RESULT)

    def serve() -> None:
        while (item := queue.take()) is not None:
            with lock:
                out[item.key] += 1
                if out[item.key] > 1:
                    overlaps.append(item.key)
            time.sleep(0)
            with lock:
                out[item.key] -= 1
            queue.done(item)
            settle(item)

    def submit(who: int) -> list[ProgramTask]:
        tasks = [task(f"{who}-{i}", f"t{i % 5}", 0.02 if i % 7 == 0 else NEVER) for i in range(300)]
        for index, item in enumerate(tasks):
            assert queue.put(item, block=True)
            if index % 5 == 0:
                item.future.cancel()
        return tasks

    servers = [threading.Thread(target=serve) for _ in range(3)]
    for thread in servers:
        thread.start()
    with ThreadPoolExecutor(4) as executor:
        submitting = [executor.submit(submit, who) for who in range(4)]
        while not all(future.done() for future in submitting):
            for item in queue.expire():
                settle(item)
            time.sleep(0.002)
        tasks = [item for future in submitting for item in future.result()]
    assert eventually(lambda: len(queue) == 0 and all(item.future.done() for item in tasks))
    queue.close()
    for thread in servers:
        thread.join(timeout=5)
        assert not thread.is_alive()
    assert len(tasks) == 1200
    assert set(settled.values()) == {1}
    assert set(settled) == {item.code for item in tasks if not item.future.cancelled()}
    assert not exclusive or not overlaps


@pytest.mark.parametrize("exclusive", [False, True])
def test_a_task_that_is_put_back_comes_first_of_its_trajectory(exclusive: bool) -> None:
    queue = FairQueue(3, exclusive)
    first, second, other = task("first", "a"), task("second", "a"), task("other", "b")
    for one in (first, second, other):
        queue.put(one, block=False)
    assert queue.take() is first
    queue.put(task("fourth", "c"), block=False)  # full again
    assert queue.put_back(first)
    assert len(queue) == 4
    order = []
    while len(queue):
        taken = queue.take()
        assert taken is not None
        assert taken.future.running()
        order.append(taken.code)
        queue.done(taken)
    assert sorted(order) == ["first", "fourth", "other", "second"]
    assert order.index("first") < order.index("second")
    assert not any(queue._turns.values())


def test_a_task_that_is_put_back_still_has_its_deadline() -> None:
    queue = FairQueue(3, exclusive=False)
    late = task("late", "a", seconds=0.01)
    queue.put(late, block=False)
    assert queue.take() is late
    assert queue.put_back(late)
    time.sleep(0.02)
    assert queue.expire() == [late]
    assert queue.close() == []
    assert not queue.put_back(late)


def test_a_task_is_gone_with_its_last_reference() -> None:
    """Not only when the garbage collector comes by: a run makes millions, each with its program's text."""
    queue = FairQueue(3, exclusive=False)
    gc.disable()
    try:
        for ending in ("result", "cancel"):
            one = task("x" * 1000, "a")
            gone = weakref.ref(one)
            queue.put(one, block=False)
            if ending == "cancel":
                one.future.cancel()
                queue.put(task("after", "a"), block=False)
                assert queue.take() is not one
            else:
                taken = queue.take()
                assert taken is one
                taken.future.set_result(ExecutionResult(Status.OK, "", None, 0.0))
                del taken
            del one
            assert gone() is None, ending
    finally:
        gc.enable()
