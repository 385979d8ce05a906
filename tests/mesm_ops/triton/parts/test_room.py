"""Things that are used at one time lie apart; others may lie in the same place."""

from __future__ import annotations

import itertools
import random

from mesm_ops.triton.parts.room import Use, share_room


def test_uses_at_other_times_share_memory() -> None:
    begins, size = share_room([Use(100, 0, 1), Use(700, 2, 3), Use(40, 1, 1), Use(8, 3, 3)])
    assert begins == [0, 0, 512, 1024]
    assert size == 1032
    assert share_room([]) == ([], 0)


def test_no_two_uses_meet() -> None:
    draw = random.Random(0)
    for _ in range(200):
        uses = []
        for _ in range(draw.randrange(1, 12)):
            first = draw.randrange(10)
            uses.append(Use(draw.randrange(1, 3000), first, draw.randrange(first, 10)))
        begins, size = share_room(uses)
        spans = [(begin, begin + use.size) for begin, use in zip(begins, uses, strict=True)]
        assert max(end for _, end in spans) == size
        assert all(begin % 512 == 0 for begin in begins)
        for one, other in itertools.combinations(range(len(uses)), 2):
            together = uses[one].first <= uses[other].last and uses[other].first <= uses[one].last
            if together:
                assert spans[one][1] <= spans[other][0] or spans[other][1] <= spans[one][0]
        every = sum(use.size + -use.size % 512 for use in uses)
        assert size <= every
