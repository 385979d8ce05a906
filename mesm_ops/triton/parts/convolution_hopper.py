# mypy: allow-untyped-defs
"""The convolution of `parts.convolution` for Hopper GPUs, in Gluon.

A program has a producer and a consumer warpgroup, and two programs share a multiprocessor: the
products of one run while the other's results leave. The producer gathers rows by `cp.async` and
fetches weights by TMA into a ring of stages; the consumer multiplies by `wgmma` from there. After
the steps of each tile one stage is left out, in which the consumer puts the result for a TMA store.

The kernel is for Triton 3.6, whose Gluon is experimental: names move between versions.
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

from .tiles import taps_of

__all__ = ["convolve_kernel", "next_stage", "stage_before"]


@gluon.jit
def next_stage(index, phase, STAGES: gl.constexpr):
    """Return the stage after this one, and the phase of its barriers."""
    index += 1
    wraps = index == STAGES
    return gl.where(wraps, 0, index), gl.where(wraps, phase ^ 1, phase)


@gluon.jit
def stage_before(index, STAGES: gl.constexpr):
    """Return the stage before this one.

    Triton 3.6 miscompiles a loop that carries the index of the stage before and is entered with
    both indices equal: the carried index never changes. Hence the index is computed.
    """
    return gl.where(index == 0, STAGES - 1, index - 1)


@gluon.constexpr_function
def stride_of(tile, block_n):
    """Return how many tiles of rows a stage takes up: two where a result needs them."""
    return 2 if block_n == tile else 1


@gluon.jit
def _produce(
    features,
    lists,
    masks,
    weight,
    before,
    x_tiles,
    w_tiles,
    y_tiles,
    full,
    empty,
    tiles,
    tiles_n,
    CIN: gl.constexpr,
    COUT: gl.constexpr,
    TURNED: gl.constexpr,
    EPILOGUE: gl.constexpr,
    TILE: gl.constexpr,
    BLOCK_N: gl.constexpr,
    BLOCK_K: gl.constexpr,
    STAGES: gl.constexpr,
):
    layout: gl.constexpr = gl.BlockedLayout([1, 8], [4, 8], [4, 1], [1, 0])
    STRIDE: gl.constexpr = stride_of(TILE, BLOCK_N)
    BLOCKS: gl.constexpr = CIN // BLOCK_K
    k = gl.arange(0, BLOCK_K, layout=gl.SliceLayout(0, layout))
    lane = gl.arange(0, TILE, layout=gl.SliceLayout(1, layout))
    index = 0
    phase = 1
    tile = gl.program_id(0)
    # The list of the next tap is under way while the rows of this tap are fetched.
    m = gl.where(tile < tiles, tile // tiles_n, 0)
    word = taps_of(gl.load(masks + m))
    tap = ((word >> 4) & 15).to(gl.int32)
    rows = gl.load(lists + (m * 9 + tap) * TILE + lane)
    while tile < tiles:
        n = tile % tiles_n
        m = tile // tiles_n
        later = tile + gl.num_programs(0)
        m_later = gl.where(later < tiles, later // tiles_n, m)
        word_later = taps_of(gl.load(masks + m_later))
        count = (word & 15).to(gl.int32)
        for t in range(0, count):
            o = tap
            fetched = rows
            last = t + 1 == count
            tap = (gl.where(last, word_later >> 4, word >> (4 * (t + 2))) & 15).to(gl.int32)
            rows = gl.load(lists + (gl.where(last, m_later, m) * 9 + tap) * TILE + lane)
            place = gl.maximum(fetched, 0).to(gl.int64) * CIN
            at = features + gl.expand_dims(place, 1) + gl.expand_dims(k, 0)
            known = gl.expand_dims(fetched >= 0, 1)
            for b in gl.static_range(BLOCKS):
                mbarrier.wait(empty.index(index), phase)
                arrived = full.index(index)
                mbarrier.expect(arrived, BLOCK_K * BLOCK_N * 2)
                w_tile = w_tiles.index(STRIDE * index + STRIDE - 1)
                if TURNED:
                    corner = [(8 - o) * COUT + n * BLOCK_N, b * BLOCK_K]
                else:
                    corner = [o * CIN + b * BLOCK_K, n * BLOCK_N]
                tma.async_copy_global_to_shared(weight, corner, arrived, w_tile)
                async_copy.async_copy_global_to_shared(
                    x_tiles.index(STRIDE * index), at + b * BLOCK_K, mask=known
                )
                async_copy.mbarrier_arrive(arrived, increment_count=False)
                index, phase = next_stage(index, phase, STAGES)
        if EPILOGUE == 3:
            mbarrier.wait(empty.index(index), phase)
            mbarrier.expect(full.index(index), TILE * BLOCK_N * 2)
            corner = [m * TILE, n * BLOCK_N]
            tma.async_copy_global_to_shared(before, corner, full.index(index), y_tiles.index(index))
            async_copy.mbarrier_arrive(full.index(index), increment_count=False)
            index, phase = next_stage(index, phase, STAGES)
        mbarrier.wait(empty.index(index), phase)  # the stage of the result
        mbarrier.expect(full.index(index), 0)
        async_copy.mbarrier_arrive(full.index(index), increment_count=False)
        index, phase = next_stage(index, phase, STAGES)
        tile = later
        word = word_later


@gluon.jit
def _consume(
    masks,
    out,
    x_tiles,
    w_tiles,
    y_tiles,
    full,
    empty,
    scale,
    shift,
    middle,
    partial,
    tiles,
    tiles_n,
    CIN: gl.constexpr,
    COUT: gl.constexpr,
    TURNED: gl.constexpr,
    EPILOGUE: gl.constexpr,
    TILE: gl.constexpr,
    BLOCK_N: gl.constexpr,
    BLOCK_K: gl.constexpr,
    STAGES: gl.constexpr,
):
    dtype: gl.constexpr = out.dtype
    product: gl.constexpr = gl.NVMMADistributedLayout(
        version=[3, 0], warps_per_cta=[4, 1], instr_shape=[16, BLOCK_N, 16]
    )
    # The stored results are summed over rows, in a layout that gives a thread eight columns.
    by_rows: gl.constexpr = gl.BlockedLayout([1, 8], [256 // BLOCK_N, BLOCK_N // 8], [4, 1], [1, 0])
    PART: gl.constexpr = 4 * (256 // BLOCK_N)  # rows at a time, one for each thread
    STRIDE: gl.constexpr = stride_of(TILE, BLOCK_N)
    BLOCKS: gl.constexpr = CIN // BLOCK_K
    # A program's tiles are all of the same columns, so that its sums are complete at its end.
    column = gl.program_id(0) % tiles_n * BLOCK_N
    column += gl.arange(0, BLOCK_N, layout=gl.SliceLayout(0, by_rows))
    if EPILOGUE >= 2:
        first_sum = gl.zeros((PART, BLOCK_N), gl.float32, layout=by_rows)
        second_sum = gl.zeros((PART, BLOCK_N), gl.float32, layout=by_rows)
    index = 0
    phase = 0
    leaving = False  # whether the result of the tile before may still be read by its store
    tile = gl.program_id(0)
    mask = gl.load(masks + gl.where(tile < tiles, tile // tiles_n, 0))
    while tile < tiles:
        n = tile % tiles_n
        m = tile // tiles_n
        later = tile + gl.num_programs(0)
        mask_later = gl.load(masks + gl.where(later < tiles, later // tiles_n, m))
        steps = (taps_of(mask) & 15).to(gl.int32) * BLOCKS
        acc = gl.zeros((TILE, BLOCK_N), gl.float32, layout=product)
        for s in range(0, steps):
            mbarrier.wait(full.index(index), phase)
            w_tile = w_tiles.index(STRIDE * index + STRIDE - 1)
            if TURNED:
                w_tile = w_tile.permute((1, 0))
            acc = warpgroup_mma(x_tiles.index(STRIDE * index), w_tile, acc, is_async=True)
            if s == 0:
                tma.store_wait(0)
            acc = warpgroup_mma_wait(num_outstanding=1, deps=(acc,))
            # In the first step the stage before is that of the previous tile's result.
            mbarrier.arrive(empty.index(stage_before(index, STAGES)), pred=(s > 0) | leaving)
            index, phase = next_stage(index, phase, STAGES)
        acc = warpgroup_mma_wait(num_outstanding=0, deps=(acc,))
        mbarrier.arrive(empty.index(stage_before(index, STAGES)))
        compared = index
        if EPILOGUE == 3:
            mbarrier.wait(full.index(index), phase)
            index, phase = next_stage(index, phase, STAGES)
        mbarrier.wait(full.index(index), phase)
        y_tile = y_tiles.index(index)
        if EPILOGUE == 1:
            c = n * BLOCK_N + gl.arange(0, BLOCK_N, layout=gl.SliceLayout(0, product))
            acc = acc * gl.expand_dims(gl.load(scale + c), 0)
            acc += gl.expand_dims(gl.load(shift + c), 0)
            acc = gl.where(acc <= 0, 0.0, acc)  # NaN stays
        y_tile.store(acc.to(dtype))
        fence_async_shared()
        tma.async_copy_shared_to_global(out, [m * TILE, n * BLOCK_N], y_tile)
        if EPILOGUE == 2:  # rows of the tile beyond the last row are zero
            for part in gl.static_range(TILE // PART):
                y = y_tile.slice(part * PART, PART).load(by_rows).to(gl.float32)
                first_sum += y
                second_sum += y * y
        if EPILOGUE == 3:
            factor = gl.expand_dims(gl.load(scale + column), 0)
            added = gl.expand_dims(gl.load(shift + column), 0)
            mean = gl.expand_dims(gl.load(middle + column), 0)
            x_tile = y_tiles.index(compared)
            for part in gl.static_range(TILE // PART):
                y = y_tile.slice(part * PART, PART).load(by_rows).to(gl.float32)
                x = x_tile.slice(part * PART, PART).load(by_rows).to(gl.float32)
                y = gl.where(x * factor + added <= 0, 0.0, y)
                first_sum += y
                second_sum += y * (x - mean)
            mbarrier.arrive(empty.index(compared))
        leaving = True
        index, phase = next_stage(index, phase, STAGES)
        tile = later
        mask = mask_later
    if EPILOGUE >= 2:
        line = partial + gl.program_id(0) // tiles_n * (2 * COUT) + column
        gl.store(line, gl.sum(first_sum, axis=0))
        gl.store(line + COUT, gl.sum(second_sum, axis=0))
    tma.store_wait(0)


@gluon.jit
def convolve_kernel(
    features,  # (T * TILE, CIN)
    lists,  # (T, 9, TILE)
    masks,  # (T,)
    weight,  # descriptor of (9 * CIN, COUT); TURNED: of (9 * COUT, CIN)
    out,  # descriptor of (T * TILE, COUT)
    before,  # descriptor of (T * TILE, COUT); read by epilogue 3 alone
    number,  # (1,) how many rows there are
    scale,  # (COUT,) float32; read by epilogues 1 and 3
    shift,
    middle,  # (COUT,) float32; read by epilogue 3
    partial,  # (programs // tiles_n, 2, COUT) float32; written by epilogues 2 and 3
    tiles_n,  # COUT // BLOCK_N, of which the number of programs is a multiple
    CIN: gl.constexpr,
    COUT: gl.constexpr,
    TURNED: gl.constexpr,
    EPILOGUE: gl.constexpr,
    TILE: gl.constexpr,
    BLOCK_N: gl.constexpr,
    BLOCK_K: gl.constexpr,
    STAGES: gl.constexpr,
):
    """Convolve as `parts.convolution.convolve`, for 16-bit features."""
    dtype: gl.constexpr = features.dtype.element_ty
    tiles = (gl.load(number) + TILE - 1) // TILE * tiles_n
    x_shape: gl.constexpr = [STAGES * stride_of(TILE, BLOCK_N), TILE, BLOCK_K]
    w_shape: gl.constexpr = weight.block_type.shape
    x_layout: gl.constexpr = gl.NVMMASharedLayout.get_default_for([TILE, BLOCK_K], dtype)
    x_tiles = gl.allocate_shared_memory(dtype, x_shape, x_layout)
    if BLOCK_N == TILE:  # a result takes the place of the rows and of the weights behind them
        y_layout: gl.constexpr = gl.NVMMASharedLayout.get_default_for([TILE, BLOCK_N], dtype)
        w_tiles = x_tiles._reinterpret(dtype, [2 * STAGES] + w_shape, weight.layout)  # noqa: RUF005
        y_tiles = x_tiles._reinterpret(dtype, [STAGES, TILE, BLOCK_N], y_layout)
    else:  # a result takes the place of the rows, which have as many columns
        w_tiles = gl.allocate_shared_memory(dtype, [STAGES] + w_shape, weight.layout)  # noqa: RUF005
        y_tiles = x_tiles
    full = gl.allocate_shared_memory(gl.int64, [STAGES, 1], mbarrier.MBarrierLayout())
    empty = gl.allocate_shared_memory(gl.int64, [STAGES, 1], mbarrier.MBarrierLayout())
    for stage in gl.static_range(STAGES):
        mbarrier.init(full.index(stage), count=128 + 1)  # the producer's threads, and its TMA
        mbarrier.init(empty.index(stage), count=1)
    fence_async_shared()
    # fmt: off
    gl.warp_specialize([
        (_consume, (
            masks, out, x_tiles, w_tiles, y_tiles, full, empty, scale, shift, middle, partial,
            tiles, tiles_n, CIN, COUT, TURNED, EPILOGUE, TILE, BLOCK_N, BLOCK_K, STAGES,
        )),
        (_produce, (
            features, lists, masks, weight, before, x_tiles, w_tiles, y_tiles, full, empty, tiles,
            tiles_n, CIN, COUT, TURNED, EPILOGUE, TILE, BLOCK_N, BLOCK_K, STAGES,
        )),
    ], [4], [56])
    # fmt: on
