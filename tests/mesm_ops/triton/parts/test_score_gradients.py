"""Both ways through the rows, against float64 autograd of the equations."""

from __future__ import annotations

import pytest
import torch

from mesm_ops.triton.parts.schedule import TILE, Schedule
from tests.mesm_ops.cases import assert_close
from tests.mesm_ops.triton.parts.selections import Selection, draw_selection

SHAPES = {
    "nothing is a power of two": ((4, 17, 5, 7), 0.5, [1, 0, 3], 5, 7),
    "a sample for each frame": ((3, 3, 2, 3), 0.4, None, 2, 3),
    "all sites, one sample": ((5, 64, 6, 5), 1.0, [5], 64, 20),
    "more than one block of channels and of k": ((2, 270, 4, 4), 0.7, [1, 1], 70, 70),
    "no block of k begins with an aligned weight": ((3, 33, 4, 5), 0.6, [2, 1], 65, 9),
}


def plan_of(case: Selection, one_pass: bool, tiles: int) -> Schedule:
    """A plan of so many tiles for a chunk."""
    number, samples = len(case.features), len(case.parameters[0])
    chunk = tiles * TILE
    return Schedule(one_pass, chunk, min(number, -(-number // chunk) + samples), samples)


def check(case: Selection, how: str, plan: Schedule) -> None:
    dtype = case.features.dtype
    found, wanted = case.run(how, plan=plan), case.gradients(how, torch.float64)
    for name in ("logits", "features"):
        padding = found[name][case.real :]
        if name == "features":
            assert not padding.any(), "padding rows must be zero"
        found[name] = found[name][: case.real]
    if dtype == torch.float32:
        for name, gradient in wanted.items():
            assert_close(found[name], gradient, f"grad of {name}")
        return
    theirs = case.gradients(how, dtype)
    for name, gradient in wanted.items():
        error, allowed = ((g.double() - gradient).norm() for g in (found[name], theirs[name]))
        # Twice what torch's own ops err, and a rounding of what is as good as zero.
        assert error <= 2 * allowed + 1e-6 * len(case.frame), f"grad of {name}"


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("how", ["weighted", "straight_through"])
@pytest.mark.parametrize("shape", SHAPES)
def test_in_two_passes(shape: str, how: str, dtype: torch.dtype) -> None:
    case = draw_selection(*SHAPES[shape], dtype)
    check(case, how, plan_of(case, False, 1))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("how", ["weighted", "straight_through"])
@pytest.mark.parametrize(
    ("shape", "tiles"),
    [
        (((4, 64, 7, 9), 0.9, [1, 0, 3], 64, 20), 2),  # chunks of whole tiles and of parts
        (((3, 128, 5, 5), 0.5, None, 64, 9), 3),  # no chunk fills a tile
        (((2, 64, 12, 12), 1.0, [2], 128, 20), 1),  # a chunk is a tile
        (((4, 17, 5, 7), 0.5, [1, 0, 3], 5, 7), 2),  # nothing is a power of two
    ],
)
def test_in_one_pass(
    shape: tuple[tuple[int, int, int, int], float, list[int] | None, int, int],
    tiles: int,
    how: str,
    dtype: torch.dtype,
) -> None:
    case = draw_selection(*shape, dtype)
    check(case, how, plan_of(case, True, tiles))


@pytest.mark.parametrize("one_pass", [True, False])
def test_gradients_are_in_the_dtype_of_what_they_are_of(one_pass: bool) -> None:
    shape = ((3, 16, 4, 5), 0.8, [2, 1], 16, 6)
    case = draw_selection(*shape, torch.bfloat16, parameters=torch.float32)
    found = case.run("weighted", plan=plan_of(case, one_pass, 1))
    for name, gradient in found.items():
        assert gradient.dtype == (torch.bfloat16 if name == "features" else torch.float32)
        if name not in ("features", "logits"):
            # As autograd would: the gradient of the parameter's cast to bfloat16, cast back.
            assert torch.equal(gradient, gradient.bfloat16().float()), name


@pytest.mark.parametrize("one_pass", [True, False])
@pytest.mark.parametrize("density", [0.0, 1.0])
def test_one_site_or_none(density: float, one_pass: bool) -> None:
    case = draw_selection((1, 2, 1, 1), density, None, 4, 3, torch.bfloat16, padding=2)
    check(case, "weighted", plan_of(case, one_pass, 1))


@pytest.mark.parametrize("one_pass", [True, False])
@pytest.mark.parametrize("lengths", [None, [0, 0]])
def test_without_frames(lengths: list[int] | None, one_pass: bool) -> None:
    case = draw_selection((0, 3, 2, 2), 1.0, lengths, 2, 3, torch.bfloat16, padding=4)
    found = case.run("weighted", plan=plan_of(case, one_pass, 1))
    del found["logits"]
    assert not any(gradient.any() for gradient in found.values())


@pytest.mark.parametrize("one_pass", [True, False])
def test_two_runs_agree_bit_for_bit(one_pass: bool) -> None:
    case = draw_selection((4, 64, 7, 9), 0.8, [1, 3], 64, 9, torch.bfloat16)
    plan = plan_of(case, one_pass, 1)
    one, other = (case.run("weighted", plan=plan) for _ in range(2))
    real = {"logits": case.real}
    for name, gradient in one.items():
        n = real.get(name)
        assert torch.equal(gradient[:n], other[name][:n]), name
