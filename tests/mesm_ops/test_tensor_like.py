"""Sparse feature maps are moved, joined, indexed, compared and kept as tensors are."""

from __future__ import annotations

import copy
import io
import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from accelerate.utils import convert_to_fp32, send_to_device
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.utils.data import DataLoader

from mesm_ops import SparseFeatureMaps
from tests.mesm_ops.cases import Case, cases, make_case

DTYPES = [torch.float32, torch.bfloat16, torch.float16, torch.float64]


def dense(case: Case) -> Tensor:
    return torch.where(case.mask[:, None], case.maps, 0).to(case.x.dtype)


def refused(message: str) -> Any:
    return pytest.raises(ValueError, match=f"^SparseFeatureMaps: {message}")


@given(case=cases(DTYPES), data=st.data())
@settings(max_examples=40)
def test_frames_are_indexed_as_those_of_dense_maps(case: Case, data: st.DataObject) -> None:
    frames, x, wanted = case.x.frames, case.x, dense(case)
    ends = st.none() | st.integers(-5, 5)
    step = st.none() | st.integers(-3, 3).filter(bool)
    piece = data.draw(st.builds(slice, ends, ends, step))
    numbers = data.draw(st.lists(st.integers(-frames, frames - 1), max_size=6)) if frames else []
    mask = data.draw(st.lists(st.booleans(), min_size=frames, max_size=frames))
    indices: list[tuple[Any, Any]] = [
        (piece, list(range(frames))[piece]),
        (numbers, numbers),
        (torch.tensor(numbers, dtype=torch.int32), numbers),
        (torch.tensor(mask, dtype=torch.bool), [i for i, kept in enumerate(mask) if kept]),
        *((number, [number]) for number in numbers[:2]),
    ]
    for index, named in indices:
        got = x[index]
        assert torch.equal(got.to_dense(), wanted[named]), index
        assert got.features.shape[0] == int(got.offsets[-1])  # no padding
        SparseFeatureMaps(got.features, got.sites, got.offsets, got.height, got.width)


@given(case=cases(DTYPES), data=st.data())
@settings(max_examples=40)
def test_pieces_and_all_of_them_again(case: Case, data: st.DataObject) -> None:
    x, wanted = case.x, dense(case)
    ends = sorted(data.draw(st.lists(st.integers(0, x.frames), max_size=3)))
    sizes = [b - a for a, b in zip([0, *ends], [*ends, x.frames], strict=True)]
    size = data.draw(st.integers(1, 5))
    for pieces, denses in (
        (x.split(sizes), wanted.split(sizes)),
        (x.split(size), wanted.split(size) if x.frames else ()),
        (list(x), wanted.split(1) if x.frames else ()),
    ):
        assert [piece.frames for piece in pieces] == [len(d) for d in denses]
        assert all(torch.equal(p.to_dense(), d) for p, d in zip(pieces, denses, strict=True))
    joined = SparseFeatureMaps.cat([x, *x.split(sizes)])  # x has NaN in its padding
    assert torch.equal(joined.to_dense(), torch.cat([wanted, wanted]))
    assert joined[: x.frames].difference(x) is None
    assert len(joined) == 2 * len(x)


def test_as_on_a_gpu_sizes_follow_from_shapes_alone() -> None:
    case = make_case(3, 2, 4, 5, 0.4, torch.float32, padding=2)
    order = torch.tensor([2, 0, -2, 2])

    def chosen(x: SparseFeatureMaps, order: Tensor) -> tuple[SparseFeatureMaps, ...]:
        return x[order], x[1:], SparseFeatureMaps.cat([x, x]), *x.split([1, 2])

    compiled = torch.compile(chosen, fullgraph=True, backend="aot_eager")
    every = compiled(case.x, order)
    for got, wanted in zip(every, chosen(case.x, order), strict=True):
        assert got.difference(wanted) is None
        assert not got.features[int(got.offsets[-1]) :].any()
    assert [x.features.shape[0] for x in every] == [80, 40, 2 * case.x.features.shape[0], 20, 40]


@pytest.mark.parametrize("compiled", [False, True])
def test_gradients_flow(compiled: bool) -> None:
    case = make_case(3, 2, 2, 3, 0.6, padding=2)
    features = case.x.features.nan_to_num(0).requires_grad_()

    def rows(features: Tensor) -> Tensor:
        x = case.x.with_features(features)
        first, others = x.split([1, 2])
        parts = [x[torch.tensor([1, 0, 1])], x[-1], x[::-1], first, others]
        return SparseFeatureMaps.cat(parts).features

    if compiled:
        rows = torch.compile(rows, fullgraph=True, backend="aot_eager")
    assert torch.autograd.gradcheck(rows, (features,))


def test_pieces_in_inference_mode_and_after() -> None:
    outside = make_case(3, 2, 4, 5, 0.4, torch.float32, padding=2).x
    with torch.inference_mode():
        inside = make_case(3, 2, 4, 5, 0.4, torch.float32, padding=2).x
        made = [(x, x.split(1), x[[2, 0]]) for x in (outside, inside)]
    made += [(x, x.split([1, 2]), x[[2, 0]]) for x in (outside, inside)]
    for x, pieces, chosen in made:
        assert SparseFeatureMaps.cat(pieces).difference(x) is None
        assert chosen[1].difference(x[0]) is None


def test_one_frame_and_none() -> None:
    x = make_case(3, 2, 4, 5, 0.4, torch.float32).x
    assert (x[-1].frames, x[1:1].frames, x[[]].frames, x.split(7)[0].frames) == (1, 0, 0, 3)
    for number in (3, -4):
        message = rf"frames are numbered from 0 to 2, got {number}"
        with pytest.raises(IndexError, match=message):
            x[number]
        with pytest.raises(IndexError, match=message):
            x[[0, number]]


@pytest.mark.parametrize(
    ("index", "got"),
    [
        ("a", "str"),
        (1.5, "float"),
        (None, "NoneType"),
        (True, "bool"),
        ((0, slice(2)), "tuple, which indexes several dimensions: take a list, or to_dense"),
        ((0, 1), "tuple, which"),  # a frame's channel, as torch has it; not two frames
        (torch.zeros(2, 2, dtype=torch.int64), r"torch.int64 of shape \(2, 2\)"),
        (torch.zeros(2), r"torch.float32 of shape \(2,\)"),
    ],
)
def test_other_indices_are_refused(index: Any, got: str) -> None:
    x = make_case(3, 2, 4, 5, 0.4, torch.float32).x
    with refused(rf"frames are chosen by an integer, a slice, .* got {got}"):
        x[index]
    with refused(r"a mask of frames must be \(3,\), got \(2,\)"):
        x[torch.ones(2, dtype=torch.bool)]


@pytest.mark.parametrize("index", [slice(None, None, 0), slice("a", None), slice(0, 2, 0.5)])
def test_slices_of_no_integers_or_a_step_of_0_are_refused(index: slice) -> None:
    x = make_case(3, 2, 4, 5, 0.4, torch.float32).x
    got = f"got {index.start}:{index.stop}:{index.step}"
    for one in (x, x.to("meta")):
        with refused(f".* an integer other than 0, {got}"):
            one[index]


@pytest.mark.parametrize("frames", [0, -1, True, 2.0, [1, 1], [4, -1], "3", None])
def test_other_splits_are_refused(frames: Any) -> None:
    with refused(r"split takes an integer of at least 1, or integers .* sum to 3 frames, got "):
        make_case(3, 2, 4, 5).x.split(frames)


def test_maps_that_do_not_fit_are_not_joined() -> None:
    x = make_case(1, 2, 4, 5).x
    for other, message in (
        (make_case(1, 2, 5, 5).x, "height, got 4 and, at place 1, 5"),
        (make_case(1, 2, 4, 4).x, "width, got 5 and, at place 1, 4"),
        (make_case(1, 3, 4, 5).x, "channels, got 2 and, at place 1, 3"),
        (x.to(torch.float32), "dtype, got torch.float64 and, at place 1, torch.float32"),
        (x.to("meta"), "device, got cpu and, at place 1, meta"),
    ):
        with refused(f"cat takes maps of one {message}"):
            SparseFeatureMaps.cat([x, other])
    with refused("cat takes at least one, got none"):
        SparseFeatureMaps.cat([])
    with refused("cat takes SparseFeatureMaps, got Tensor"):
        SparseFeatureMaps.cat([x, x.features])  # type: ignore[list-item]


def test_changed_offsets_are_refused() -> None:
    x = make_case(3, 2, 4, 5, padding=2).x
    x.offsets[1] = 99
    for call in (lambda: x[1:], lambda: x.split(1), lambda: SparseFeatureMaps.cat([x, x])):
        with refused("offsets must rise"):
            call()


def test_moves_and_casts() -> None:
    x = make_case(2, 3, 4, 5, padding=1).x
    assert x.to("cpu") is x.to(torch.float64) is x.cpu() is x
    half = x.to("cpu", torch.float16)
    assert (half.dtype, half.sites.dtype, half.offsets.dtype) == (
        *(torch.float16, torch.int32, torch.int32),
    )
    assert torch.equal(half.features.nan_to_num(7), x.features.half().nan_to_num(7))
    assert x.to(half.features).dtype == torch.float16
    assert x.to("meta").sites.is_meta
    copied = x.to("cpu", copy=True, non_blocking=True)
    assert copied.difference(x) is None
    assert copied.sites.data_ptr() != x.sites.data_ptr()
    for place in (("cpu", torch.float64), (torch.float64,), (x.features,)):
        copied = x.to(*place, False, True)
        assert copied.difference(x) is None
        assert copied.sites.data_ptr() != x.sites.data_ptr()
        assert copied.offsets.data_ptr() != x.offsets.data_ptr()
    with refused("features must be one of .* got torch.int32"):
        x.to(torch.int32)
    for cast, dtype in (("float", 32), ("double", 64), ("half", 16)):
        assert getattr(x, cast)().dtype is getattr(torch, f"float{dtype}")
    assert x.bfloat16().dtype is torch.bfloat16
    assert convert_to_fp32({"maps": x.half()})["maps"].difference(x.half().float()) is None
    moved = send_to_device({"maps": [x]}, torch.device("meta"), non_blocking=True)
    assert moved["maps"][0].offsets.is_meta
    assert not x.is_pinned()


def test_differences_are_told() -> None:
    x = make_case(2, 3, 4, 5, 0.5, torch.float32).x
    padded = SparseFeatureMaps(
        torch.cat([x.features, torch.full((2, 3), torch.nan)]),
        torch.cat([x.sites, torch.zeros(2, dtype=torch.int32)]),
        *(x.offsets, 4, 5),
    )
    assert x.difference(padded) is None
    assert padded.difference(x) is None
    changed = x.features.clone()
    changed[-1, 2] += 1
    site, value = int(x.sites[-1]), float(changed[-1, 2])
    place = f"frame 1, site (y {site // 5}, x {site % 5}), channel 2"
    other = x.with_features(changed)
    assert other.difference(x) == f"{place}: got {value}, wanted {float(x.features[-1, 2])}"
    assert other.difference(x, atol=1.5) is None
    assert x[:1].difference(x) == "frames: got 1, wanted 2"
    assert x.difference(x.to(torch.float64)) == "dtype: got torch.float32, wanted torch.float64"
    mask = x.mask()
    mask[0, site // 5, site % 5] ^= True
    missing = SparseFeatureMaps.from_dense(torch.ones(2, 3, 4, 5), mask)
    assert str(x.difference(missing)).startswith("frame 0: got ")
    nan = x.with_features(x.features * torch.nan)
    assert nan.difference(nan) is None
    assert x.difference(x.features) == "got SparseFeatureMaps, wanted Tensor"  # type: ignore[arg-type]


def test_equality_is_that_of_the_object() -> None:
    x = make_case(2, 3, 4, 5, 0.5, torch.float32).x
    assert x == x
    assert x != x[:]
    assert x[:].difference(x) is None
    assert len({x, x, x[:]}) == 2


def test_says_what_it_holds() -> None:
    x = make_case(2, 3, 4, 5, dtype=torch.float32, padding=4).x
    active = int(x.offsets[-1])
    assert repr(x) == (
        f"SparseFeatureMaps(frames=2, sites={active} of 40, density {active / 40:.2f}, "
        "channels=3, height=4, width=5, dtype=torch.float32, device=cpu)"
    )
    assert "frames=0, sites=0 of 0, channels=3" in repr(x[:0])
    assert f"sites=at most {active + 4} of 40" in repr(x.to("meta"))


COPIES: list[Callable[[SparseFeatureMaps], Any]] = [
    copy.copy,
    copy.deepcopy,
    lambda x: pickle.loads(pickle.dumps(x)),
    lambda x: saved_and_loaded(x),
]


def saved_and_loaded(x: Any) -> Any:
    file = io.BytesIO()
    torch.save(x, file)
    file.seek(0)
    return torch.load(file, weights_only=True)


@pytest.mark.parametrize("way", COPIES)
@pytest.mark.parametrize("dtype", DTYPES)
def test_copies_are_equal(way: Callable[[SparseFeatureMaps], Any], dtype: torch.dtype) -> None:
    for case in (
        make_case(3, 2, 4, 5, 0.3, dtype, padding=2, strided=True),
        make_case(0, 2, 4, 5, dtype=dtype),
        make_case(2, 2, 4, 5, 0.0, dtype),
    ):
        x = case.x.with_features(case.x.features.clone().requires_grad_())
        got = way(x)
        assert got.difference(x) is None
        assert got.features.requires_grad


def test_a_file_of_senseless_sites_is_not_loaded() -> None:
    x = make_case(2, 2, 4, 5).x
    x.sites[0] = 20
    with refused(r"sites must lie in \[0, 20\)"):
        saved_and_loaded([x])


def by_number(number: int) -> SparseFeatureMaps:
    return make_case(1 + number, 2, 4, 5, 0.5, torch.float32, padding=number, seed=number).x


@pytest.mark.parametrize("workers", [0, 1])
def test_a_data_loader_joins_them(workers: int) -> None:
    samples = [{"maps": by_number(number), "label": number} for number in range(4)]
    loader = DataLoader(samples, batch_size=3, num_workers=workers)  # type: ignore[arg-type]
    first, last = loader
    wanted = SparseFeatureMaps.cat([by_number(number) for number in range(3)])
    assert first["maps"].difference(wanted) is None
    assert first["label"].tolist() == [0, 1, 2]
    assert last["maps"].difference(by_number(3)) is None


def test_dense_layers_and_functions_say_that_maps_are_no_tensor() -> None:
    x = make_case(2, 4, 4, 5, dtype=torch.float32).x
    for layer in (
        nn.GroupNorm(2, 4),
        nn.BatchNorm1d(4),
        nn.BatchNorm2d(4),
        nn.SyncBatchNorm(4),
        nn.LayerNorm(4),
        nn.Conv2d(4, 4, 3),
        nn.Linear(4, 4),
        nn.ReLU(),
        nn.MaxPool2d(2),
        torch.relu,
        lambda x: torch.cat([x, x]),
        lambda x: x.view(2, -1),
    ):
        with pytest.raises((TypeError, AttributeError), match="are no tensor; use the layers of"):
            layer(x)
    for call in (np.asarray, np.mean, lambda x: np.array([x, x])):
        with pytest.raises(TypeError, match=r"^NumPy: SparseFeatureMaps are no tensor; use "):
            call(x)
    held = np.empty(1, object)
    held[0] = x
    assert held[0] is x
    for call in (lambda x: torch.equal(x, x), lambda x: x.allclose(x)):
        with pytest.raises((TypeError, AttributeError), match=r"`x\.difference\(y\) is None`"):
            call(x)
    with pytest.raises(AttributeError, match=r"has no attribute 'colour'$"):
        x.colour  # noqa: B018
