"""The CUDA block's code, compiled for the host, against the float64 oracle."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor

from tests import oracle

EPS = 1e-5
PLAN_ROWS, TAPS = 512, 9
# The roundings of the kept features, of the first convolution's result and of the last one's,
# and of what sums of them make of it.
ROUNDINGS = 3
DTYPES = [torch.bfloat16, torch.float16]


class Arguments(ctypes.Structure):
    _fields_ = [
        *((name, ctypes.c_void_p) for name in ("features", "sites", "offsets", "query")),
        *((name, ctypes.c_void_p) for name in ("map_weight", "query_weight", "ends", "map_bias")),
        *((name, ctypes.c_void_p) for name in ("score_weight", "score_bias")),
        ("weight", ctypes.c_void_p * 2),
        ("norms", ctypes.c_void_p * 2),
        *((name, ctypes.c_void_p) for name in ("out", "x", "out_sites", "out_offsets", "rows")),
        *((name, ctypes.c_void_p) for name in ("kept_offsets", "order")),
        ("moments", ctypes.c_void_p * 2),
        *((name, ctypes.c_int64) for name in ("frames", "number", "out_rows", "samples")),
        *((name, ctypes.c_int32) for name in ("height", "width", "channels", "hidden")),
        *((name, ctypes.c_int32) for name in ("query_channels", "middle", "columns", "float16")),
        *((name, ctypes.c_int32) for name in ("wide_weights", "row_warps", "eighths", "weighted")),
        *((name, ctypes.c_int32) for name in ("threads", "group_frames", "group_stages")),
        ("side_by_side", ctypes.c_int32),
        ("p", ctypes.c_double),
        ("eps", ctypes.c_float),
    ]


class Case(NamedTuple):
    maps: Tensor  # (F, C, H, W), float64, exact in the dtype
    mask: Tensor
    query: Tensor
    lengths: Tensor | None
    attention: oracle.Attention
    stages: tuple[oracle.ConvNorm, oracle.ConvNorm]


@pytest.fixture(scope="module")
def host(load_for_host: Callable[[str], ctypes.CDLL]) -> ctypes.CDLL:
    return load_for_host("sparse_cross_modal_block")


def make_case(
    dtype: torch.dtype,
    *,
    frames: int = 3,
    size: tuple[int, int] = (6, 6),
    channels: tuple[int, int, int] = (16, 32, 48),
    hidden: int = 24,
    query_channels: int = 40,
    density: float = 1.0,
    lengths: list[int] | None = None,
) -> Case:
    def normal(*shape: int, scale: float = 1.0) -> Tensor:
        return (torch.randn(*shape) * scale).to(dtype).double()

    def stage(before: int, after: int) -> oracle.ConvNorm:
        weight = normal(after, before, 3, 3, scale=(9 * before) ** -0.5)
        rest = (torch.rand(after) + 0.5, torch.randn(after), torch.randn(after) / 4)
        gain, bias, mean = (tensor.float().double() for tensor in rest)
        return oracle.ConvNorm(weight, gain, bias, mean, (torch.rand(after) + 0.5).double())

    first, middle, last = channels
    attention = oracle.Attention(
        normal(hidden, first, scale=first**-0.5),
        torch.randn(hidden).double(),
        normal(hidden, query_channels, scale=query_channels**-0.5),
        (torch.randn(1, hidden)).double(),
        torch.randn(1).double(),
    )
    samples = frames if lengths is None else len(lengths)
    return Case(
        normal(frames, first, *size),
        torch.rand(frames, *size) < density,
        normal(samples, query_channels),
        None if lengths is None else torch.tensor(lengths),
        attention,
        (stage(first, middle), stage(middle, last)),
    )


def run(
    host: ctypes.CDLL,
    case: Case,
    dtype: torch.dtype,
    p: float,
    *,
    weighted: bool = True,
    config: tuple[int, int] = (2, 4),
    padding: int = 5,
    wide_weights: bool = False,
    threads: int = 1,
    group: tuple[int, int] = (0, 0),
    side_by_side: int = 1,
) -> dict[str, Tensor]:
    """Return what the kernels leave; every output starts as garbage.

    config: warps below each other and eighths of a tile; group: frames of a group (0: a launch for
    each step) and stages of its weights.
    """
    frames, channels, height, width = case.maps.shape
    there = case.mask.flatten(1)
    rows = case.maps.permute(0, 2, 3, 1)[case.mask]
    active = rows.shape[0]
    number = active + padding
    features = torch.full((number, channels), torch.nan, dtype=dtype)
    features[:active] = rows.to(dtype)
    sites = torch.full((number,), 10**6, dtype=torch.int32)
    sites[:active] = there.nonzero()[:, 1]
    offsets = torch.cat([torch.zeros(1), there.sum(1).cumsum(0)]).int()
    middle, columns = (stage.weight.shape[0] for stage in case.stages)
    out_rows = min(number, frames * (height // 2) * (width // 2))
    plans = -(-number // PLAN_ROWS) * PLAN_ROWS
    garbage = {"dtype": torch.int32}
    result = {
        "out": torch.full((out_rows, columns), torch.nan, dtype=dtype),
        "x": torch.full((number, channels), torch.nan, dtype=dtype),
        "out_sites": torch.full((out_rows,), -7, **garbage),
        "out_offsets": torch.full((frames + 1,), -7, **garbage),
        "rows": torch.full((number,), -7, **garbage),
        "kept_offsets": torch.full((frames + 1,), -7, **garbage),
        "order": torch.full((plans,), -7, **garbage),
        "moments0": torch.full((2, middle), torch.nan),
        "moments1": torch.full((2, columns), torch.nan),
    }
    ends = None if case.lengths is None else case.lengths.cumsum(0).int()
    narrow = [t.to(dtype) for t in (case.query, *case.attention[:3:2])]
    wide = [case.attention[i].float() for i in (1, 3, 4)]
    weights = [s.weight.to(torch.float32 if wide_weights else dtype) for s in case.stages]
    norms = [torch.stack([t.float() for t in stage[1:]]) for stage in case.stages]
    pair = ctypes.c_void_p * 2

    def at(tensor: Tensor | None) -> int | None:
        return None if tensor is None else tensor.contiguous().data_ptr()

    keys = ("out", "x", "out_sites", "out_offsets", "rows", "kept_offsets", "order")
    arguments = Arguments(
        *(at(t) for t in (features, sites, offsets, *narrow, ends, *wide)),
        pair(*(at(t) for t in weights)),
        pair(*(at(t) for t in norms)),
        *(at(result[key]) for key in keys),
        pair(at(result["moments0"]), at(result["moments1"])),
        *(frames, number, out_rows, case.query.shape[0], height, width, channels),
        *(narrow[1].shape[0], narrow[0].shape[1], middle, columns, int(dtype == torch.float16)),
        *(int(wide_weights), *config, int(weighted), threads, *group, side_by_side, p, EPS),
    )
    assert host.run_op(ctypes.byref(arguments)) == 0
    return result


def check(result: dict[str, Tensor], case: Case, dtype: torch.dtype, p: float, **options: Any):
    weighted = options.get("weighted", True)
    pooled, active, kept = oracle.block(
        *(*case[:4], case.attention, case.stages, p, weighted, False), eps=EPS
    )
    rows = torch.arange(int(case.mask.sum()))
    number, out_number = int(kept.sum()), int(active.sum())
    assert result["kept_offsets"].tolist() == [0, *kept.flatten(1).sum(1).cumsum(0).tolist()]
    assert result["rows"][:number].tolist() == rows[kept[case.mask]].tolist()
    assert (result["rows"][number:] == -1).all()
    assert result["out_offsets"].tolist() == [0, *active.flatten(1).sum(1).cumsum(0).tolist()]
    assert result["out_sites"][:out_number].tolist() == active.flatten(1).nonzero()[:, 1].tolist()
    assert (result["out_sites"][out_number:] == 0).all()
    assert (result["out"][out_number:] == 0).all()
    want = pooled.permute(0, 2, 3, 1)[active]
    got = result["out"][:out_number].double()
    largest = want.nan_to_num().abs().max().item() if out_number else 1.0
    tolerance = ROUNDINGS * torch.finfo(dtype).eps * max(largest, 1.0)
    torch.testing.assert_close(got, want, rtol=0, atol=tolerance, equal_nan=True)
    for stage, moments in zip(case.stages, ("moments0", "moments1"), strict=True):
        assert torch.equal(result[moments], torch.stack(stage[3:]).float())


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("p", [0.1, 0.5, 0.9, 1.0])
@pytest.mark.parametrize("weighted", [True, False])
def test_against_the_oracle(host: ctypes.CDLL, dtype: torch.dtype, p: float, weighted: bool):
    case = make_case(dtype)
    check(run(host, case, dtype, p, weighted=weighted), case, dtype, p, weighted=weighted)


@pytest.mark.parametrize(
    ("size", "channels", "hidden", "config"),
    [
        ((7, 8), (48, 16, 32), 16, (2, 4)),  # an odd last row, depths that fill no whole step
        ((2, 2), (8, 8, 8), 1, (2, 4)),
        ((5, 3), (16, 72, 136), 70, (2, 4)),  # more columns than a tile has
        ((7, 8), (32, 48, 16), 40, (2, 8)),
        ((7, 8), (32, 136, 16), 136, (4, 8)),
        ((16, 17), (16, 16, 16), 16, (2, 4)),  # several tiles a frame
        ((24, 24), (64, 128, 128), 64, (4, 8)),  # as in the model
    ],
)
def test_shapes(
    host: ctypes.CDLL,
    size: tuple[int, int],
    channels: tuple[int, int, int],
    hidden: int,
    config: tuple[int, int],
):
    dtype = torch.float16
    case = make_case(dtype, frames=2, size=size, channels=channels, hidden=hidden, density=0.8)
    check(run(host, case, dtype, 0.6, config=config), case, dtype, 0.6)


def test_maps_of_one_line_of_sites(host: ctypes.CDLL):
    """No row has a neighbour above or below: whole tiles leave out taps."""
    case = make_case(torch.float16, frames=4, size=(5, 8))
    case.mask[:] = False
    case.mask[:, 2] = True
    check(run(host, case, torch.float16, 0.7), case, torch.float16, 0.7)


def test_frames_of_samples_empty_frames_and_one_site(host: ctypes.CDLL):
    dtype = torch.bfloat16
    case = make_case(dtype, frames=6, density=0.5, lengths=[2, 0, 3, 1, 0])
    case.mask[1] = False
    case.mask[5] = False
    case.mask[3] = False
    case.mask[3, 4, 2] = True
    check(run(host, case, dtype, 0.5), case, dtype, 0.5)


@pytest.mark.parametrize("padding", [0, 300])
def test_nothing_is_active(host: ctypes.CDLL, padding: int):
    case = make_case(torch.bfloat16, density=0.0)
    check(run(host, case, torch.bfloat16, 0.5, padding=padding), case, torch.bfloat16, 0.5)


def test_equal_scores_keep_the_lower_sites(host: ctypes.CDLL):
    dtype = torch.float16
    case = make_case(dtype)
    case.maps[:] = case.maps[:, :, :1, :1]
    result = run(host, case, dtype, 0.5)
    assert result["rows"][:18].tolist() == list(range(18))
    check(result, case, dtype, 0.5)


def test_a_nan_reaches_its_frame_and_no_other(host: ctypes.CDLL):
    dtype = torch.float16
    case = make_case(dtype)
    case.maps[1, 3, 2, 2] = torch.nan
    check(run(host, case, dtype, 0.5, weighted=False), case, dtype, 0.5, weighted=False)
    result = run(host, case, dtype, 0.5)
    ends = result["out_offsets"].tolist()
    assert result["out"][: ends[1]].isfinite().all()
    assert result["out"][ends[1] : ends[2]].isnan().all()
    assert result["out"][ends[2] :].isfinite().all()


def test_float32_weights_are_rounded_once(host: ctypes.CDLL):
    case = make_case(torch.bfloat16)
    narrow = run(host, case, torch.bfloat16, 0.5)
    wide = run(host, case, torch.bfloat16, 0.5, wide_weights=True)
    assert torch.equal(narrow["out"], wide["out"])


@pytest.mark.parametrize("threads", [2, 4])
def test_threads_do_not_matter(host: ctypes.CDLL, threads: int):
    case = make_case(torch.bfloat16, channels=(16, 72, 16))
    alone, together = (run(host, case, torch.bfloat16, 0.5, threads=n) for n in (1, threads))
    for key, value in alone.items():
        if key != "x":  # whose padding nobody writes
            assert torch.equal(value, together[key]), key


@pytest.mark.parametrize("sanitizer", ["address,undefined", "thread"])
def test_sanitizers_find_nothing(run_sanitized: Callable[..., None], sanitizer: str) -> None:
    run_sanitized("sanitized_block", sanitizer)


def test_the_tile_does_not_matter(host: ctypes.CDLL):
    """Sums go through the same order whatever the tile is."""
    case = make_case(torch.bfloat16, frames=8, channels=(40, 64, 64))
    results = [run(host, case, torch.bfloat16, 0.7, config=c)["out"] for c in [(2, 4), (4, 8)]]
    assert torch.equal(*results)


@pytest.mark.parametrize("dtype", DTYPES)
def test_one_step_of_the_tensor_cores(host: ctypes.CDLL, dtype: torch.dtype):
    a, b = torch.randn(16, 32).to(dtype), torch.randn(8, 32).to(dtype)
    c = torch.full((16, 8), torch.nan)
    arguments = [ctypes.c_void_p(t.data_ptr()) for t in (a, b)]
    host.run_mma(*arguments, int(dtype == torch.float16), ctypes.c_void_p(c.data_ptr()))
    torch.testing.assert_close(c.double(), a.double() @ b.double().T, rtol=0, atol=1e-5)


@pytest.mark.parametrize("dtype", DTYPES)
def test_rounding_is_torchs(host: ctypes.CDLL, dtype: torch.dtype):
    special = torch.tensor([0.0, -0.0, torch.inf, -torch.inf, torch.nan, 1e-8, 6e-8, 65519.9, 1e39])
    values = torch.cat([torch.randn(1000) * 100, 1 + torch.arange(600) / 2**11, special])
    bits = torch.empty(len(values), dtype=torch.int16)
    back = torch.empty(len(values))
    at = [ctypes.c_void_p(t.data_ptr()) for t in (values, bits, back)]
    is_float16 = ctypes.c_int32(dtype == torch.float16)
    host.run_narrow(at[0], ctypes.c_int64(len(values)), is_float16, *at[1:])
    want = values.to(dtype)
    finite = ~values.isnan()
    assert torch.equal(bits[finite], want.view(torch.int16)[finite])
    torch.testing.assert_close(back, want.float(), rtol=0, atol=0, equal_nan=True)


def test_every_element_of_a_tile_has_one_owner(host: ctypes.CDLL):
    columns = torch.zeros(128, dtype=torch.int32)
    subtiles = torch.zeros(4, 2, 4, dtype=torch.int32)
    host.tile_layout(*(ctypes.c_void_p(t.data_ptr()) for t in (columns, subtiles)))
    assert sorted(columns.tolist()) == list(range(128))
    for side in subtiles.unbind(1):
        assert sorted(side.flatten().tolist()) == list(range(16))


def test_no_bank_conflicts(host: ctypes.CDLL):
    assert host.bank_conflicts() == 1


@pytest.mark.parametrize("count", [0, 1, 255, 256, 257, 1000])
def test_sums(host: ctypes.CDLL, count: int):
    values = torch.randint(0, 100, (count,), dtype=torch.int32)
    ends = torch.full((count,), -7, dtype=torch.int32)
    at = [ctypes.c_void_p(t.data_ptr()) for t in (values, ends)]
    host.run_sum_up(at[0], ctypes.c_int64(count), at[1])
    assert torch.equal(ends, values.cumsum(0).int())


@pytest.mark.parametrize("number", [1, 17, 512, 700])
def test_plans_reorder_rows_and_tell_their_taps(host: ctypes.CDLL, number: int):
    neighbours = torch.where(torch.rand(number, TAPS) < 0.5, 1, -1).int()
    neighbours[:, TAPS // 2] = 1
    plans = -(-number // PLAN_ROWS)
    order = torch.full((plans * PLAN_ROWS,), -7, dtype=torch.int32)
    taps = torch.full((plans * PLAN_ROWS // 16,), -7, dtype=torch.int32)
    at = [ctypes.c_void_p(t.data_ptr()) for t in (neighbours, order, taps)]
    host.run_plan(at[0], ctypes.c_int32(number), *at[1:])
    for plan in range(plans):
        slots = order[plan * PLAN_ROWS : (plan + 1) * PLAN_ROWS]
        there = range(plan * PLAN_ROWS, min(number, (plan + 1) * PLAN_ROWS))
        assert sorted(slots[: len(there)].tolist()) == list(there)
        assert (slots[len(there) :] == -1).all()
    bits = (neighbours > 0).int() @ (1 << torch.arange(TAPS, dtype=torch.int32))
    for i, sixteen in enumerate(order.view(-1, 16)):
        want = 0
        for row in sixteen[sixteen >= 0].tolist():
            want |= int(bits[row])
        assert taps[i] == want
    if number == PLAN_ROWS:  # sorting must pay: unsorted, nearly every sixteen has every tap
        assert sum(int(t).bit_count() for t in taps) < 0.8 * TAPS * len(taps)
