"""ONNX models of the block and of the single ops give in onnxruntime what the ops give."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from torch import Tensor, nn

import mesm_ops.onnx
from mesm_ops import CrossModalAttention, SparseCrossModalBlock, SparseFeatureMaps
from mesm_ops.onnx import OPSET, WithP

CHANNELS, DIM = 4, 5
# onnxruntime sums in another order than the kernels, all in float32.
TOLERANCE = {"rtol": 1e-5, "atol": 1e-5}
Runner = Callable[..., Tensor]


class Masked(nn.Module):
    """A block on sparse maps, from dense maps and the mask of their active sites."""

    def __init__(self, *blocks: nn.Module) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(blocks)

    def forward(self, maps: Tensor, mask: Tensor, query: Tensor, lengths: Tensor) -> Any:
        x = SparseFeatureMaps.from_dense(maps, mask)
        for block in self.blocks:
            x = block(x, query, lengths)
        return x.to_dense(), x.mask()


def make_block(inputs: int = CHANNELS, selection: str = "weighted") -> SparseCrossModalBlock:
    block = SparseCrossModalBlock(inputs, 6, DIM, 3, p=0.5, selection=selection)
    nn.init.normal_(block.attention.score.weight, std=2)
    for norm in (block.norm1, block.norm2):
        nn.init.normal_(norm.running_mean, std=0.3)
        nn.init.uniform_(norm.running_var, 0.5, 2)
        nn.init.normal_(norm.weight)
        nn.init.normal_(norm.bias)
    return block.eval()


def clips(height: int, width: int, lengths: list[int], share: float = 0.6) -> tuple[Tensor, ...]:
    frames = sum(lengths)
    maps = torch.randn(frames, CHANNELS, height, width)
    mask = torch.rand(frames, height, width) < share
    return maps, mask, torch.randn(len(lengths), DIM), torch.tensor(lengths)


AXES: dict[str, dict[int, str]] = {
    "maps": {0: "frames"},
    "mask": {0: "frames"},
    "query": {0: "clips"},
    "lengths": {0: "clips"},
}


def exported(network: nn.Module, example: tuple[Tensor, ...], axes: Any, file: Path) -> Runner:
    program = torch.onnx.export(
        network, example, dynamo=True, dynamic_shapes=axes, opset_version=OPSET, verbose=False
    )
    assert program is not None
    assert program.model.opset_imports[""] == OPSET
    program.save(file)
    session = onnxruntime.InferenceSession(file)
    names = [one.name for one in session.get_inputs()]

    def run(*given: Tensor | np.ndarray) -> list[Tensor]:
        values = dict(zip(names, map(np.asarray, given), strict=True))
        return list(map(torch.from_numpy, session.run(None, values)))

    return run


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Masked, Runner]]:
    """Two blocks in a row and their ONNX model, whose p are an input."""
    torch.manual_seed(0)
    network = Masked(make_block(), make_block(6, "hard")).eval()
    example = (*clips(7, 10, [1, 3]), torch.tensor([0.5, 0.5], dtype=torch.float64))
    axes = ((*AXES.values(), {}),)
    with torch.no_grad():
        yield network, exported(WithP(network), example, axes, tmp_path_factory.mktemp("o") / "x")


def check(two: tuple[Masked, Runner], given: tuple[Tensor, ...], p: tuple[float, float]) -> None:
    network, run = two
    for block, share in zip(network.blocks, p, strict=True):
        block.p = share
    with torch.no_grad():
        wanted, mask = network(*given)
    got, active = run(*given, np.array(p))
    assert torch.equal(active, mask)
    torch.testing.assert_close(got, wanted, **TOLERANCE)


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("p", [(0.5, 0.5), (1.0, 1.0), (0.05, 0.9), (1e-6, 1.0)])
def test_random_clips_with_any_p(
    two: tuple[Masked, Runner], seed: int, p: tuple[float, float]
) -> None:
    torch.manual_seed(seed)
    lengths = torch.randint(0, 5, (3,)).tolist()
    lengths[seed % 3] += 1
    check(two, clips(7, 10, lengths, share=float(torch.rand(()))), p)


@pytest.mark.parametrize("p", [(0.5, 0.5), (1.0, 1.0)])
def test_frames_of_no_one_and_all_sites(two: tuple[Masked, Runner], p: tuple[float, float]) -> None:
    given = clips(7, 10, [2, 20, 0])
    mask = given[1]
    mask[:4], mask[4:8] = False, True
    mask[8:12] = False
    mask[8:12, 3, 5] = True
    check(two, given, p)
    mask[:] = False
    check(two, given, p)


def test_equal_scores_keep_the_lower_sites(two: tuple[Masked, Runner]) -> None:
    network, _ = two
    given = clips(7, 10, [9])
    given[0][:] = given[0][:1, :, :1, :1]  # all sites are the same
    check(two, given, (0.5, 0.37))
    half = SparseFeatureMaps.from_dense(given[0][:1])
    with torch.no_grad():  # `check` left the blocks' p at its own
        kept = network.blocks[0].attend(half, given[2], torch.tensor([1])).sites
    assert kept.tolist() == list(range(35))


def test_a_frame_whose_scores_are_nan_keeps_all(two: tuple[Masked, Runner]) -> None:
    given = clips(7, 10, [2, 3], share=1)
    given[0][1, 0, 2, 2] = torch.nan
    _, run = two
    _, active = run(*given, np.array([1e-6, 1.0]))
    assert active[1].all()
    others = active.flatten(1).sum(1)[[0, 2, 3, 4]]
    assert others.max() == 1  # 0 where the pool of an odd size leaves the one kept site out


@pytest.mark.parametrize("p", [0.0, -1.0, 1.01, float("nan")])
def test_a_share_that_is_none_gives_no_numbers(two: tuple[Masked, Runner], p: float) -> None:
    _, run = two
    got, _ = run(*clips(7, 10, [2, 3]), np.array([0.5, p]))
    assert got.isnan().all()


def test_a_plain_export_knows_the_ops(tmp_path: Path) -> None:
    """The fused block on dense maps of odd size, straight through, one query per frame."""
    block = make_block(selection="straight_through")

    class Dense(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.block = block

        def forward(self, maps: Tensor, query: Tensor) -> Tensor:
            return self.block(maps, query).to_dense()

    axes = {"maps": {0: "frames"}, "query": {0: "frames"}}
    network = Dense().eval()
    example = (torch.randn(3, CHANNELS, 5, 9), torch.randn(3, DIM))
    run = exported(network, example, axes, tmp_path / "block.onnx")
    for frames in (1, 2, 30):
        given = torch.randn(frames, CHANNELS, 5, 9), torch.randn(frames, DIM)
        with torch.no_grad():
            torch.testing.assert_close(run(*given)[0], network(*given), **TOLERANCE)


def test_training_is_refused_by_the_op() -> None:
    a = mesm_ops.reference.SparseBatchNorm(*[torch.ones(2, 2)] * 6, True, 1e-5, False)
    with pytest.raises(ValueError, match=r"sparse_batch_norm: ONNX .* give norms running stat"):
        mesm_ops.onnx._sparse_batch_norm(a)
    with pytest.raises(ValueError, match=r"WithP: ONNX .* call eval\(\) first"):
        WithP(make_block().train())


def test_with_p_wants_an_attention_and_leaves_the_network_as_it_was() -> None:
    with pytest.raises(ValueError, match="WithP: Linear has no CrossModalAttention"):
        WithP(nn.Linear(1, 1).eval())
    block = make_block()
    maps, _, query, lengths = clips(4, 5, [2, 1])
    wrapped = WithP(block)
    assert wrapped.shares == [0.5]
    with torch.no_grad():
        found = wrapped(maps, query, lengths, torch.tensor([1.0]))
        assert int(found.mask().sum()) == 3 * 2 * 2
    assert "forward" not in vars(block)
    assert "forward" not in vars(block.attention)


def test_p_is_the_inputs_whatever_classes_override() -> None:
    class Quiet(SparseCrossModalBlock):
        def forward(self, *given: Any, **named: Any) -> Any:
            x = super().forward(*given, **named)
            return x.with_features(x.features * 0)

    class Own(CrossModalAttention):
        def forward(self, *given: Any, **_: Any) -> Any:
            return given[0]

    maps, _, query, lengths = clips(4, 5, [2, 1])
    all_of_them = torch.tensor([1.0], dtype=torch.float64)
    block = Quiet(CHANNELS, 6, DIM, 3, p=0.1).eval()
    with torch.no_grad():
        found = WithP(block)(maps, query, lengths, all_of_them)
    assert int(found.mask().sum()) == 3 * 2 * 2
    assert not found.features.any()
    with pytest.raises(ValueError, match=r"WithP: p must be \(1,\), one for each .* got \(2,\)"):
        WithP(block)(maps, query, lengths, torch.ones(2))
    block.attention = Own(CHANNELS, DIM, 3).eval()
    with pytest.raises(ValueError, match="WithP: Own has a forward of its own, which takes no p"):
        WithP(block)


def test_torch_compile_takes_the_ops_where_ci_is_set(monkeypatch: pytest.MonkeyPatch) -> None:
    """There torch refuses to compile an op of which it knows a decomposition."""
    monkeypatch.setenv("CI", "true")
    network = Masked(make_block())
    given = clips(4, 4, [2])
    compiled = torch.compile(network, fullgraph=True)
    uncached = torch._inductor.config.patch(force_disable_caches=True)
    with torch.no_grad(), uncached:
        wanted, mask = network(*given)
        found, found_mask = compiled(*given)
    assert torch.equal(found_mask, mask)
    torch.testing.assert_close(found, wanted, **TOLERANCE)
