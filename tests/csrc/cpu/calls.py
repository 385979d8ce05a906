"""Every op, forward and backward, on one set of inputs, for any implementation."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import mesm_ops._C  # registers the kernels
import torch
from torch import Tensor

import mesm_ops  # defines the schemas
from mesm_ops.ops.contract import Contract
from mesm_ops.reference import Selection

Call = Callable[..., Any]
PADDING = 3


def cpp(name: str, *args: Any) -> Any:
    """The kernel, which takes the properties of a selection."""
    given: list[Any] = []
    for arg in args:
        given += [arg.scales, arg.learns] if isinstance(arg, Selection) else [arg]
    return getattr(torch.ops.mesm_ops_cpp, name)(*given)


def reference(name: str, *args: Any) -> Any:
    """The plain torch formula, in float64 whatever the inputs are."""
    contract = Contract(getattr(mesm_ops.reference, name))
    return getattr(mesm_ops.reference, name)(contract.arguments(*map(_exact, args)))


def _exact(arg: Any) -> Any:
    return arg.double() if isinstance(arg, Tensor) and arg.is_floating_point() else arg


@dataclass(frozen=True)
class Shape:
    frames: int
    height: int
    width: int
    channels: int
    out_channels: int
    query_dim: int
    hidden: int


# Tails of every vector width; one frame, no frame; maps of one line; several groups and chunks;
# several panels, of an even depth.
SHAPES = [
    Shape(3, 7, 9, 3, 5, 7, 33),
    Shape(1, 2, 2, 1, 1, 1, 1),
    Shape(0, 4, 4, 4, 3, 2, 5),
    Shape(2, 2, 13, 16, 33, 5, 8),
    Shape(7, 12, 12, 33, 72, 20, 16),
    Shape(2, 6, 5, 66, 20, 34, 130),
]


def frames_of(shape: Shape, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Sites and offsets; frame 1 is empty, padding has sites outside the map."""
    mask = torch.rand(shape.frames, shape.height * shape.width, generator=generator) < 0.6
    mask[1:2] = False
    padding = torch.full((PADDING,), -(10**6))
    sites = torch.cat([mask.nonzero()[:, 1], padding])
    offsets = torch.cat([torch.zeros(1, dtype=torch.int64), mask.sum(1).cumsum(0)])
    return sites.int(), offsets.int()


def all_calls(call: Call, shape: Shape, dtype: torch.dtype, seed: int = 0) -> dict[str, Tensor]:
    """Run every op and its gradient; return all results by name."""
    generator = torch.Generator().manual_seed(seed)
    sites, offsets = frames_of(shape, generator)
    rows, real = sites.shape[0], int(offsets[-1])
    if call is reference:  # which need not expect senseless padding
        sites = torch.where(torch.arange(rows) < real, sites, 0)
    wide = torch.promote_types(dtype, torch.float32)

    def drawn(*size: int, to: torch.dtype = dtype, scale: float = 1.0) -> Tensor:
        return (torch.randn(*size, generator=generator, dtype=torch.float64) * scale).to(to)

    def by_row(*size: int, to: torch.dtype = dtype) -> Tensor:
        """Random values in the rows of x, NaN in padding."""
        values = drawn(rows, *size, to=to)
        values[real:] = torch.nan
        return values

    c, out_c, k = shape.channels, shape.out_channels, shape.hidden
    size = (shape.height, shape.width)
    x = by_row(c)
    results: dict[str, Tensor] = {}

    def keep(name: str, values: Any) -> Any:
        for i, value in enumerate(values if isinstance(values, tuple | list) else [values]):
            results[f"{name}[{i}]"] = value
        return values

    weight, bias, grad = drawn(out_c, c, 3, 3, scale=0.2), drawn(out_c), by_row(out_c)
    keep("subm_conv2d", call("subm_conv2d", x, sites, offsets, *size, weight, bias))
    keep("subm_conv2d, no bias", call("subm_conv2d", x, sites, offsets, *size, weight, None))
    args = (grad, x, sites, offsets, *size, weight, True, True, True)
    keep("subm_conv2d_backward", call("subm_conv2d_backward", *args))

    map_weight, map_bias = drawn(k, c, scale=0.3), drawn(k)
    query_weight, score_weight = drawn(k, shape.query_dim, scale=0.3), drawn(1, k)
    for lengths in (None, torch.tensor([0, shape.frames])):
        samples = shape.frames if lengths is None else 2
        query = drawn(samples, shape.query_dim)
        args = (x, offsets, query, lengths, map_weight, map_bias, query_weight, score_weight)
        logits = keep("cross_modal_score", call("cross_modal_score", *args, drawn(1)))
        backward = call("cross_modal_score_backward", by_row(to=wide), *args)
        keep("cross_modal_score_backward", backward)
        assert logits.shape == (rows,)

    given = by_row(to=wide)
    for p, selection, trim in itertools.product((0.3, 0.8, 1.0), Selection, (False, True)):
        out = call("top_p_select", x, sites, offsets, given, p, selection, trim)
        keep(f"top_p_select {p} {selection.name} {trim}", out)
        grad = drawn(out[3].shape[0], c)
        args = (grad, x, offsets, *out[2:], selection)
        name = f"top_p_select_backward {p} {selection.name} {trim}"
        keep(name, call("top_p_select_backward", *args))

    norm = (drawn(c, to=wide), drawn(c, to=wide))
    running = (drawn(c, to=wide), drawn(c, to=wide).abs() + 0.1)
    grad = by_row(c)
    for training, relu in itertools.product((True, False), (True, False)):
        args = (x, offsets, *norm, *running, training, 1e-5, relu)
        out = keep(f"sparse_batch_norm {training} {relu}", call("sparse_batch_norm", *args))
        args = (grad, x, offsets, *norm, *out[1:], training, 1e-5, relu)
        gradients = call("sparse_batch_norm_backward", *args)
        keep(f"sparse_batch_norm_backward {training} {relu}", gradients)

    for trim in (False, True):
        out = call("sparse_max_pool2d", x, sites, offsets, *size, trim)
        keep(f"sparse_max_pool2d {trim}", out)
        args = (drawn(*out[0].shape), out[3], rows)
        keep(f"sparse_max_pool2d_backward {trim}", call("sparse_max_pool2d_backward", *args))
    ties = x.round()
    keep("sparse_max_pool2d, ties", call("sparse_max_pool2d", ties, sites, offsets, *size, True))
    return results


# Shares of the largest entry: sums of up to 9 * 33 products, one rounding to bfloat16 (2^-9).
TOLERANCES = {torch.float64: 1e-13, torch.float32: 5e-6, torch.bfloat16: 2**-8}


def differences(shape: Shape, dtype: torch.dtype) -> Iterator[str]:
    """Say where the kernels are not the plain formulas in float64."""
    wanted = all_calls(reference, shape, dtype)
    got = all_calls(cpp, shape, dtype)
    for name, value in got.items():
        exact = wanted[name]
        if value.shape != exact.shape:
            yield f"{name}: shape {tuple(value.shape)}, not {tuple(exact.shape)}"
        elif not value.is_floating_point():
            if not torch.equal(value, exact):
                yield f"{name}: integers differ"
        elif value.numel():
            error = float((value.double() - exact).abs().max() / exact.abs().max().clamp(min=1))
            if not error <= TOLERANCES[dtype]:
                yield f"{name}: off by {error:.1e} of the largest"
