"""The gate: no latency is compared before the sparse result agreed with a dense masked one.

float32 has to agree to a fixed relative error (Frobenius norm). bfloat16 may in addition err
twice as much as PyTorch's own bfloat16 in the same computation, both measured against float32. The
same holds for float32 on a GPU, where torch's setting may be tf32.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from benchmarks.dense import attention_logits, masked_block, masked_conv2d, nucleus
from benchmarks.inputs import BlockCase
from benchmarks.kept import KeptSites

VALUE_TOLERANCE = 1e-4
# Where rounding turns a ReLU or the winner of a pool, a gradient moves by all of its size.
GRADIENT_TOLERANCE = 1e-2

# How near the cut a site must score to be excused, as a share of the logits' spread.
CUT_TOLERANCE = {torch.float32: 1e-3, torch.bfloat16: 5e-2}


class RedGate(AssertionError):
    """The sparse result is wrong, so its speed means nothing."""


def error_line(error: BaseException) -> str:
    """An error's kind and the first line of its message; some errors have none."""
    kind = "red gate" if isinstance(error, RedGate) else type(error).__name__
    said = str(error).splitlines()
    return f"{kind}: {said[0]}" if said else kind


def relative_error(value: Tensor, truth: Tensor) -> float:
    """‖value − truth‖ / ‖truth‖ in float64; NaN or infinity anywhere gives infinity."""
    value, truth = value.detach().double(), truth.detach().double()
    error = float((value - truth).norm() / truth.norm().clamp_min(1e-30))
    return error if error == error else float("inf")


def check_block(case: BlockCase, dtype: torch.dtype, train: bool) -> float:
    """Compare one block's kept sites, values and (when training) gradients; returns the error.

    Raises:
        RedGate: block and dense do not agree.
    """
    case.block.train(train)
    ours, kept = _run_sparse(case, dtype, train)
    _check_sites(case, kept, dtype)
    with full_float32():
        truth = _run_dense(case, kept, torch.float32, train)
    rounds = dtype != torch.float32 or case.maps.is_cuda
    low = _run_dense(case, kept, dtype, train) if rounds else None
    worst = 0.0
    for name, value in ours.items():
        error = relative_error(value, truth[name])
        allowed = VALUE_TOLERANCE if name == "value" else GRADIENT_TOLERANCE
        if low is not None:
            allowed += 2 * relative_error(low[name], truth[name])
        if error > allowed:
            raise RedGate(f"{name} is off by {error:.1e}, allowed {allowed:.1e}")
        worst = max(worst, error)
    return worst


def check_conv2d(ours: Tensor, maps: Tensor, mask: Tensor, weight: Tensor) -> float:
    """Compare a submanifold convolution's dense form with the masked dense one.

    Raises:
        RedGate: the two convolutions do not agree.
    """
    with full_float32():
        truth = masked_conv2d(maps.float(), mask, weight.float())
    error, allowed = relative_error(ours, truth), VALUE_TOLERANCE
    if maps.dtype != torch.float32 or maps.is_cuda:
        low = masked_conv2d(maps, mask, weight)
        allowed += 2 * relative_error(low, truth)
    if error > allowed:
        raise RedGate(f"value is off by {error:.1e}, allowed {allowed:.1e}")
    return error


def check_conv2d_gradients(
    ours: dict[str, Tensor], upstream: Tensor, maps: Tensor, mask: Tensor, weight: Tensor
) -> float:
    """Compare gradients of a submanifold convolution with those of the masked dense one.

    Args:
        ours: "input" (F, Cin, H, W), zero where the mask is, and "weight" (Cout, Cin, 3, 3).
        upstream: (F, Cout, H, W), the result's gradient.
        maps: (F, Cin, H, W).
        mask: (F, H, W) bool, the active sites.
        weight: (Cout, Cin, 3, 3).

    Raises:
        RedGate: the gradients do not agree.
    """
    with full_float32():
        truth = _conv2d_gradients(upstream.float(), maps.float(), mask, weight.float())
    low = None
    if maps.dtype != torch.float32 or maps.is_cuda:
        low = _conv2d_gradients(upstream, maps, mask, weight)
    worst = 0.0
    for name, value in ours.items():
        error, allowed = relative_error(value, truth[name]), GRADIENT_TOLERANCE
        if low is not None:
            allowed += 2 * relative_error(low[name], truth[name])
        if error > allowed:
            raise RedGate(f"the {name}'s gradient is off by {error:.1e}, allowed {allowed:.1e}")
        worst = max(worst, error)
    return worst


def _conv2d_gradients(
    upstream: Tensor, maps: Tensor, mask: Tensor, weight: Tensor
) -> dict[str, Tensor]:
    leaves = [t.detach().requires_grad_() for t in (maps, weight)]
    with torch.enable_grad():
        out = masked_conv2d(leaves[0], mask, leaves[1])
    return dict(zip(("input", "weight"), torch.autograd.grad(out, leaves, upstream), strict=True))


def autocast(dtype: torch.dtype, device: str = "cpu") -> torch.autocast:
    """Autocast to `dtype`; switched off for float32."""
    return torch.autocast(device, torch.bfloat16, enabled=dtype == torch.bfloat16)


@contextlib.contextmanager
def full_float32() -> Iterator[None]:
    """Let nothing on a GPU round float32 to tf32."""
    before = (torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32)
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    try:
        yield
    finally:
        torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = before


@torch.no_grad()
def _check_sites(case: BlockCase, kept: Tensor, dtype: torch.dtype) -> None:
    with full_float32():
        maps = case.maps.float()
        logits = attention_logits(case.block.attention, maps, case.query, case.lengths)
    expected = nucleus(logits, case.block.p)
    cut = logits.masked_fill(~expected, torch.inf).amin((1, 2), keepdim=True)
    near = (logits - cut).abs() <= CUT_TOLERANCE[dtype] * logits.flatten(1).std(dim=1).mean()
    wrong = int(((kept != expected) & ~near).sum())
    if wrong:
        raise RedGate(f"{wrong} sites are kept or dropped wrongly")


def _run_sparse(
    case: BlockCase, dtype: torch.dtype, train: bool
) -> tuple[dict[str, Tensor], Tensor]:
    """Values and gradients, and the sites kept in this run."""
    sites = KeptSites()

    def forward(maps: Tensor) -> Tensor:
        with sites, autocast(dtype, maps.device.type):
            out: Tensor = case.block(maps, case.query, case.lengths).to_dense()
        return out

    found = _values_and_gradients(case, forward, case.maps, train)
    return found, sites.only()


def _run_dense(case: BlockCase, kept: Tensor, dtype: torch.dtype, train: bool) -> dict[str, Tensor]:
    def forward(maps: Tensor) -> Tensor:
        with autocast(dtype, maps.device.type):
            return masked_block(case.block, maps, case.query, case.lengths, kept)

    maps = case.maps.float() if dtype == torch.float32 else case.maps
    return _values_and_gradients(case, forward, maps, train)


def _values_and_gradients(
    case: BlockCase, forward: Any, maps: Tensor, train: bool
) -> dict[str, Tensor]:
    if not train:
        with torch.no_grad():
            return {"value": forward(maps)}
    maps = maps.detach().requires_grad_()
    # The softmax does not see the score's bias: its gradient is rounding and nothing else.
    named = {n: p for n, p in case.block.named_parameters() if n != "attention.score.bias"}
    out = forward(maps)
    generator = torch.Generator().manual_seed(2)
    upstream = torch.randn(out.shape, generator=generator).to(out)
    gradients = torch.autograd.grad(out, [maps, *named.values()], upstream)
    return {"value": out, **dict(zip(["maps", *named], gradients, strict=True))}
