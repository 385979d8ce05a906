from __future__ import annotations

import pytest
import torch

from mesm_ops.triton.product import product

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


@pytest.mark.parametrize("sizes", [(1, 1, 1), (17, 70, 33), (40, 130, 5), (3, 0, 4), (0, 8, 4)])
@pytest.mark.parametrize("with_bias", [True, False])
@pytest.mark.parametrize(
    ("of_a", "of_b", "of_out"),
    [
        (torch.float32, torch.float32, torch.float32),
        (torch.bfloat16, torch.float32, torch.float32),
        (torch.bfloat16, torch.bfloat16, torch.bfloat16),
    ],
)
def test_equals_a_product_in_double(
    sizes: tuple[int, int, int],
    with_bias: bool,
    of_a: torch.dtype,
    of_b: torch.dtype,
    of_out: torch.dtype,
) -> None:
    m, depth, n = sizes
    a, b = torch.randn(depth, m).to(of_a).t(), torch.randn(depth, n).to(of_b)  # a is turned
    bias = torch.randn(n) if with_bias else None
    on_device = [t.to(DEVICE) for t in (a, b)]
    got = product(*on_device, None if bias is None else bias.to(DEVICE), of_out).cpu()
    wanted = a.double() @ b.double() + (0 if bias is None else bias.double())
    assert got.dtype == of_out
    # Sums of up to 130 products in float32, and a rounding to the result's dtype.
    rtol = 2**-8 if of_out == torch.bfloat16 else 1e-5
    torch.testing.assert_close(got.double(), wanted, rtol=rtol, atol=2e-5)
