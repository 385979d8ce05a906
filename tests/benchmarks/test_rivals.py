"""The rivals compute what they are compared for; one that is missing is left out, with a word."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator

import pytest
import torch

from benchmarks import rivals
from benchmarks.dense import masked_block
from benchmarks.gate import RedGate, check_conv2d, relative_error
from benchmarks.inputs import block_case, convolution_case
from benchmarks.rivals import COMPILED, DENSE, SPCONV
from benchmarks.shapes import Shape

SHAPE = Shape(8, 16, 8, 6)


@pytest.mark.parametrize("name", rivals.installed())
def test_convolution(name: str) -> None:
    case = convolution_case(SHAPE, 0.5, torch.float32, frames=4)
    rival = rivals.convolution(name, case)
    mask = case.mask if name == SPCONV else torch.ones_like(case.mask)
    assert check_conv2d(rival.value(), case.maps, mask, case.weight) < 1e-5
    assert rival.flops > 0
    assert (rival.flops == 2 * 4 * SHAPE.sites * 9 * 8 * 16) == (name != SPCONV)


@pytest.mark.parametrize("name", rivals.installed())
@torch.no_grad()
def test_block_with_norms_that_do_something(name: str) -> None:
    case = block_case(SHAPE, 0.5, torch.float32, frames=4)
    case.block.eval()
    case.rival.eval()
    for ours, dense in ((case.block.norm1, case.rival[1]), (case.block.norm2, case.rival[4])):
        ours.running_mean.uniform_(-1, 1)
        ours.running_var.uniform_(0.5, 2)
        dense.load_state_dict(ours.state_dict())
    if name == SPCONV:
        kept = case.block.attend(case.maps, case.query, case.lengths).mask()
        truth = masked_block(case.block, case.maps, case.query, case.lengths, kept)
    else:
        truth = case.rival(case.maps)
    assert relative_error(rivals.block(name, case).value(), truth) < 1e-5


def test_without_spconv(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert rivals.installed() == (DENSE, COMPILED)
    assert "pip install -c constraints.txt spconv" in str(rivals.spconv_missing())


def test_with_spconv(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: object())
    assert rivals.installed() == (DENSE, COMPILED, SPCONV)
    assert rivals.spconv_missing() is None


@pytest.fixture
def two_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("two_threads")
def test_only_spconv_is_held_to_one_thread() -> None:
    with rivals.threads_for(COMPILED):
        assert torch.get_num_threads() == 2
    with rivals.threads_for(SPCONV):
        assert torch.get_num_threads() == 1
    assert torch.get_num_threads() == 2


@pytest.mark.usefixtures("two_threads")
def test_a_red_gate_gives_the_threads_back() -> None:
    with pytest.raises(RedGate), rivals.threads_for(SPCONV):
        raise RedGate
    assert torch.get_num_threads() == 2
