"""How kernels multiply and choose their tiles. Precision: see test_subm_conv2d.py."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from mesm_ops.triton import _tuning

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


@pytest.fixture
def float32_products() -> Iterator[None]:
    """Restore afterwards how torch multiplies float32."""
    before = torch.backends.cuda.matmul.fp32_precision
    yield
    torch.backends.cuda.matmul.fp32_precision = before


@pytest.mark.parametrize(
    ("rows", "magnitude"), [(0, 0), (1, 0), (2, 1), (7, 1), (8, 2), (31, 2), (32, 3), (10**6, 10)]
)
def test_magnitude_grows_with_each_fourfold(rows: int, magnitude: int) -> None:
    assert _tuning.magnitude_of(rows) == magnitude
    assert _tuning.magnitude_of(4 * rows) == magnitude + (rows > 0)


@pytest.mark.parametrize("interpreted", [True, False])
def test_capability(interpreted: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_tuning, "triton_interprets", lambda: interpreted)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (12, device.index))
    assert _tuning.capability_of(torch.device("cuda", 1)) == (9 if interpreted else 12)


@pytest.mark.parametrize(("allowed", "inside"), [("tf32", True), ("ieee", False)])
def test_a_prologue_is_left_to_the_kernel_where_it_has_room(
    allowed: str, inside: bool, float32_products: None
) -> None:
    torch.backends.cuda.matmul.fp32_precision = allowed
    features = torch.tensor([[1.0, -2.0], [torch.nan, 3.0]], device=DEVICE)
    scale, shift = torch.tensor([2.0, 1.0], device=DEVICE), torch.tensor([1.0, -5], device=DEVICE)
    out, left = _tuning.prologue_first(features, scale, shift)
    if inside:
        assert out is features
        assert left is scale
    else:
        assert left is None
        assert out.tolist() == [[3, 0], [pytest.approx(torch.nan, nan_ok=True), 0]]
    half, left = _tuning.prologue_first(features.half(), scale, shift)
    assert half.isnan().any()
    assert left is scale
    assert _tuning.prologue_first(features, None, None)[1] is None
