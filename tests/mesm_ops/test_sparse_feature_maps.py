from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from torch import Tensor
from torch.utils import _pytree as pytree

from mesm_ops import SparseFeatureMaps
from tests.mesm_ops.cases import Case, cases, make_case, rows_of

DTYPES = [torch.float32, torch.bfloat16, torch.float16, torch.float64]


@given(case=cases(DTYPES))
@settings(max_examples=60)
def test_dense_and_back(case: Case) -> None:
    dense = torch.where(case.mask[:, None], case.maps, 0).to(case.x.dtype)
    assert torch.equal(case.x.to_dense(), dense)  # its padding is NaN
    assert torch.equal(case.x.mask(), case.mask)

    x = SparseFeatureMaps.from_dense(case.maps.to(case.x.dtype), case.mask)
    assert torch.equal(x.features, case.x.features[: case.rows])
    assert torch.equal(x.sites, case.x.sites[: case.rows])
    assert torch.equal(x.offsets, case.x.offsets)
    SparseFeatureMaps(x.features, x.sites, x.offsets, x.height, x.width)  # holds what it promises


def test_without_a_mask_all_sites_are_active() -> None:
    maps = torch.randn(3, 2, 4, 5)
    x = SparseFeatureMaps.from_dense(maps)
    assert x.features.shape == (60, 2)
    assert x.offsets.tolist() == [0, 20, 40, 60]
    assert torch.equal(x.sites, torch.arange(20, dtype=torch.int32).repeat(3))
    assert torch.equal(x.to_dense(), maps)
    assert x.mask().all()
    assert (x.frames, x.channels, x.height, x.width) == (3, 2, 4, 5)


def test_channels_last_maps_are_not_copied() -> None:
    maps = torch.randn(3, 8, 4, 5).contiguous(memory_format=torch.channels_last)
    x = SparseFeatureMaps.from_dense(maps)
    assert x.features.data_ptr() == maps.data_ptr()
    assert x.to_dense().is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("masked", [True, False])
def test_gradients_flow_both_ways(masked: bool) -> None:
    case = make_case(2, 3, 3, 4, padding=2)
    maps = case.maps.requires_grad_()
    mask = case.mask if masked else None

    def rows(maps: Tensor) -> Tensor:
        return SparseFeatureMaps.from_dense(maps, mask).features

    def dense(features: Tensor) -> Tensor:
        return case.x.with_features(features).to_dense()

    assert torch.autograd.gradcheck(rows, (maps,))
    assert torch.autograd.gradcheck(dense, (case.x.features.nan_to_num(0).requires_grad_(),))


def test_compiled_compaction_has_static_size() -> None:
    case = make_case(3, 2, 4, 5, 0.4, torch.float32)

    def rows(maps: Tensor, mask: Tensor) -> SparseFeatureMaps:
        return SparseFeatureMaps.from_dense(maps, mask)

    x = torch.compile(rows, fullgraph=True, backend="aot_eager")(case.maps.float(), case.mask)
    assert x.features.shape == (60, 2)
    assert torch.equal(x.features[: case.rows], case.x.features)
    assert torch.equal(x.sites[: case.rows], case.x.sites)
    assert not x.features[case.rows :].any()
    assert not x.sites[case.rows :].any()
    assert torch.equal(x.to_dense(), case.x.to_dense())
    assert torch.equal(x.mask(), case.mask)


def test_frames_of_rows() -> None:
    case = make_case(4, 1, 3, 3, 0.3, padding=3)
    frame = case.mask.nonzero()[:, 0]
    assert case.x.frame_of_row().tolist() == [*frame.tolist(), 4, 4, 4]


def test_is_frozen_and_says_what_it_is() -> None:
    x = make_case(2, 3, 4, 5, dtype=torch.bfloat16).x
    with pytest.raises(AttributeError):
        x.height = 3  # type: ignore[misc]
    rows = x.features.shape[0]
    assert repr(x) == (
        f"SparseFeatureMaps(frames=2, sites={rows} of 40, density {rows / 40:.2f}, channels=3, "
        "height=4, width=5, dtype=torch.bfloat16, device=cpu)"
    )


def test_is_a_pytree() -> None:
    x = make_case(2, 3, 4, 5, dtype=torch.float32).x
    shapes = pytree.tree_map(lambda t: tuple(t.shape), x)
    assert shapes.features == tuple(x.features.shape)
    leaves, spec = pytree.tree_flatten({"a": x})
    assert [id(leaf) for leaf in leaves] == [id(part) for part in (x.features, x.sites, x.offsets)]
    again = pytree.tree_unflatten(leaves, pytree.treespec_loads(pytree.treespec_dumps(spec)))["a"]
    assert (again.height, again.width) == (4, 5)
    assert torch.equal(rows_of(again.to_dense(), again.mask()), x.features)


def int32(*values: int) -> Tensor:
    return torch.tensor(values, dtype=torch.int32)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"features": torch.zeros(3)}, "features must be (N, C), got (3,)"),
        (
            {"features": torch.zeros(3, 2, dtype=torch.int64)},
            "features must be one of torch.float32, torch.bfloat16, torch.float16, torch.float64, "
            "got torch.int64",
        ),
        ({"sites": int32(0, 1)}, "sites must be (3,) for 3 rows of features, got (2,)"),
        ({"sites": torch.tensor([0, 1, 0])}, "sites must be torch.int32, got torch.int64"),
        ({"offsets": torch.tensor([0, 2, 3])}, "offsets must be torch.int32, got torch.int64"),
        ({"offsets": int32(0).reshape(1, 1)}, "offsets must be (F + 1,), got (1, 1)"),
        ({"offsets": int32()}, "offsets must be (F + 1,), got (0,)"),
        ({"sites": int32(0, 1, 0).to("meta")}, "sites must be on cpu as features, got meta"),
        ({"height": 0}, "height and width must be at least 1, got 0 x 2"),
        ({"offsets": int32(1, 2, 3)}, "offsets must rise from 0 to at most 3 rows, got [1, 2, 3]"),
        ({"offsets": int32(0, 3, 2)}, "offsets must rise from 0 to at most 3 rows, got [0, 3, 2]"),
        ({"offsets": int32(0, 2, 4)}, "offsets must rise from 0 to at most 3 rows, got [0, 2, 4]"),
        ({"sites": int32(0, 1, 4)}, "sites must lie in [0, 4) for 2 x 2 maps, got 0 to 4"),
        ({"sites": int32(0, 1, -1)}, "sites must lie in [0, 4) for 2 x 2 maps, got -1 to 1"),
        (
            {"sites": int32(1, 1, 0)},
            "sites must ascend inside a frame, got site 1 after 1 in frame 0",
        ),
        (
            {"sites": int32(2, 0, 0)},
            "sites must ascend inside a frame, got site 0 after 2 in frame 0",
        ),
    ],
)
def test_refuses(changes: dict[str, Any], message: str) -> None:
    args: dict[str, Any] = {
        "features": torch.zeros(3, 2),
        "sites": int32(0, 1, 0),
        "offsets": int32(0, 2, 3),
        "height": 2,
        "width": 2,
    }
    SparseFeatureMaps(**args)
    with pytest.raises(ValueError) as error:
        SparseFeatureMaps(**(args | changes))
    assert str(error.value) == f"SparseFeatureMaps: {message}"


@pytest.mark.parametrize(
    ("maps", "mask", "message"),
    [
        (torch.zeros(2, 3, 4), None, "maps must be (F, C, H, W), got (2, 3, 4)"),
        (
            torch.zeros(2, 1, 3, 4, dtype=torch.uint8),
            None,
            "maps must be one of torch.float32, torch.bfloat16, torch.float16, torch.float64, "
            "got torch.uint8",
        ),
        (
            torch.zeros(2, 1, 3, 4),
            torch.zeros(2, 4, 3, dtype=torch.bool),
            "mask must be (2, 3, 4) torch.bool for maps (2, 1, 3, 4), got (2, 4, 3) torch.bool",
        ),
        (
            torch.zeros(2, 1, 3, 4),
            torch.zeros(2, 3, 4),
            "mask must be (2, 3, 4) torch.bool for maps (2, 1, 3, 4), got (2, 3, 4) torch.float32",
        ),
        (
            torch.zeros(2, 1, 3, 4),
            torch.zeros(2, 3, 4, dtype=torch.bool, device="meta"),
            "mask must be on cpu, got meta",
        ),
    ],
)
def test_from_dense_refuses(maps: Tensor, mask: Tensor | None, message: str) -> None:
    with pytest.raises(ValueError) as error:
        SparseFeatureMaps.from_dense(maps, mask)
    assert str(error.value) == f"SparseFeatureMaps: {message}"


def test_with_features_refuses_other_rows() -> None:
    x = make_case(1, 2, 2, 2, 1.0).x
    with pytest.raises(ValueError, match=r"features must be \(4, C\), got \(3, 2\)"):
        x.with_features(torch.zeros(3, 2))
