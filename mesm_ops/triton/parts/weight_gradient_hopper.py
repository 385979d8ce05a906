# mypy: allow-untyped-defs
"""The products of `parts.weight_gradient` for Hopper GPUs, in Gluon.

As in `convolution_hopper`, a program has a producer and a consumer warpgroup, and two programs
share a multiprocessor. TMA fetches tiles of the gradient's rows, which lie together; the rows of
features are gathered.
"""

from __future__ import annotations

from triton.experimental import gluon
from triton.experimental.gluon import language as gl
from triton.experimental.gluon.language.nvidia.ampere import async_copy
from triton.experimental.gluon.language.nvidia.hopper import (
    fence_async_shared,
    mbarrier,
    tma,
    warpgroup_mma,
    warpgroup_mma_wait,
)

from .convolution_hopper import next_stage, stage_before
from .tiles import step_of, steps_of_program, unit_of

__all__ = ["weight_gradient_kernel"]


@gluon.jit
def _step(i, base, stride, turn, extra):
    return gl.where(i < turn, base + i * stride, extra)


@gluon.jit
def _produce(
    features,
    lists,
    tap_tiles,
    counts,
    grad,
    x_tiles,
    g_tiles,
    full,
    empty,
    capacity,
    first,
    last,
    steps,
    programs,
    CIN: gl.constexpr,
    COUT: gl.constexpr,
    TILE: gl.constexpr,
    BLOCK_M: gl.constexpr,
    BLOCK_N: gl.constexpr,
    BLOCK_R: gl.constexpr,
    STAGES: gl.constexpr,
):
    layout: gl.constexpr = gl.BlockedLayout([1, 8], [256 // BLOCK_N, BLOCK_N // 8], [4, 1], [1, 0])
    TILES_N: gl.constexpr = CIN // BLOCK_N
    UNITS: gl.constexpr = TILES_N * (COUT // BLOCK_M)
    PARTS: gl.constexpr = TILE // BLOCK_R
    lane = gl.arange(0, BLOCK_R, layout=gl.SliceLayout(1, layout))
    channel = gl.arange(0, BLOCK_N, layout=gl.SliceLayout(0, layout))
    index = 0
    phase = 1
    at = first
    while at < last:
        tap, unit, begin, each = unit_of(counts, at, PARTS, UNITS)
        base, stride, turn, extra = step_of(gl.program_id(0), programs, steps, begin, each, at)
        number = gl.minimum(begin + each, last) - at
        corner = unit // TILES_N * BLOCK_M
        columns = unit % TILES_N * BLOCK_N + channel
        tiles = tap_tiles + tap * capacity
        # The tile of the step after next and the rows of the next step are under way.
        step = _step(at * 0, base, stride, turn, extra)
        tile = gl.load(tiles + step // PARTS)
        rows = gl.load(lists + (tile * 9 + tap) * TILE + step % PARTS * BLOCK_R + lane)
        step_later = _step(gl.minimum(number - 1, 1), base, stride, turn, extra)
        tile_later = gl.load(tiles + step_later // PARTS)
        for i in range(0, number):
            fetched = rows
            row = tile * TILE + step % PARTS * BLOCK_R
            step = step_later
            tile = tile_later
            rows = gl.load(lists + (tile * 9 + tap) * TILE + step % PARTS * BLOCK_R + lane)
            step_later = _step(gl.minimum(number - 1, i + 2), base, stride, turn, extra)
            tile_later = gl.load(tiles + step_later // PARTS)
            place = gl.maximum(fetched, 0).to(gl.int64) * CIN
            x = features + gl.expand_dims(place, 1) + gl.expand_dims(columns, 0)
            mbarrier.wait(empty.index(index), phase)
            arrived = full.index(index)
            mbarrier.expect(arrived, BLOCK_R * BLOCK_M * 2)
            tma.async_copy_global_to_shared(grad, [row, corner], arrived, g_tiles.index(index))
            known = gl.expand_dims(fetched >= 0, 1)
            async_copy.async_copy_global_to_shared(x_tiles.index(index), x, mask=known)
            async_copy.mbarrier_arrive(arrived, increment_count=False)
            index, phase = next_stage(index, phase, STAGES)
        at += number


@gluon.jit
def _consume(
    counts,
    partial,
    x_tiles,
    g_tiles,
    full,
    empty,
    first,
    last,
    CIN: gl.constexpr,
    COUT: gl.constexpr,
    TILE: gl.constexpr,
    BLOCK_M: gl.constexpr,
    BLOCK_N: gl.constexpr,
    BLOCK_R: gl.constexpr,
    STAGES: gl.constexpr,
):
    product: gl.constexpr = gl.NVMMADistributedLayout(
        version=[3, 0], warps_per_cta=[4, 1], instr_shape=[16, BLOCK_N, 16]
    )
    UNITS: gl.constexpr = CIN // BLOCK_N * (COUT // BLOCK_M)
    PARTS: gl.constexpr = TILE // BLOCK_R
    line = gl.arange(0, BLOCK_M, layout=gl.SliceLayout(1, product)) * BLOCK_N
    column = gl.arange(0, BLOCK_N, layout=gl.SliceLayout(0, product))
    place = gl.expand_dims(line, 1) + gl.expand_dims(column, 0)
    index = 0
    phase = 0
    at = first
    while at < last:
        tap, unit, begin, each = unit_of(counts, at, PARTS, UNITS)
        number = gl.minimum(begin + each, last) - at
        acc = gl.zeros((BLOCK_M, BLOCK_N), gl.float32, layout=product)
        for i in range(0, number):
            mbarrier.wait(full.index(index), phase)
            g_tile = g_tiles.index(index).permute((1, 0))
            acc = warpgroup_mma(g_tile, x_tiles.index(index), acc, is_async=True)
            acc = warpgroup_mma_wait(num_outstanding=1, deps=(acc,))
            mbarrier.arrive(empty.index(stage_before(index, STAGES)), pred=i > 0)
            index, phase = next_stage(index, phase, STAGES)
        acc = warpgroup_mma_wait(num_outstanding=0, deps=(acc,))
        mbarrier.arrive(empty.index(stage_before(index, STAGES)))
        # A segment belongs to one program and one unit: no two segments share a slot.
        slot = (gl.program_id(0) + tap * UNITS + unit).to(gl.int64)
        gl.store(partial + slot * (BLOCK_M * BLOCK_N) + place, acc)
        at += number


@gluon.jit
def weight_gradient_kernel(
    features,  # (T * TILE, CIN)
    lists,  # (T, 9, TILE)
    tap_tiles,  # (9, capacity)
    counts,  # (9,)
    grad,  # descriptor of (T * TILE, COUT)
    partial,  # (slots, BLOCK_M, BLOCK_N) float32
    capacity,
    CIN: gl.constexpr,
    COUT: gl.constexpr,
    TILE: gl.constexpr,
    BLOCK_M: gl.constexpr,
    BLOCK_N: gl.constexpr,
    BLOCK_R: gl.constexpr,
    STAGES: gl.constexpr,
):
    """Multiply; as `parts.weight_gradient._products`, for 16-bit features."""
    dtype: gl.constexpr = features.dtype.element_ty
    UNITS: gl.constexpr = CIN // BLOCK_N * (COUT // BLOCK_M)
    first, last, steps, programs = steps_of_program(
        counts, gl.program_id(0), gl.num_programs(0), TILE // BLOCK_R, UNITS
    )
    x_layout: gl.constexpr = gl.NVMMASharedLayout.get_default_for([BLOCK_R, BLOCK_N], dtype)
    g_layout: gl.constexpr = gl.NVMMASharedLayout.get_default_for([BLOCK_R, BLOCK_M], dtype)
    x_tiles = gl.allocate_shared_memory(dtype, [STAGES, BLOCK_R, BLOCK_N], x_layout)
    g_tiles = gl.allocate_shared_memory(dtype, [STAGES, BLOCK_R, BLOCK_M], g_layout)
    full = gl.allocate_shared_memory(gl.int64, [STAGES, 1], mbarrier.MBarrierLayout())
    empty = gl.allocate_shared_memory(gl.int64, [STAGES, 1], mbarrier.MBarrierLayout())
    for stage in gl.static_range(STAGES):
        mbarrier.init(full.index(stage), count=128 + 1)  # the producer's threads, and its TMA
        mbarrier.init(empty.index(stage), count=1)
    fence_async_shared()
    # fmt: off
    gl.warp_specialize([
        (_consume, (
            counts, partial, x_tiles, g_tiles, full, empty, first, last,
            CIN, COUT, TILE, BLOCK_M, BLOCK_N, BLOCK_R, STAGES,
        )),
        (_produce, (
            features, lists, tap_tiles, counts, grad, x_tiles, g_tiles, full, empty, capacity,
            first, last, steps, programs, CIN, COUT, TILE, BLOCK_M, BLOCK_N, BLOCK_R, STAGES,
        )),
    ], [4], [56])
    # fmt: on
