"""nucleus.cuh on the host, in one thread and in several, against the reference and the oracle."""

from __future__ import annotations

import ctypes
import math
from collections.abc import Callable
from fractions import Fraction
from itertools import accumulate

import pytest
import torch
from torch import Tensor

from mesm_ops import reference
from tests import oracle

SHARES = [1e-300, 0.05, 0.3, 0.5, 0.7, 0.9, 0.999, 1 - 2**-53, 1.0]


@pytest.fixture(scope="module")
def library(load_for_host: Callable[..., ctypes.CDLL]) -> ctypes.CDLL:
    return load_for_host("nucleus")


def run(library: ctypes.CDLL, scores: Tensor, p: float, threads: int) -> tuple[Tensor, list[int]]:
    """Return the attention and which sites are kept."""
    count = len(scores)
    attention = torch.full((count,), -2.0)
    kept = torch.full((count,), -2, dtype=torch.int32)
    pointers = [ctypes.c_void_p(t.data_ptr()) for t in (scores, attention, kept)]
    number = library.run_nucleus(
        pointers[0], count, ctypes.c_double(p), threads, pointers[1], pointers[2]
    )
    assert number >= 0, "the block's threads disagree on how many are kept"
    assert (kept[number:] == -2).all()
    return attention, kept[:number].tolist()


def check(library: ctypes.CDLL, scores: Tensor, p: float, threads: int) -> None:
    attention, kept = run(library, scores, p, threads)
    wanted = [i for i, keep in enumerate(oracle.nucleus(attention.tolist(), p)) if keep]
    assert kept == wanted
    # Its float32 softmax is off by a few roundings, which near 1 outweigh a site of the tail.
    if p == 1 or p <= 0.9:
        count = len(scores)
        offsets = torch.tensor([0, count], dtype=torch.int32)
        sites = torch.arange(count, dtype=torch.int32)
        maps, hard = (torch.zeros(count, 1), sites, offsets), reference.Selection.HARD
        out = reference.top_p_select(reference.TopPSelect(*maps, scores, p, hard, trim=True))
        assert kept == out.sites.tolist()
    # Rounded once, of a softmax in double; the reference's float32 differs by a few roundings.
    exact = scores.double().softmax(0)
    torch.testing.assert_close(
        attention.double(), exact, rtol=2**-23, atol=1e-45, equal_nan=True, check_dtype=False
    )


def draw(kind: str, count: int) -> Tensor:
    if kind == "random":
        return torch.randn(count) * 3
    if kind == "near uniform":
        return torch.randn(count) * 1e-3
    if kind == "tied":
        return torch.randint(-2, 3, (count,)) * 0.75
    if kind == "uniform":
        return torch.full((count,), 0.3)
    if kind == "extreme":
        values = torch.tensor([1e30, -1e30, -torch.inf, 0.0, -0.0, 3.4e38, 1e-45, 5.0])
        return values[torch.randint(len(values), (count,))]
    if kind == "far apart":
        return -torch.rand(count) * 200
    assert kind == "one above all"
    scores = torch.randn(count)
    scores[count // 2] = 40.0
    return scores


KINDS = ["random", "near uniform", "tied", "uniform", "extreme", "far apart", "one above all"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("count", [1, 2, 3, 31, 32, 33, 144, 577, 2304])
def test_equals_the_reference(library: ctypes.CDLL, kind: str, count: int) -> None:
    for _ in range(3):
        scores = draw(kind, count)
        for p in SHARES:
            check(library, scores, p, threads=1)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("lanes", "warps"), [(1, 2), (1, 7), (1, 32), (4, 1), (4, 3), (32, 1)])
def test_equals_the_reference_in_several_threads(
    load_for_host: Callable[..., ctypes.CDLL], kind: str, lanes: int, warps: int
) -> None:
    library = load_for_host("nucleus", lanes)
    for count in (1, 5, 33, 100):
        check(library, draw(kind, count), 0.6, lanes * warps)


@pytest.mark.parametrize("spread", [1e-2, 1e-4, 1e-6])
@pytest.mark.parametrize(("lanes", "warps"), [(1, 1), (4, 2)])
def test_so_many_in_one_bin_that_it_is_parted_again(
    load_for_host: Callable[..., ctypes.CDLL], spread: float, lanes: int, warps: int
) -> None:
    library = load_for_host("nucleus", lanes)
    for count in (65, 66, 700):
        far = torch.tensor([-60.0, -90.0])
        scores = torch.cat([far, torch.randn(count) * spread])[torch.randperm(count + 2)]
        for p in SHARES:
            attention, kept = run(library, scores, p, lanes * warps)
            wanted = oracle.nucleus(attention.tolist(), p)
            assert kept == [i for i, keep in enumerate(wanted) if keep]


# All weights but the first lie in one bin, and the middle bits of their masses carry; at -25 the
# weights are so small that the low bits do.
@pytest.mark.parametrize(("rest", "dropped"), [(-2.0, 5), (-25.0, 30)])
def test_more_masses_than_a_word_holds_the_sum_of(
    library: ctypes.CDLL, rest: float, dropped: int
) -> None:
    scores = torch.cat([torch.zeros(1), rest + torch.rand(300_000) * 1e-3])
    weights = run(library, scores, 1.0, threads=1)[0].tolist()
    # Without a carry the mass would not reach. Sums in double are not exact enough to say so.
    p = math.fsum(weights) - dropped * min(weights)
    assert p < 1
    kept = run(library, scores, p, threads=1)[1]
    masses = accumulate(int(math.ldexp(weight, 80)) for weight in sorted(weights, reverse=True))
    assert len(kept) == 1 + sum(mass < int(math.ldexp(p, 80)) for mass in masses)


@pytest.mark.parametrize("bad", [torch.nan, -torch.nan, torch.inf])
@pytest.mark.parametrize("threads", [1, 4])
def test_nan_keeps_all(library: ctypes.CDLL, bad: float, threads: int) -> None:
    scores = torch.randn(50)
    scores[17] = bad
    attention, kept = run(library, scores, 0.2, threads)
    assert attention.isnan().all()
    assert kept == list(range(50))


def test_no_score_but_minus_infinity_keeps_all(library: ctypes.CDLL) -> None:
    attention, kept = run(library, torch.full((9,), -torch.inf), 0.2, 1)
    assert attention.isnan().all()
    assert kept == list(range(9))


@pytest.mark.parametrize("threads", [1, 3])
def test_an_empty_frame_keeps_nothing(library: ctypes.CDLL, threads: int) -> None:
    assert run(library, torch.zeros(0), 0.5, threads)[1] == []


@pytest.mark.parametrize("count", [8, 64, 1024])
def test_the_mass_decides_to_the_last_bit(library: ctypes.CDLL, count: int) -> None:
    """Equal weights of a power of two: their sums are exact, p lies on one, or beside it."""
    scores = torch.zeros(count)
    for kept in (1, 2, count // 2, count - 1):
        p = kept / count
        assert len(run(library, scores, p, 1)[1]) == kept
        assert len(run(library, scores, p * (1 + 2**-52), 1)[1]) == kept + 1
        assert len(run(library, scores, p * (1 - 2**-53), 1)[1]) == kept


def test_the_bits_do_not_depend_on_the_run(library: ctypes.CDLL) -> None:
    scores = torch.randn(300)
    first, kept = run(library, scores, 0.5, 8)
    for _ in range(5):
        again, same = run(library, scores, 0.5, 8)
        assert torch.equal(first, again)
        assert kept == same


@pytest.mark.parametrize("p", [5e-324, 1e-30, 2**-62, 0.1, 1 / 3, 0.5, 1 - 2**-53])
def test_the_mass_to_reach_is_p_rounded_up(library: ctypes.CDLL, p: float) -> None:
    library.run_mass_to_reach.restype = ctypes.c_uint64
    got = library.run_mass_to_reach(ctypes.c_double(p))
    assert 0 <= got - Fraction(p) * 2**62 < 1
