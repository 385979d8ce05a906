"""Results do not depend on the number of threads, bit for bit."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from tests.csrc.cpu import calls


@pytest.fixture(autouse=True)
def own_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


# Many small frames, and one frame larger than any chunk.
@pytest.mark.parametrize(
    "shape", [calls.Shape(40, 6, 6, 20, 72, 9, 40), calls.Shape(1, 40, 40, 17, 40, 9, 33)]
)
@pytest.mark.parametrize("dtype", list(calls.TOLERANCES))
def test_any_number_of_threads_gives_the_same_bits(shape: calls.Shape, dtype: torch.dtype) -> None:
    results = []
    for threads in (1, 2, 3):
        torch.set_num_threads(threads)
        results.append(calls.all_calls(calls.cpp, shape, dtype))
    for name, alone in results[0].items():
        for together in results[1:]:
            assert torch.equal(alone, together[name]), name
