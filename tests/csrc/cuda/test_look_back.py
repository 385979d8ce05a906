"""look_back.cuh on the host: blocks side by side, and one that finds any mixture of words."""

from __future__ import annotations

import ctypes
import random
from collections.abc import Callable
from itertools import accumulate

import pytest

LARGE = 2**31 - 1


@pytest.fixture(params=[1, 4, 32])
def library(
    load_for_host: Callable[..., ctypes.CDLL], request: pytest.FixtureRequest
) -> ctypes.CDLL:
    loaded = load_for_host("look_back", request.param)
    for name in ("run_one", "own_word", "inclusive_word"):
        getattr(loaded, name).restype = ctypes.c_uint64
    return loaded


@pytest.mark.parametrize("side_by_side", [1, 2, 5])
@pytest.mark.parametrize("parts", [0, 1, 2, 40])
def test_every_block_finds_its_sum(library: ctypes.CDLL, side_by_side: int, parts: int) -> None:
    draw = random.Random(parts)
    own = [draw.choice([0, 1, draw.randrange(1000), LARGE]) for _ in range(parts)]
    sums = (ctypes.c_uint64 * parts)()
    words = (ctypes.c_uint64 * (1 + parts))()
    given = (ctypes.c_uint64 * parts)(*own)
    library.run_look_back(given, ctypes.c_int64(parts), words, side_by_side, sums)
    ends = list(accumulate(own))
    assert list(sums) == [0, *ends][:parts]
    assert list(words) == [parts, *(library.inclusive_word(ctypes.c_uint64(s)) for s in ends)]


def test_any_mixture_of_words(library: ctypes.CDLL) -> None:
    """Each part before has posted its own sum or the sum up to it; part 0 always the latter."""
    draw = random.Random(0)
    for parts in (1, 2, 3, 5, 31, 32, 33, 34, 65, 100):
        for share in (0.0, 0.05, 0.5, 1.0):
            own = [draw.randrange(LARGE) for _ in range(parts)]
            ends = list(accumulate(own))
            words = [parts]
            for i in range(parts):
                inclusive = i == 0 or draw.random() < share
                word = library.inclusive_word if inclusive else library.own_word
                words.append(word(ctypes.c_uint64(ends[i] if inclusive else own[i])))
            shared = (ctypes.c_uint64 * (parts + 2))(*words, library.own_word(ctypes.c_uint64(7)))
            found = library.run_one(shared, ctypes.c_int64(parts), ctypes.c_uint64(7))
            assert found == ends[-1]
            assert list(shared)[: parts + 1] == words
            assert shared[parts + 1] == library.inclusive_word(ctypes.c_uint64(ends[-1] + 7))
