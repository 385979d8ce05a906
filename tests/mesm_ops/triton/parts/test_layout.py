from __future__ import annotations

import pytest
import torch

from mesm_ops.triton.parts.layout import Layout, tiles_of


def test_tiles() -> None:
    assert [tiles_of(rows) for rows in (0, 1, 128, 129)] == [0, 1, 1, 2]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
def test_parts_are_aligned_and_do_not_overlap(dtype: torch.dtype) -> None:
    shapes = {"a": (3, 5), "empty": (0, 7), "b": (1,), "c": (2, 3, 4)}
    layout = Layout(dtype.itemsize, shapes)
    flat = torch.arange(layout.size, dtype=dtype)
    views = layout.views(flat)
    assert {name: tuple(view.shape) for name, view in views.items()} == shapes
    seen: set[float] = set()
    for view in views.values():
        assert view.is_contiguous()
        assert view.storage_offset() * dtype.itemsize % 16 == 0
        values = set(view.flatten().tolist())
        assert not seen & values
        seen |= values


@pytest.mark.parametrize("offset", [8, 5])
def test_a_saved_tensor_may_come_back_anywhere(offset: int) -> None:
    layout = Layout(2, {"a": (3, 5), "b": (7,)})
    values = torch.arange(layout.size, dtype=torch.bfloat16)
    room = torch.cat([torch.full((offset,), torch.nan, dtype=torch.bfloat16), values])
    for name, part in layout.views(room[offset:]).items():
        assert torch.equal(part, layout.views(values)[name])
        assert part.data_ptr() % 16 == 0
