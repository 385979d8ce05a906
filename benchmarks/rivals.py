"""Rivals: other implementations for the same maps; float32, forward only.

- "dense": PyTorch's layers on whole maps, channels-last.
- "dense, compiled": the same through `torch.compile`, frozen, which is inductor at its best for
  inference: weights are packed beforehand and batch norms folded into them.
- "spconv, 1 thread": sparse layers on the sites that the sparse block keeps, if the package is
  installed. spconv has no attention, so its block is given the selected and weighted sites and has
  less to do. With more threads the CPU build of spconv 2.3.8 gives wrong sums: its threads share
  the row pointers of `scatter_add_cpu`. So in these rows the sparse block has one thread too.
"""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch._inductor import config as inductor

from benchmarks.inputs import BlockCase, ConvolutionCase
from benchmarks.measure import Run, count_flops

DENSE, COMPILED, SPCONV = "dense", "dense, compiled", "spconv, 1 thread"


@dataclass
class Rival:
    """One rival, ready to run on a case's maps."""

    run: Run  # the timed call
    value: Callable[[], Tensor]  # the result as whole maps: (F, Cout, H, W)
    flops: int


def spconv_missing() -> str | None:
    """Say how to get the rows of spconv where it is not installed."""
    if importlib.util.find_spec("spconv") is not None:
        return None
    return "No rows of spconv, it is not installed: pip install -c constraints.txt spconv"


def installed() -> tuple[str, ...]:
    """The names of the installed rivals."""
    return (DENSE, COMPILED) if spconv_missing() else (DENSE, COMPILED, SPCONV)


@contextmanager
def threads_for(name: str) -> Iterator[None]:
    """Set as many threads as the rival can use without wrong results."""
    before = torch.get_num_threads()
    torch.set_num_threads(1 if name == SPCONV else before)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def convolution(name: str, case: ConvolutionCase) -> Rival:
    """A 3x3 convolution with the case's weight: at all sites, or for spconv at the case's sites."""
    out_channels, in_channels = case.weight.shape[:2]
    if name == SPCONV:
        layer = _subm_conv2d(case.weight)
        return _sparse(layer, case.maps.permute(0, 2, 3, 1)[case.mask], case.mask)
    dense = nn.Conv2d(in_channels, out_channels, 3, padding=1, bias=False)
    dense.weight = nn.Parameter(case.weight)
    dense.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return _dense(dense, case.maps, compiled=name == COMPILED)


def block(name: str, case: BlockCase) -> Rival:
    """Two (convolution, batch norm, ReLU) and a pool, with the case's weights."""
    if name != SPCONV:
        return _dense(case.rival, case.maps, compiled=name == COMPILED)
    case.block.eval()
    with torch.no_grad():
        kept = case.block.attend(case.maps, case.query, case.lengths)
    spconv = _spconv()
    layers = []
    for conv, norm in ((case.block.conv1, case.block.norm1), (case.block.conv2, case.block.norm2)):
        norm1d = nn.BatchNorm1d(norm.num_features, eps=norm.eps)
        norm1d.load_state_dict(norm.state_dict())
        layers += [_subm_conv2d(conv.weight), norm1d, nn.ReLU(inplace=True)]
    net = spconv.SparseSequential(*layers, spconv.SparseMaxPool2d(2, 2))
    return _sparse(net, kept.features, kept.mask())


def _dense(module: nn.Module, maps: Tensor, compiled: bool) -> Rival:
    module.eval()
    forward: Callable[[Tensor], Tensor] = module
    with torch.no_grad():
        flops = count_flops(lambda: module(maps))
        if compiled:
            # No silent fallback: no graph breaks, and no shape left dynamic for the next case.
            forward = torch.compile(module, fullgraph=True, dynamic=False)
            with inductor.patch(freezing=True):
                forward(maps)

    @torch.no_grad()
    def run() -> Tensor:
        return forward(maps)

    return Rival(run, run, flops)


def _spconv() -> Any:
    return importlib.import_module("spconv.pytorch")


def _subm_conv2d(weight: Tensor) -> nn.Module:
    out_channels, in_channels = weight.shape[:2]
    # Layers with one key build the list of neighbours once.
    layer = _spconv().SubMConv2d(in_channels, out_channels, 3, bias=False, indice_key="sites")
    with torch.no_grad():
        layer.weight.copy_(weight.permute(0, 2, 3, 1))
    return layer


def _sparse(net: nn.Module, features: Tensor, mask: Tensor) -> Rival:
    spconv = _spconv()
    net.eval()
    frames, *size = mask.shape
    # nonzero() lays its columns one after another; spconv reads the memory as rows regardless.
    sites = mask.nonzero().int().contiguous()

    @torch.no_grad()
    def run() -> Any:
        return net(spconv.SparseConvTensor(features, sites, size, frames))

    def value() -> Tensor:
        out = run()
        # spconv's own dense() indexes with a list, which newer torch reads as one tensor.
        frame, y, x = out.indices.long().unbind(1)
        maps = features.new_zeros(frames, *out.spatial_shape, out.features.shape[1])
        maps[frame, y, x] = out.features
        return maps.permute(0, 3, 1, 2)

    return Rival(run, value, count_flops(run))
