from __future__ import annotations

import torch
import triton
import triton.language as tl

from mesm_ops.triton.parts.tanh import one_less_tanh

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


@triton.jit
def _kernel(x, bias, out, SIZE: tl.constexpr):
    at = tl.arange(0, SIZE)
    tl.store(out + at, one_less_tanh(tl.load(x + at), tl.load(bias + at)))


def test_tanh_and_its_slope() -> None:
    x = torch.cat([torch.linspace(-100, 100, 200), torch.linspace(-1, 1, 51)])
    x = torch.cat([x, torch.tensor([-torch.inf, torch.inf, 1e30, -1e30, torch.nan])]).to(DEVICE)
    bias = torch.linspace(-1, 1, 256, device=DEVICE)
    out = torch.empty_like(x)
    _kernel[(1,)](x, bias, out, 256)
    exact = (x.double() + bias).tanh()
    # An exponential and a division of float32 each, and the exponent's own rounding: a few units in
    # the last place of values to 2.
    tolerance = {"rtol": 0, "atol": 1e-6, "equal_nan": True}
    torch.testing.assert_close(1 - out.double(), exact, **tolerance)
    torch.testing.assert_close((out * (2 - out)).double(), 1 - exact**2, **tolerance)
    saturated = x.abs() > 60
    assert not (out * (2 - out))[saturated].any()
