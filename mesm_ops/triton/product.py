# mypy: allow-untyped-defs
"""Small products of matrices of any dtypes, summed in float32."""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from ._tuning import precision

__all__ = ["product"]


def product(a: Tensor, b: Tensor, bias: Tensor | None, dtype: torch.dtype) -> Tensor:
    """Return a @ b + bias for a few rows: one launch, nothing cast in memory.

    Args:
        a: (M, K), any strides.
        b: (K, N), any strides.
        bias: (N,) or None.
        dtype: Of the result; two dtypes are multiplied as float32.

    Returns:
        (M, N).
    """
    (m, depth), n = a.shape, b.shape[1]
    out = a.new_empty(m, n, dtype=dtype)
    if out.numel():
        block = (16, 32, 64)
        grid = (triton.cdiv(m, block[0]), triton.cdiv(n, block[1]))
        _product_kernel[grid](
            *(a, b, a if bias is None else bias, out, m, n, depth, *a.stride(), *b.stride()),
            *(bias is not None, a.dtype != b.dtype, precision(a.dtype), *block),
        )
    return out


@triton.jit(do_not_specialize=["m", "n", "depth"])
def _product_kernel(
    a,
    b,
    bias,
    out,
    m,
    n,
    depth,
    a_row,
    a_depth,
    b_depth,
    b_column,
    HAS_BIAS: tl.constexpr,
    WIDEN: tl.constexpr,
    PRECISION: tl.constexpr,
    BLOCK_M: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_D: tl.constexpr,
):
    row = tl.program_id(0) * BLOCK_M + tl.arange(0, BLOCK_M)
    column = tl.program_id(1) * BLOCK_N + tl.arange(0, BLOCK_N)
    total = tl.zeros((BLOCK_M, BLOCK_N), tl.float32)
    for start in range(0, depth, BLOCK_D):
        d = start + tl.arange(0, BLOCK_D)
        x = tl.load(
            a + row[:, None] * a_row + d[None, :] * a_depth,
            mask=(row < m)[:, None] & (d < depth)[None, :],
            other=0.0,
        )
        y = tl.load(
            b + d[:, None] * b_depth + column[None, :] * b_column,
            mask=(d < depth)[:, None] & (column < n)[None, :],
            other=0.0,
        )
        if WIDEN:
            x, y = x.to(tl.float32), y.to(tl.float32)
        total = tl.dot(x, y, total, input_precision=PRECISION)
    if HAS_BIAS:
        total += tl.load(bias + column, mask=column < n, other=0.0).to(tl.float32)[None, :]
    tl.store(
        out + row[:, None] * n + column[None, :],
        total.to(out.dtype.element_ty),
        mask=(row < m)[:, None] & (column < n)[None, :],
    )
