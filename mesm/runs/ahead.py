"""Work in a thread of its own, some results ahead of whoever takes them."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Generator, Iterator
from functools import partial
from typing import Generic, TypeVar

T = TypeVar("T")

# Seconds that a step under way is waited for when the generator is closed.
PATIENCE = 10.0


def ahead(
    values: Iterator[T], most: int, weigh: Callable[[T], float] = lambda value: 1.0
) -> Generator[T, None, None]:
    """Give an iterator's values, made in a thread of its own; for work that holds no lock.

    The thread is at most so many values ahead. It ends with the iterator, and when the generator
    that is returned is closed, by an exception or because nobody refers to it any longer; the
    iterator is closed there, too. A step that takes longer than `PATIENCE` then is left to end, or
    to hang, by itself.

    Args:
        values: begun, ended and closed in that thread.
        most: how much the values that wait weigh at most, or one alone; at least 1.
        weigh: gives a value's weight.

    Yields:
        The values, in their order.

    Raises:
        BaseException: what the iterator raised, after the values before.
    """
    work = _Work(values, most, weigh)
    # A thread of a stopped process that hangs in a decoder keeps nothing from ending.
    thread = threading.Thread(target=work.run, name="mesm-ahead", daemon=True)
    thread.start()
    try:
        yield from work.results()
    finally:
        work.stop()
        thread.join(PATIENCE)


class _Work(Generic[T]):
    def __init__(self, values: Iterator[T], most: int, weigh: Callable[[T], float]) -> None:
        self.values, self.most, self.weigh = values, most, weigh
        self.made: deque[T] = deque()
        self.weight = 0.0
        self.changed = threading.Condition()
        self.ended, self.stopped = False, False
        self.failure: BaseException | None = None

    def run(self) -> None:
        try:
            for value in self.values:
                weight = self.weigh(value)
                with self.changed:
                    self.changed.wait_for(partial(self._has_room, weight))
                    if self.stopped:
                        return
                    self.made.append(value)
                    self.weight += weight
                    self.changed.notify_all()
        except BaseException as error:  # raised again where the values are taken
            self.failure = error
        finally:
            close = getattr(self.values, "close", None)
            try:
                if close is not None:
                    close()
            except BaseException as error:
                self.failure = self.failure or error
            with self.changed:
                self.ended = True
                self.changed.notify_all()

    def _has_room(self, weight: float) -> bool:
        return self.stopped or not self.made or self.weight + weight <= self.most

    def results(self) -> Iterator[T]:
        while True:
            with self.changed:
                self.changed.wait_for(lambda: self.made or self.ended)
                if not self.made:
                    break
                value = self.made.popleft()
                self.weight -= self.weigh(value)
                self.changed.notify_all()
            yield value
        if self.failure is not None:
            raise self.failure

    def stop(self) -> None:
        with self.changed:
            self.stopped = True
            self.made.clear()
            self.changed.notify_all()
