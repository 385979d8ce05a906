from __future__ import annotations

import pytest
import torch

from mesm_ops.reference import Selection, TopPSelect, top_p_select
from mesm_ops.triton.kept_rows import kept_rows
from tests.mesm_ops.cases import make_case

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("weighted", [True, False])
@pytest.mark.parametrize(
    ("shape", "density"),
    [((5, 70, 7, 9), 0.6), ((0, 3, 4, 4), 1.0), ((3, 4, 3, 3), 0.0), ((3, 1, 5, 5), 0.05)],
)
def test_is_what_the_selection_returned(
    shape: tuple[int, int, int, int], density: float, weighted: bool, dtype: torch.dtype
) -> None:
    x = make_case(*shape, density, dtype, padding=5).x
    logits = torch.randn(x.features.shape[0])
    place = (x.features, x.sites, x.offsets)
    selection = Selection.WEIGHTED if weighted else Selection.HARD
    out, sites, _, rows, attention = top_p_select(
        TopPSelect(*place, logits, 0.6, selection, trim=False)
    )
    given = [t.to(DEVICE) for t in (*place, rows)]
    features, found = kept_rows(*given, attention.to(DEVICE) if weighted else None)
    assert torch.equal(found.cpu(), sites)
    rtol = 2**-23 if dtype == torch.float32 else 0  # one product and its rounding, made alike
    torch.testing.assert_close(features.cpu(), out, rtol=rtol, atol=0)
