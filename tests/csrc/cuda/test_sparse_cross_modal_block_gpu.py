"""The block's CUDA kernels where there is a GPU, against the reference in float64."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from mesm_ops import extension, reference
from mesm_ops.ops.sparse_cross_modal_block_cuda import how

pytestmark = pytest.mark.gpu

EPS = 1e-5
DEVICE = "cuda"
NAMES = ("out", "out_sites", "out_offsets", "mean1", "var1", "mean2", "var2", "rows", "offsets")
TRAINING, TRIM, KEEP = 24, 27, 28  # where these flags stand among the op's arguments
# As in the test on the host: the kept features, the first convolution's result and the last one's.
ROUNDINGS = 3
SHAPES = [
    # frames, height, width, channels, hidden, samples (0: a query for each frame)
    (7, 6, 6, (16, 32, 48), 24, 0),
    (5, 7, 9, (48, 72, 136), 70, 3),
    (3, 25, 24, (64, 128, 128), 64, 2),
    (130, 6, 6, (256, 512, 512), 256, 20),
    (300, 24, 24, (64, 128, 128), 64, 40),  # enough for the high tiles
]
# One kernel takes these, at p of 0.5 and less, groups of 1 to 8 frames at a time.
GROUPED = [
    (7, 6, 6, (64, 64, 128), 24, 0),
    (5, 7, 9, (64, 128, 64), 70, 3),
    (300, 24, 24, (64, 128, 128), 64, 40),
    (401, 12, 12, (128, 256, 256), 128, 30),
]


@pytest.fixture(autouse=True)
def either_way(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MESM_OPS_CUDA_BLOCK", raising=False)


def arguments(
    dtype: torch.dtype,
    shape: tuple[int, int, int, tuple[int, int, int], int, int],
    p: float,
    weighted: bool,
    wide: bool = False,
) -> list[Any]:
    """The op's arguments; parameters in float32 if `wide`, as under autocast."""
    frames, height, width, channels, hidden, samples = shape
    first, middle, last = channels
    generator = torch.Generator().manual_seed(0)

    def normal(*size: int, scale: float = 1.0) -> Tensor:
        values = torch.randn(*size, generator=generator) * scale
        return values.to(DEVICE, torch.float32 if wide else dtype)

    mask = torch.rand(frames, height * width, generator=generator) < 0.9
    mask[1] = False
    number = int(mask.sum())
    padding = 11
    features = torch.full((number + padding, first), torch.nan)
    features[:number] = torch.randn(number, first, generator=generator)
    sites = torch.full((number + padding,), 10**6, dtype=torch.int32)
    sites[:number] = mask.nonzero()[:, 1]
    offsets = torch.cat([torch.zeros(1), mask.sum(1).cumsum(0)]).int()
    lengths = None
    if samples:
        lengths = torch.full((samples,), frames // samples)
        lengths[-1] += frames - int(lengths.sum())
        lengths = lengths.to(DEVICE)

    def stage(before: int, after: int) -> list[Tensor]:
        weight = normal(after, before, 3, 3, scale=(9 * before) ** -0.5)
        norm = [normal(after).abs() + 0.5, normal(after), normal(after, scale=0.25)]
        return [weight, *norm, normal(after).abs() + 0.5]

    return [
        *(features.to(DEVICE, dtype), sites.to(DEVICE), offsets.to(DEVICE), height, width),
        *(normal(samples or frames, 40).to(dtype), lengths),
        *(normal(hidden, first, scale=first**-0.5), normal(hidden)),
        *(normal(hidden, 40, scale=40**-0.5), normal(1, hidden), normal(1)),
        *stage(first, middle),
        *stage(middle, last),
        *(p, weighted, False, EPS, EPS, False, False),
    ]


def block(args: list[Any]) -> reference.SparseCrossModalBlock:
    """What the op takes where its CUDA kernels take these."""
    flat = [*args[:23], reference.Selection(args[23]), *args[24:]]
    return reference.SparseCrossModalBlock(*flat)


def run(args: list[Any]) -> dict[str, Tensor]:
    assert extension.cuda_missing() is None
    results = torch.ops.mesm_ops_cuda.sparse_cross_modal_block(*args)
    assert [r.numel() for r in results[9:]] == [0] * 4
    return dict(zip(NAMES, results, strict=False))


def check(args: list[Any], result: dict[str, Tensor]) -> None:
    """Sites against the reference's, values against the reference on the very sites kept."""
    torch.use_deterministic_algorithms(False)  # which the reference's sums on a GPU are not
    dtype, features = args[0].dtype, args[0].double()
    exact = [a.double() if isinstance(a, Tensor) and a.is_floating_point() else a for a in args]
    place = (args[2], args[3], args[4])
    scored = reference.CrossModalScore(features, args[2], *exact[5:12])
    logits = reference.cross_modal_score(scored)
    settings = (args[22], reference.Selection(args[23]))
    select = reference.TopPSelect(features, args[1], args[2], logits, *settings, trim=False)
    _, _, _, wanted_rows, attention = reference.top_p_select(select)
    rows, offsets = result["rows"], result["offsets"]
    number = int(offsets[-1])
    assert (rows[number:] == -1).all()
    # Scores are sums in float32: a site at the edge of a nucleus may fall on the other side.
    kept, wanted = (set(r[r >= 0].tolist()) for r in (rows, wanted_rows))
    assert len(kept ^ wanted) <= len(wanted) / 1000
    if args[22] == 1:
        assert kept == wanted
    row = rows[:number].long()
    assert (row.diff() > 0).all()
    frame = torch.bucketize(row, args[2][1:].long(), right=True)
    counts = torch.bincount(frame, minlength=len(offsets) - 1)
    assert torch.equal(offsets.diff().long(), counts)

    scale = (args[2].diff()[frame] * attention[row])[:, None] if args[23] else 1.0
    x = features[row] * scale
    place = (args[1][row], offsets, args[3], args[4])
    for first in (12, 17):
        weight, norm_weight, norm_bias, mean, var = exact[first : first + 5]
        x = reference.subm_conv2d(reference.SubmConv2d(x, *place, weight, None))
        norm = (norm_weight, norm_bias, mean, var, False, EPS, True)
        x, _, _ = reference.sparse_batch_norm(reference.SparseBatchNorm(x, offsets, *norm))
    pooled = reference.sparse_max_pool2d(reference.SparseMaxPool2d(x, *place, trim=True))
    out, sites, out_offsets, _ = pooled
    active = int(out_offsets[-1])
    assert torch.equal(result["out_offsets"], out_offsets)
    assert torch.equal(result["out_sites"][:active], sites)
    assert (result["out_sites"][active:] == 0).all()
    assert (result["out"][active:] == 0).all()
    tolerance = ROUNDINGS * torch.finfo(dtype).eps * max(1.0, out.abs().max().item())
    torch.testing.assert_close(result["out"][:active].double(), out, rtol=0, atol=tolerance)
    for name, index in (("mean1", 15), ("var1", 16), ("mean2", 20), ("var2", 21)):
        assert torch.equal(result[name], args[index].float())


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("p", [0.1, 0.5, 1.0])
def test_against_the_reference(dtype: torch.dtype, shape: Any, p: float) -> None:
    args = arguments(dtype, shape, p, weighted=p != 0.1)
    first = run(args)
    check(args, first)
    second = run(args)
    assert all(torch.equal(first[name], second[name]) for name in NAMES)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("shape", GROUPED, ids=str)
@pytest.mark.parametrize("p", [0.1, 0.5])
def test_one_kernel_against_the_reference(
    monkeypatch: pytest.MonkeyPatch, dtype: torch.dtype, shape: Any, p: float
) -> None:
    args = arguments(dtype, shape, p, weighted=True)
    monkeypatch.setenv("MESM_OPS_CUDA_BLOCK", "group")
    first = run(args)
    check(args, first)
    for _ in range(3):
        again = run(args)
        assert all(torch.equal(first[name], again[name]) for name in NAMES)
    monkeypatch.setenv("MESM_OPS_CUDA_BLOCK", "launches")
    check(args, run(args))


def test_one_kernel_and_a_nan(monkeypatch: pytest.MonkeyPatch) -> None:
    """The frame keeps all of its sites, none of which fits; the others know nothing of it."""
    monkeypatch.setenv("MESM_OPS_CUDA_BLOCK", "group")
    args = arguments(torch.bfloat16, GROUPED[2], 0.5, weighted=True)
    wanted = run(args)
    first, last = args[2][2:4].tolist()
    args[0][first + 5, 3] = torch.nan
    got = run(args)
    ends, wanted_ends = got["out_offsets"].tolist(), wanted["out_offsets"].tolist()
    assert got["offsets"].diff()[2] == last - first
    assert got["out"][ends[2] : ends[3]].isnan().all()
    assert torch.equal(got["out"][: ends[2]], wanted["out"][: ends[2]])
    later = wanted_ends[-1] - wanted_ends[3]
    assert later == ends[-1] - ends[3]
    assert torch.equal(got["out"][ends[3] : ends[-1]], wanted["out"][wanted_ends[3] :][:later])


def test_ways_that_are_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    args = arguments(torch.bfloat16, SHAPES[0], 0.5, weighted=True)
    monkeypatch.setenv("MESM_OPS_CUDA_BLOCK", "group")
    with pytest.raises(RuntimeError, match="asks for one kernel, which does not take this"):
        run(args)
    monkeypatch.setenv("MESM_OPS_CUDA_BLOCK", "both")
    with pytest.raises(RuntimeError, match="must be auto, group or launches, got both"):
        run(args)
    found = how(block(arguments(torch.bfloat16, GROUPED[0], 0.5, weighted=True)))
    assert found.startswith("all steps in one kernel")
    assert "multiples of 64" in how(block(args))


def test_float32_parameters() -> None:
    args = arguments(torch.bfloat16, SHAPES[1], 0.5, weighted=True, wide=True)
    rounded = [a.bfloat16() if i in (7, 9, 12, 17) else a for i, a in enumerate(args)]
    check(rounded, run(args))


def test_strided_and_unaligned_features() -> None:
    args = arguments(torch.float16, SHAPES[0], 1.0, weighted=True)
    wanted = run(args)
    apart = torch.empty(args[0].numel() + 1, dtype=torch.float16, device=DEVICE)
    unaligned = apart[1:].view_as(args[0]).copy_(args[0])
    strided = args[0].t().contiguous().t()
    for features in (unaligned, strided):
        got = run([features, *args[1:]])
        assert all(torch.equal(got[name], wanted[name]) for name in NAMES)


@pytest.mark.parametrize("way", ["group", "launches"])
def test_nothing_waits_and_a_graph_captures_it(monkeypatch: pytest.MonkeyPatch, way: str) -> None:
    monkeypatch.setenv("MESM_OPS_CUDA_BLOCK", way)
    args = arguments(torch.bfloat16, GROUPED[0], 0.5, weighted=True)
    wanted = run(args)
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        run(args)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        got = run(args)
    for _ in range(3):  # words of the look-back are cleared in every replay
        graph.replay()
    torch.cuda.synchronize()
    assert all(torch.equal(got[name], wanted[name]) for name in NAMES)


def test_no_frames() -> None:
    args = arguments(torch.bfloat16, SHAPES[0], 0.5, weighted=True)
    args[0], args[1], args[2] = args[0][:0], args[1][:0], args[2][:1] * 0
    args[5] = args[5][:0]
    result = run(args)
    assert result["out"].shape == (0, 48)
    assert result["offsets"].tolist() == [0]


@pytest.mark.parametrize(
    ("index", "value", "message"),
    [(TRAINING, True, "inference"), (KEEP, True, "inference"), (TRIM, True, "trim")],
)
def test_refusals(index: int, value: Any, message: str) -> None:
    args = arguments(torch.bfloat16, SHAPES[0], 0.5, weighted=True)
    args[index] = value
    with pytest.raises(RuntimeError, match=message):
        run(args)
    args = arguments(torch.bfloat16, SHAPES[0], 0.5, weighted=True)
    args[0] = args[0].float()
    with pytest.raises(RuntimeError, match="bfloat16 or float16"):
        run(args)
