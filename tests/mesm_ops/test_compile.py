"""SparseCrossModalBlock under torch.compile and torch.export gives the eager result."""

from __future__ import annotations

import copy
import io

import pytest
import torch
from torch import Tensor

from mesm_ops import SparseCrossModalBlock, SparseFeatureMaps, use_backend


def make_block() -> SparseCrossModalBlock:
    block = SparseCrossModalBlock(4, 6, 5, 3, p=0.5)
    torch.nn.init.normal_(block.attention.score.weight)
    return block


def inputs() -> tuple[Tensor, Tensor, Tensor]:
    maps = torch.randn(4, 4, 7, 8, requires_grad=True)
    return maps, torch.randn(2, 5, requires_grad=True), torch.tensor([1, 3])


def assert_same(got: SparseFeatureMaps, wanted: SparseFeatureMaps) -> None:
    """Other sizes, the same maps: compiled graphs keep padding rows."""
    assert torch.equal(got.mask(), wanted.mask())
    # Inductor may fuse torch's ops around ours; float32's rounding, once or twice.
    torch.testing.assert_close(got.to_dense(), wanted.to_dense(), rtol=1e-5, atol=1e-6)


def train_step(
    block: torch.nn.Module, maps: Tensor, query: Tensor, lengths: Tensor
) -> tuple[SparseFeatureMaps, list[Tensor]]:
    out = block(maps, query, lengths)
    out.to_dense().square().mean().backward()
    return out, [maps.grad, query.grad, *(p.grad for p in block.parameters())]


@pytest.mark.parametrize("dynamic", [None, True])
def test_compiled_training_equals_eager(backend: str, dynamic: bool | None) -> None:
    eager = make_block()
    compiled = copy.deepcopy(eager)
    # Inductor once; the rest of the stack alone for dynamic shapes.
    stack = "aot_eager" if dynamic or backend == "reference" else "inductor"
    runner = torch.compile(compiled, fullgraph=True, dynamic=dynamic, backend=stack)
    for frames in (4, 3) if dynamic else (4,):
        maps, query, _ = inputs()
        maps = maps[:frames].detach().requires_grad_()
        lengths = torch.tensor([1, frames - 1])
        other = (maps.detach().requires_grad_(), query.detach().requires_grad_(), lengths)
        eager.zero_grad()
        compiled.zero_grad()
        wanted, wanted_grads = train_step(eager, maps, query, lengths)
        got, grads = train_step(runner, *other)
        assert got.features.shape[0] == frames * 3 * 4  # of shapes alone
        assert_same(got, wanted)
        for grad, wanted_grad in zip(grads, wanted_grads, strict=True):
            torch.testing.assert_close(grad, wanted_grad, rtol=1e-4, atol=1e-6)
    for name, value in eager.state_dict().items():  # the running statistics moved alike
        torch.testing.assert_close(compiled.state_dict()[name], value, rtol=1e-5, atol=1e-6)


def test_compiled_inference_takes_sparse_maps_and_a_new_p(backend: str) -> None:
    block = make_block().eval()
    runner = torch.compile(block, fullgraph=True, backend="aot_eager")
    maps, query, lengths = inputs()
    mask = torch.rand(4, 7, 8) < 0.6
    x = SparseFeatureMaps.from_dense(maps.detach(), mask)
    with torch.no_grad():
        for p in (0.5, 0.9):
            block.p = p
            assert_same(runner(x, query, lengths), block(x, query, lengths))


def test_compiled_graphs_ask_for_their_backend_and_check_lengths_when_they_run() -> None:
    block = make_block().eval()
    runner = torch.compile(block, fullgraph=True, backend="aot_eager")
    maps, query, lengths = inputs()
    with torch.no_grad():
        runner(maps, query, lengths)
        with use_backend("cuda"), pytest.raises(RuntimeError, match="'cuda' cannot run"):
            runner(maps, query, lengths)
        with pytest.raises(ValueError, match=r"lengths must .* sum to 4 frames, got \[1, 2\]"):
            runner(maps, query, torch.tensor([1, 2]))


def test_compiled_autocast_equals_eager(backend: str) -> None:
    block = make_block().eval()
    maps, query, lengths = inputs()

    def run(maps: Tensor, query: Tensor) -> SparseFeatureMaps:
        with torch.autocast("cpu", torch.bfloat16):
            return block(maps, query, lengths)

    runner = torch.compile(run, fullgraph=True, backend="aot_eager")
    with torch.no_grad():
        got, wanted = runner(maps, query), run(maps, query)
    assert got.dtype == wanted.dtype == torch.bfloat16
    assert torch.equal(got.to_dense(), wanted.to_dense())


@pytest.mark.parametrize("sparse", [True, False])
def test_exported_equals_eager_after_saving_and_loading(backend: str, sparse: bool) -> None:
    block = make_block().eval()
    maps, query, lengths = inputs()
    args = (maps.detach(), query.detach(), lengths)
    if sparse:
        mask = torch.rand(4, 7, 8) < 0.6
        args = (SparseFeatureMaps.from_dense(args[0], mask), *args[1:])
    program = torch.export.export(block, args)
    file = io.BytesIO()
    torch.export.save(program, file)
    file.seek(0)
    with torch.no_grad():
        wanted = block(*args)
        assert_same(program.module()(*args), wanted)
        assert_same(torch.export.load(file).module()(*args), wanted)
