"""Checks that need a GPU: every backend there against float64, no waiting, graphs, repetition."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._pytree import tree_map_only

from benchmarks.calls import Call, block_calls, calls
from benchmarks.gate import full_float32
from benchmarks.inputs import block_case
from benchmarks.kept import kept_by
from benchmarks.models import EMOTIONS, SMALL_TEXT, draw_batch, model_run
from benchmarks.shapes import PAPER_BATCH, Shape
from mesm_ops import SparseCrossModalBlock, SparseFeatureMaps, backends, reference, use_backend
from mesm_ops.ops.contract import Contract
from tests.mesm_ops.block_passes import both_passes, public
from tests.mesm_ops.cases import make_case

pytestmark = pytest.mark.gpu
DEVICE = "cuda"

P = 0.45
FRAMES = 5
SHAPES = (Shape(16, 32, 8, 6), Shape(24, 40, 7, 5), Shape(64, 128, 9, 12))
DTYPES = (torch.float32, torch.bfloat16, torch.float16)
BLOCK = "sparse_cross_modal_block"
KERNELS = (  # ops, and the backend that a GPU takes
    ("cross_modal_score", "triton"),
    ("top_p_select", "cuda"),
    ("subm_conv2d", "triton"),
    ("sparse_batch_norm", "triton"),
    ("sparse_max_pool2d", "cuda"),
    (BLOCK, "triton"),
)
# Shares of an exact result, rounded once; float32 sums leave the rounding of about 1000 terms.
ROUNDING = {torch.float32: 1e-5, torch.bfloat16: 2**-8, torch.float16: 2**-11}


@pytest.fixture(autouse=True)
def no_tf32() -> Iterator[None]:
    with full_float32():
        yield


@pytest.fixture
def asynchronous() -> None:
    """Without the poisoning of fresh memory: some deterministic algorithms wait for the device."""
    torch.use_deterministic_algorithms(False)


def gpu_calls(op: str, shape: Shape, dtype: torch.dtype) -> list[Call]:
    """Return the calls of an op, forward and backward, with arguments that the reference made.

    A block's backward pass reads what the forward pass of the backend kept that a GPU takes.
    """
    if op == BLOCK:
        # Rounded scores keep other sites: in low precision all of a mask's are kept.
        p, mask = (P, None) if dtype == torch.float32 else (1.0, drawn_mask(shape))
        return list(block_calls(block_case(shape, p, dtype, FRAMES, DEVICE), dtype, mask=mask))
    with use_backend("reference"):
        every = calls(block_case(shape, P, dtype, FRAMES, DEVICE), dtype)
        return [call for call in every if call.op.removesuffix("_backward") == op]


def compared_calls(op: str, shape: Shape, dtype: torch.dtype) -> list[Call]:
    """Return the calls whose `results` to compare: a block's forward pass comes with its own."""
    return [call for call in gpu_calls(op, shape, dtype) if call.op != f"{BLOCK}_backward"]


def drawn_mask(shape: Shape) -> Tensor:
    """Return half of the sites, none in the second frame."""
    mask = torch.rand(FRAMES, shape.height, shape.width) < 0.5
    mask[1] = False
    return mask.to(DEVICE)


def results(backend: str, call: Call) -> dict[str, Tensor]:
    """Run an op, in training a block's backward pass too; return the results by name."""
    if call.op == BLOCK:
        a = call.arguments
        return public(both_passes(backend, a, gradient_of(a) if a.training else None))
    with use_backend(backend):
        found = Contract(getattr(reference, call.op)).results(call.run())
    return {"result": found} if isinstance(found, Tensor) else found._asdict()


def gradient_of(a: reference.SparseCrossModalBlock) -> Tensor:
    """Return a gradient of a block's features: the same for every dtype, and exact in each."""
    rows = min(a.features.shape[0], FRAMES * (a.height // 2) * (a.width // 2))
    generator = torch.Generator().manual_seed(5)
    drawn = torch.randint(-16, 17, (rows, a.weight2.shape[0]), generator=generator) / 8
    return drawn.to(DEVICE, a.features.dtype)


def to_double(tensor: Tensor) -> Tensor:
    return tensor.double() if tensor.is_floating_point() else tensor


def error(got: Tensor, truth: Tensor) -> float:
    """Return the largest error relative to the largest entry; infinity for NaN."""
    if not truth.numel():
        return 0.0
    scale = truth.abs().amax().clamp_min(1e-30)
    worst = float(((got.double() - truth).abs().amax() / scale).cpu())
    return worst if worst == worst else float("inf")


@pytest.mark.parametrize(("op", "backend"), KERNELS)
def test_runs_where_it_is_meant_to(op: str, backend: str) -> None:
    for call in gpu_calls(op, SHAPES[0], torch.bfloat16):
        assert backends.choose(call.op, call.arguments) == backend, call.name


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("shape", SHAPES, ids=Shape.id)
@pytest.mark.parametrize(("op", "backend"), KERNELS)
def test_equals_the_reference_in_float64(
    op: str, backend: str, shape: Shape, dtype: torch.dtype
) -> None:
    for call in compared_calls(op, shape, dtype):
        exact = Call(call.name, call.op, tree_map_only(Tensor, to_double, call.args))
        truth, plain = results("reference", exact), results("reference", call)
        got = results(backend, call)
        assert got.keys() == plain.keys()
        for name, mine in got.items():
            low, wanted, what = plain[name], truth[name], f"{call.name}, {name}"
            assert mine.shape == low.shape, what
            assert mine.dtype == low.dtype, what
            if not mine.is_floating_point():
                assert torch.equal(mine, wanted), what
                continue
            if name == "grad of score_bias":
                continue  # the softmax does not see the bias: its gradient is rounding
            # At most twice the reference's error in the same precision, and once rounding.
            allowed = 2 * error(low, wanted) + ROUNDING[dtype]
            assert error(mine, wanted) <= allowed, what


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize(("op", "backend"), KERNELS)
def test_gives_the_same_bits_twice(op: str, backend: str, dtype: torch.dtype) -> None:
    for call in compared_calls(op, SHAPES[2], dtype):
        first = results(backend, call)
        for _ in range(3):
            for name, again in results(backend, call).items():
                assert torch.equal(again, first[name]), f"{call.name}, {name}"


@pytest.mark.parametrize("op", [op for op, _ in KERNELS])
def test_opcheck(op: str) -> None:
    for call in gpu_calls(op, SHAPES[1], torch.float32):
        checks = ("test_schema", "test_faketensor")
        torch.library.opcheck(
            getattr(torch.ops.mesm_ops, call.op).default, call.args, {}, test_utils=checks
        )


def test_a_second_launch_does_as_the_first(monkeypatch: pytest.MonkeyPatch) -> None:
    from mesm_ops.triton.parts import launch
    from mesm_ops.triton.parts.norms import norm_of, norm_rows

    monkeypatch.setattr(launch, "_launches", {})
    norm = norm_of(torch.ones(64, device=DEVICE), torch.zeros(64, device=DEVICE), 1e-5)
    norm.scale.fill_(2.0)
    norm.shift.fill_(-1.0)
    norm.mean.zero_()
    norm.var.fill_(1.0)
    number = torch.tensor([200], dtype=torch.int32, device=DEVICE)
    for _ in range(3):
        x, out = torch.ones(256, 64, device=DEVICE), torch.zeros(256, 64, device=DEVICE)
        norm_rows(x, number, norm, out)
        assert (out[:200] == 1).all()
    assert len(launch._launches) == 1  # later launches went by what is remembered


def test_gradcheck_of_the_block() -> None:
    case = make_case(3, 3, 4, 5, padding=2)
    block = SparseCrossModalBlock(3, 4, 5, 3, p=0.6).double().cuda()
    x = to_cuda(case.x.with_features(case.x.features.nan_to_num()))
    query = torch.randn(3, 5, dtype=torch.float64, device="cuda", requires_grad=True)

    def run(features: Tensor, query: Tensor) -> Tensor:
        return block(x.with_features(features), query).to_dense()

    features = x.features.requires_grad_()
    # Gradients of the padding rows are zero, numerically too: nothing reads them.
    assert torch.autograd.gradcheck(run, (features, query), atol=1e-6, nondet_tol=0)


def to_cuda(x: SparseFeatureMaps) -> SparseFeatureMaps:
    return torch.utils._pytree.tree_map(lambda t: t.cuda(), x)


def make(in_channels: int = 4, out_channels: int = 6) -> tuple[Any, ...]:
    block = SparseCrossModalBlock(in_channels, out_channels, 5, 3)
    torch.nn.init.normal_(block.attention.score.weight)
    mask = torch.rand(4, 7, 8) < 0.7
    maps = SparseFeatureMaps.from_dense(torch.randn(4, in_channels, 7, 8), mask)
    return block, maps, torch.randn(2, 5), torch.tensor([1, 3])


@pytest.mark.parametrize("channels", [(4, 6), (16, 32), (64, 64)])
@pytest.mark.parametrize("training", [True, False])
def test_equals_the_cpu(channels: tuple[int, int], training: bool) -> None:
    block, maps, query, lengths = make(*channels)
    block.train(training)
    other = copy.deepcopy(block).cuda()
    wanted = block(maps, query, lengths)
    got = other(to_cuda(maps), query.cuda(), lengths.cuda())
    assert got.features.shape[0] == min(maps.features.shape[0], 4 * 3 * 4)
    assert torch.equal(got.mask().cpu(), wanted.mask())
    # Float32 through two convolutions and norms.
    torch.testing.assert_close(got.to_dense().cpu(), wanted.to_dense(), rtol=1e-4, atol=1e-5)
    wanted.to_dense().square().sum().backward()
    got.to_dense().square().sum().backward()
    for (name, a), b in zip(other.named_parameters(), block.parameters(), strict=True):
        largest = max(1.0, float(b.grad.abs().max()))
        close = {"rtol": 1e-3, "atol": 1e-3 * largest}
        torch.testing.assert_close(a.grad.cpu(), b.grad, **close, msg=name)


@pytest.mark.parametrize(
    ("frames", "density", "padding", "strided"),
    [(0, 1.0, 0, False), (3, 0.0, 4, False), (4, 0.05, 0, False), (3, 1.0, 9, True)],
    ids=["no frame", "no site", "hardly a site", "all sites, padded, strided"],
)
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_odd_inputs(
    frames: int, density: float, padding: int, strided: bool, dtype: torch.dtype
) -> None:
    case = make_case(frames, 16, 7, 5, density, dtype, padding, strided)
    block = SparseCrossModalBlock(16, 32, 5, 16, p=0.5).to(dtype)
    other, query = copy.deepcopy(block).cuda(), torch.randn(frames, 5).to(dtype)
    block.double()
    wanted = block(SparseFeatureMaps.from_dense(case.maps, case.mask), query.double()).to_dense()
    out = other(to_cuda(case.x), query.cuda())
    out.to_dense().sum().backward()
    # Two norms of few rows enlarge the rounding of their inputs.
    assert error(out.to_dense().detach().cpu(), wanted.detach()) <= 50 * ROUNDING[dtype]
    assert not out.features[int(out.offsets[-1]) :].any()


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("shape", SHAPES, ids=Shape.id)
def test_autocast_keeps_the_sites_of_the_two_halves(shape: Shape, training: bool) -> None:
    """By whichever backends run: query and parameters are rounded to the features' dtype."""
    case = block_case(shape, P, torch.float32, FRAMES, "cuda")
    block = case.block.train(training)
    given = (case.maps, case.query, case.lengths)
    with torch.set_grad_enabled(training), torch.autocast("cuda", torch.bfloat16):
        assert torch.equal(kept_by(block, *given), block.attend(*given).mask())


def whole_step(
    block: Any, maps: Tensor, query: Tensor, lengths: Tensor
) -> tuple[Tensor, list[Tensor]]:
    block.zero_grad(set_to_none=True)
    out = block(maps, query, lengths).to_dense()
    out.square().sum().backward()
    return out, [p.grad for p in block.parameters()]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_a_training_step_replays_as_it_runs(asynchronous: None, dtype: torch.dtype) -> None:
    case = block_case(SHAPES[0], P, torch.float32, FRAMES, "cuda")
    block = case.block.train()
    maps, other = case.maps.clone(), case.maps.flip(0).clone()

    def step() -> tuple[Tensor, list[Tensor]]:
        with torch.autocast("cuda", torch.bfloat16, enabled=dtype == torch.bfloat16):
            return whole_step(block, maps, case.query, case.lengths)

    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(3):
            step()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        replayed, grads = step()
    for values in (maps.clone(), other):  # other values keep other sites: same shapes
        maps.copy_(values)
        graph.replay()
        got = [replayed.clone(), *(grad.clone() for grad in grads)]
        out, eager = step()
        for a, b in zip(got, [out, *eager], strict=True):
            assert torch.equal(a, b)


def test_a_block_waits_for_nothing(asynchronous: None) -> None:
    block, maps, query, lengths = make()
    block.cuda()
    args = (to_cuda(maps).to_dense(), to_cuda(maps).mask(), query.cuda(), lengths.cuda())

    def step(dense: Tensor, mask: Tensor, *rest: Tensor) -> None:
        block(SparseFeatureMaps.from_dense(dense, mask), *rest).to_dense().sum().backward()

    step(*args)  # kernels load
    with waiting_is_an_error():
        step(*args)


@contextlib.contextmanager
def waiting_is_an_error() -> Iterator[None]:
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode("default")


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_a_training_step_of_mesm_waits_for_nothing(asynchronous: None, dtype: torch.dtype) -> None:
    from mesm.models import MESM

    model = MESM(emotions=EMOTIONS, albert=SMALL_TEXT, channels=(8, 16, 16, 32)).cuda().train()
    batch = draw_batch(replace(PAPER_BATCH, count=2)).to("cuda")
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4)
    forward_and_backward = model_run(model, batch, dtype, train=True)

    def step() -> None:
        forward_and_backward()
        optimizer.step()

    step()
    with waiting_is_an_error():
        step()
    assert all(torch.isfinite(p).all() for p in model.parameters())


@pytest.mark.parametrize("mode", ["reduce-overhead", "max-autotune"])
def test_compiles_without_a_break(asynchronous: None, mode: str) -> None:
    case = block_case(SHAPES[0], P, torch.float32, FRAMES, "cuda")
    eager = case.block.train()
    compiled_block = copy.deepcopy(eager)
    torch._dynamo.reset()
    compiled = torch.compile(compiled_block, fullgraph=True, mode=mode)
    for _ in range(3):  # warm-up, capture, replay
        torch.compiler.cudagraph_mark_step_begin()
        got, grads = whole_step(compiled, case.maps, case.query, case.lengths)
        got, grads = got.clone(), [grad.clone() for grad in grads]
        wanted, wanted_grads = whole_step(eager, case.maps, case.query, case.lengths)
    torch.testing.assert_close(got, wanted, rtol=1e-4, atol=1e-5)
    for a, b in zip(grads, wanted_grads, strict=True):
        assert error(a, b.double()) <= 1e-3
