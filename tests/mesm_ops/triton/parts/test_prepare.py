"""Each part of the launch against torch, together and alone."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor

from mesm_ops.triton.parts import prepare as module
from mesm_ops.triton.parts.prepare import Fold, Pack, prepare
from mesm_ops.triton.parts.schedule import TILE, Schedule
from tests.mesm_ops.cases import TOLERANCES, drawn

ROOT = Path(__file__).parents[4]
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
DTYPES = [torch.float32, torch.bfloat16, torch.float16]


def garbage(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
    value = torch.nan if dtype.is_floating_point else 10**6
    return torch.full(shape, value, dtype=dtype, device=DEVICE)


def attention(
    samples: int, channels: int, k: int, depth: int, dtype: torch.dtype
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Query, map_weight, map_bias and query_weight."""
    shapes = ((samples, depth), (k, channels), (k,), (k, depth))
    query, map_weight, map_bias, query_weight = (
        drawn(*shape, dtype=dtype, grad=False).to(DEVICE) for shape in shapes
    )
    return query, map_weight, map_bias, query_weight


def offsets_of(counts: list[int]) -> Tensor:
    return torch.tensor([0, *counts]).cumsum(0, dtype=torch.int32).to(DEVICE)


def lengths_of(lengths: list[int] | None, dtype: torch.dtype = torch.int64) -> Tensor | None:
    return None if lengths is None else torch.tensor(lengths, dtype=dtype, device=DEVICE)


@pytest.mark.parametrize("parameters", DTYPES)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("sizes", [(1, 3, 5, 7), (17, 33, 35, 300)])
def test_query_and_map_in_the_features_dtype(
    sizes: tuple[int, int, int, int], dtype: torch.dtype, parameters: torch.dtype
) -> None:
    samples, channels, k, depth = sizes
    query, map_weight, map_bias, query_weight = attention(samples, channels, k, depth, parameters)
    features = garbage(4, channels, dtype=dtype)
    projected_query, mapped = garbage(samples, k), garbage(k, channels, dtype=dtype)
    offsets = offsets_of([1] * samples)
    prepare(
        features, offsets, query, None, map_weight, map_bias, query_weight, projected_query, mapped
    )
    assert torch.equal(mapped, map_weight.to(dtype))
    rounded = [tensor.to(dtype).double() for tensor in (query, query_weight, map_bias)]
    wanted = rounded[0] @ rounded[1].T + rounded[2]
    # Sums of up to 300 products of about 1, in float32.
    rtol, atol = TOLERANCES[torch.float32]
    torch.testing.assert_close(projected_query.double(), wanted, rtol=rtol, atol=atol * depth**0.5)


@pytest.mark.parametrize(
    ("counts", "lengths", "padding"),
    [
        ([5, 0, 33, 16], [2, 0, 1, 1], 4),
        ([5, 0, 33, 16], None, 0),
        ([], [], 3),
        ([], [0, 0], 0),
        ([700, 1300], [0, 2, 0], 1200),
        ([1] * 40, None, 0),  # more samples than are looked at at a time
        ([1] * 40, [1] * 35 + [5], 2),
    ],
)
@pytest.mark.parametrize(("tiles", "dtype"), [(1, torch.int64), (2, torch.int32)])
def test_samples_of_rows_and_chunks(
    monkeypatch: pytest.MonkeyPatch,
    counts: list[int],
    lengths: list[int] | None,
    padding: int,
    tiles: int,
    dtype: torch.dtype,
) -> None:
    monkeypatch.setattr(module, "_BLOCK_SAMPLES", 16)
    real, each = sum(counts), [1] * len(counts) if lengths is None else lengths
    rows, samples = real + padding, len(each)
    chunk = tiles * TILE
    plan = Schedule(False, chunk, min(rows, -(-rows // chunk) + samples), samples)
    schedule, sample_of_row = (garbage(n, dtype=torch.int32) for n in (plan.size, rows))
    query, *parameters = attention(samples, 3, 2, 5, torch.float32)
    prepare(
        *(garbage(rows, 3), offsets_of(counts), query, lengths_of(lengths, dtype), *parameters),
        *(garbage(samples, 2), None, sample_of_row, plan, schedule),
    )
    wanted, table, numbers, frame = [-1] * rows, [], [0], 0
    begin = 0
    for sample, length in enumerate(each):
        end = begin + sum(counts[frame : frame + length])
        wanted[begin:end] = [sample] * (end - begin)
        for first in range(begin, end, chunk):
            table += [first, min(chunk, end - first), sample, 0]
        numbers.append(len(table) // 4)
        frame, begin = frame + length, end
    assert sample_of_row.tolist() == wanted
    assert schedule[: len(table)].tolist() == table
    assert schedule[4 * plan.most :].tolist() == numbers


def prepare_for_four_frames(lengths: list[int]) -> None:
    query, *parameters = attention(len(lengths), 3, 2, 5, torch.float32)
    given = (garbage(8, 3), offsets_of([2] * 4), query, lengths_of(lengths), *parameters)
    prepare(*given, garbage(len(lengths), 2))


@pytest.mark.parametrize("lengths", [[3], [2, 3], [-1, 5], [1, 10**10, 3 - 10**10]])
def test_refuses_lengths_that_cannot_be(lengths: list[int]) -> None:
    if DEVICE == "cpu":
        message = r"lengths must be at least 0 and sum to 4 frames, got \["
        with pytest.raises(ValueError, match=message):
            prepare_for_four_frames(lengths)
        return
    # A process of its own: nothing else runs on a device that has stopped.
    call = f"import torch; from {__name__} import *; prepare_for_four_frames({lengths})"
    command = [sys.executable, "-c", f"{call}; torch.cuda.synchronize()"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.returncode != 0
    assert "lengths must be at least 0 and sum to the number of frames" in done.stderr
    assert "device-side assert" in done.stderr


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("masters", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("sizes", [(64, 64, 128), (5, 70, 3), (1, 1, 1)])
def test_weights_in_the_order_of_the_products(
    sizes: tuple[int, int, int], masters: torch.dtype, dtype: torch.dtype
) -> None:
    channels, middle, out = sizes
    packs = tuple(
        Pack(torch.randn(o, i, 3, 3).to(masters).to(DEVICE), garbage(9, i, o, dtype=dtype))
        for o, i in ((middle, channels), (out, middle))
    )
    query, *parameters = attention(1, channels, 2, 3, torch.float32)
    given = (garbage(2, channels, dtype=dtype), offsets_of([2]), query, None, *parameters)
    for some in (packs, packs[:1]):
        for _, packed in some:
            packed.fill_(torch.nan)
        prepare(*given, garbage(1, 2), packs=some)
        for weight, packed in some:
            wanted = weight.flatten(2).permute(2, 1, 0).to(dtype)
            assert torch.equal(packed, wanted)


@pytest.mark.parametrize("masters", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("number", [1, 2])
def test_norms_as_scale_and_shift(number: int, masters: torch.dtype) -> None:
    folds = []
    for channels, eps in ((300, 1e-5), (7, 1e-3))[:number]:
        given = [torch.randn(channels), torch.randn(channels), torch.randn(channels)]
        given.append(torch.rand(channels))
        tensors = [tensor.to(masters).to(DEVICE) for tensor in given]
        folds.append(Fold(*tensors, eps, *(garbage(channels) for _ in range(4))))
    query, *parameters = attention(1, 3, 2, 3, torch.float32)
    prepare(
        *(garbage(2, 3), offsets_of([2]), query, None, *parameters, garbage(1, 2)),
        folds=tuple(folds),
    )
    for fold in folds:
        weight, bias, mean, var = (tensor.double() for tensor in fold[:4])
        scale = weight / (var + fold.eps).sqrt()
        rtol, atol = TOLERANCES[torch.float32]
        torch.testing.assert_close(fold.scale.double(), scale, rtol=rtol, atol=atol)
        torch.testing.assert_close(fold.shift.double(), bias - mean * scale, rtol=rtol, atol=atol)
        assert torch.equal(fold.mean_out, fold.mean.float())
        assert torch.equal(fold.var_out, fold.var.float())


def test_all_parts_together() -> None:
    counts, lengths, channels, k = [70, 0, 9], [1, 2], 20, 6
    rows = sum(counts) + 3
    query, map_weight, *rest = attention(2, channels, k, 40, torch.float32)
    plan = Schedule(False, TILE, -(-rows // TILE) + 2, 2)
    pack = Pack(torch.randn(8, channels, 3, 3, device=DEVICE), garbage(9, channels, 8))
    given = (torch.randn(8, device=DEVICE).abs() for _ in range(4))
    fold = Fold(*given, 1e-5, *(garbage(8) for _ in range(4)))
    projected_query, mapped = garbage(2, k), garbage(k, channels)
    sample_of_row, schedule = (garbage(n, dtype=torch.int32) for n in (rows, plan.size))
    args = (garbage(rows, channels), offsets_of(counts), query, lengths_of(lengths), map_weight)
    made = (projected_query, mapped, sample_of_row, plan, schedule, (pack, pack), (fold, fold))
    prepare(*args, *rest, *made)
    for tensor in (projected_query, mapped, pack.packed, *fold[5:]):
        assert tensor.isfinite().all()
    assert sample_of_row.tolist() == [0] * 70 + [1] * 9 + [-1] * 3
    assert schedule[4 * plan.most :].tolist() == [0, 2, 3]
