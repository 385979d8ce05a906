"""An access outside of a tensor is seen under the interpreter, and a masked one is none."""

from __future__ import annotations

import pytest
import torch

from mesm_ops.triton.parts.launch import launch

triton = pytest.importorskip("triton")
import triton.language as tl  # noqa: E402
from triton.runtime.errors import InterpreterError  # noqa: E402

if torch.cuda.is_available():
    pytest.skip("the interpreter is for machines without a GPU", allow_module_level=True)


@triton.jit
def _shift(x, out, shift_x, shift_out, number, BLOCK: tl.constexpr):
    at = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    there = at < number
    value = tl.load(x + at + shift_x, mask=there, other=0.0)
    tl.store(out + at + shift_out, value, mask=there)


@triton.jit
def _first(x, out):
    tl.store(out, tl.load(x + 1) + 1.0)


@triton.jit
def _add(x, out, at):
    tl.atomic_add(out + at, tl.load(x))


@triton.jit
def _swap(out, at):
    tl.atomic_cas(out + at, 0, 1)


@triton.jit
def _number(x, out, distance):
    address = (x.to(tl.int64) + distance).to(tl.pointer_type(tl.float32))
    tl.store(out, tl.load(address))


@triton.jit
def _block(x, out, rows, at, CHECKED: tl.constexpr):
    from_x = tl.make_block_ptr(x, (rows, 4), (4, 1), (at, 0), (4, 4), (1, 0))
    to = tl.make_block_ptr(out, (4, 4), (4, 1), (0, 0), (4, 4), (1, 0))
    if CHECKED:
        tl.store(to, tl.load(from_x, boundary_check=(0,)))
    else:
        tl.store(to, tl.load(from_x))


def shifted(x: torch.Tensor, out: torch.Tensor, by_x: int, by_out: int, number: int) -> None:
    launch(_shift, (2,), x, out, by_x, by_out, number, BLOCK=8)


def test_masked_lanes_may_lie_outside() -> None:
    x, out = torch.arange(11.0), torch.zeros(11)
    shifted(x, out, 0, 0, 11)
    assert torch.equal(x, out)
    shifted(x[:0], out[:0], 99, -99, 0)


@pytest.mark.parametrize(
    ("by_x", "by_out", "message"),
    [
        (1, 0, r"_shift: load at x\[11\], which has 11 elements; 1 such .* \(1, 0, 0\)"),
        (-2, 0, r"_shift: load at x\[-2\], which has 11 elements; 2 such .* \(0, 0, 0\)"),
        (0, 3, r"_shift: store at out\[11\], which has 11 elements; 3 such"),
        (0, -1, r"_shift: store at out\[-1\]"),
    ],
)
def test_an_access_outside_is_named(by_x: int, by_out: int, message: str) -> None:
    # Both lie in one storage, as parts of a block's memory do: the neighbour's is outside too.
    memory = torch.zeros(40)
    with pytest.raises(InterpreterError, match=message):
        shifted(memory[5:16], memory[20:31], by_x, by_out, 11)


def test_single_addresses_and_atomics_are_checked() -> None:
    x, out = torch.ones(2), torch.zeros(2, dtype=torch.float32)
    launch(_first, (1,), x, out)
    launch(_add, (1,), x, out, 1)
    assert out.tolist() == [2.0, 1.0]
    with pytest.raises(InterpreterError, match=r"_first: load at x\[1\], which has 1 elements"):
        launch(_first, (1,), x[:1], out)
    with pytest.raises(InterpreterError, match=r"_add: atomic at out\[2\]"):
        launch(_add, (1,), x, out, 2)
    with pytest.raises(InterpreterError, match=r"_swap: atomic at out\[-1\]"):
        launch(_swap, (1,), torch.zeros(2, dtype=torch.int32), -1)


def test_an_address_that_was_a_number_lies_in_some_tensor() -> None:
    memory = torch.arange(64.0)
    x, out = memory[:4], memory[32:36]
    launch(_number, (1,), x, out, 12)
    assert out[0] == 3
    launch(_number, (1,), x, out, 4 * 33)  # in out
    with pytest.raises(InterpreterError, match=r"_number: load at x\[7\], which has 4"):
        launch(_number, (1,), x, out, 28)


def test_block_pointers_are_checked() -> None:
    x, out = torch.arange(20.0).view(5, 4), torch.zeros(4, 4)
    launch(_block, (1,), x, out, 5, 3, CHECKED=True)
    assert torch.equal(out[:2], x[3:])
    assert not out[2:].any()
    with pytest.raises(InterpreterError, match=r"_block: load at x\[20\], which has 20"):
        launch(_block, (1,), x, out, 5, 3, CHECKED=False)


def test_gaps_between_rows_and_what_lies_behind_are_told_apart() -> None:
    """A view reaches from its first element to its last one, as memory has them."""
    memory = torch.zeros(4, 8)
    view = memory[:2, :3]
    launch(_first, (1,), view, memory)
    with pytest.raises(InterpreterError, match=r"load at x\[11\], which has 11 elements"):
        shifted(view, memory, 0, 0, 12)
