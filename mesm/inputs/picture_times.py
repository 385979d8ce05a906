"""Times of decoded pictures, mended where a container gives them out of order or not at all."""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Iterable, Iterator
from typing import TypeVar

Picture = TypeVar("Picture")

# Decoders give pictures in the order of showing; times of AVI files are out of order by a few.
LOOK_AHEAD = 4
# A time that falls back by more than this, in seconds, begins a new count.
LONGEST_DISORDER = 1.0


def mend_times(
    pictures: Iterable[tuple[float | None, Picture]], interval: float
) -> Iterator[tuple[float, Picture]]:
    """Give pictures rising times; pictures whose times rise already keep them.

    Decoders give pictures in the order in which they are shown. Times out of order among
    neighbours, as DivX's packed B-frames have them, are therefore dealt out in rising order. A
    picture without a time, or with that of the picture before, takes the next place. One time that
    leaps ahead is replaced by the place between its neighbours; where time starts anew, pictures
    after it go on counting from those before.

    Args:
        pictures: seconds or None, and the picture, as decoded.
        interval: seconds from picture to picture where nothing else tells.

    Yields:
        Seconds, each more than the one before, and the picture, in the order given.
    """
    waiting: deque[Picture] = deque()
    times: list[float] = []
    newest: float | None = None
    last: float | None = None
    offset = 0.0

    def pop() -> tuple[float, Picture]:
        nonlocal last
        time = heapq.heappop(times)
        if last is not None and time <= last:
            later = min((other for other in times if other > last), default=None)
            room = interval if later is None else min(interval, (later - last) / 2)
            time = last + room
        last = time
        return time, waiting.popleft()

    for time, picture in pictures:
        if time is None:
            time = 0.0 if newest is None else newest + interval
        else:
            time += offset
            if newest is not None and time < newest - LONGEST_DISORDER:
                before = [other for other in times if other < newest]
                if before and max(before) <= time:
                    times[times.index(newest)] = (max(before) + time) / 2
                    heapq.heapify(times)
                else:
                    offset += newest + interval - time
                    time = newest + interval
                newest = time
        newest = time if newest is None else max(newest, time)
        heapq.heappush(times, time)
        waiting.append(picture)
        if len(waiting) > LOOK_AHEAD:
            yield pop()
    while waiting:
        yield pop()
