"""A process's turns on the device: one process at a time times anything."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from multiprocessing.connection import Connection
from typing import Any

TUNING = "tuning"  # the turn in which a compiler times a kernel


class Turns:
    """The child's end of the pipe to the scheduler, which gives out turns.

    Sends pairs of a kind and a content: "wants", with what the turn is for, after which the
    scheduler answers when the turn begins; "over", when the turn has ended; and what `send` is
    given.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._lock = threading.Lock()  # autograd's threads tune kernels too
        self._held = False

    def send(self, kind: str, content: Any = None) -> None:
        """Tell the scheduler."""
        self._connection.send((kind, content))

    @contextlib.contextmanager
    def turn(self, what: str = TUNING) -> Iterator[None]:
        """Wait for a turn and hold it; within a turn another costs nothing."""
        with self._lock:
            outermost = not self._held
            if outermost:
                self.send("wants", what)
                self._connection.recv()
                self._held = True
        try:
            yield
        finally:
            if outermost:
                self._held = False
                self.send("over")
