"""Input at the edge of what the block's Triton kernels take: a right result, or an error that says.

Maps of few or no sites are in test_sparse_cross_modal_block.py, sizes that no machine here holds in
test_backends.py.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._pytree import tree_map_only

from mesm_ops import SparseCrossModalBlock, SparseFeatureMaps, use_backend
from mesm_ops.ops.block_arguments import arguments_of_block
from mesm_ops.reference import SparseCrossModalBlockResult
from tests.mesm_ops.cases import make_case

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
LENGTHS = [2, 1]


def make_block(p: float = 0.6) -> SparseCrossModalBlock:
    torch.manual_seed(0)
    block = SparseCrossModalBlock(6, 10, 5, 4, p=p)
    torch.nn.init.normal_(block.attention.score.weight)
    return block.to(DEVICE)


def make_maps(dtype: torch.dtype = torch.float32) -> SparseFeatureMaps:
    x = make_case(3, 6, 7, 5, 0.6, dtype, padding=3).x
    return tree_map_only(Tensor, lambda tensor: tensor.to(DEVICE), x)


def query() -> Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(2, 5, generator=generator).to(DEVICE)


def lengths() -> Tensor:
    return torch.tensor(LENGTHS, device=DEVICE)


def arguments_of(block: SparseCrossModalBlock) -> tuple[Any, ...]:
    x = make_maps()
    stages = tuple(
        (convolution.weight, norm.parameter_tuple(x))
        for convolution, norm in ((block.conv1, block.norm1), (block.conv2, block.norm2))
    )
    return block.attention.parameter_tuple(), stages, block.p


def step(
    backend: str, block: SparseCrossModalBlock, x: SparseFeatureMaps, asked: Tensor
) -> list[Tensor]:
    """Results and gradients of a training step."""
    block.zero_grad()
    with use_backend(backend):
        out = block(x, asked, lengths())
        real = out.features[: int(out.offsets[-1])]
        real.square().sum().backward()
    grads = [p.grad for n, p in block.named_parameters() if "score.bias" not in n]
    return [real, out.sites[: len(real)], out.offsets, *(g for g in grads if g is not None)]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda b, x: b(x, query().to("meta"), lengths()), "query must be on"),
        (lambda b, x: b(x, query(), lengths().to("meta")), "lengths must be on"),
        (lambda b, x: b.conv2.to("meta") and b(x, query(), lengths()), "weight must be on"),
        (lambda b, x: b.norm1.to("meta") and b(x, query(), lengths()), "must be on"),
        (lambda b, x: b.attention.to("meta") and b(x, query(), lengths()), "must be on"),
    ],
)
def test_a_tensor_on_another_device_is_refused(
    call: Callable[[SparseCrossModalBlock, SparseFeatureMaps], object], message: str
) -> None:
    block, x = make_block(), make_maps()
    with use_backend("triton"), pytest.raises(ValueError, match=message):
        call(block, x)


def test_a_dtype_that_no_kernel_takes_is_refused() -> None:
    block, x = make_block().double(), make_maps(torch.float64)
    with use_backend("triton"), pytest.raises(RuntimeError, match=r"it takes .*, got float64"):
        block(x, query().double(), lengths())
    with pytest.raises(ValueError, match=r"features must be one of .*, got torch\.int32"):
        SparseFeatureMaps(x.features.int(), x.sites, x.offsets, x.height, x.width)


def test_tensors_whose_rows_do_not_lie_together() -> None:
    """Views with gaps, and weights laid out otherwise, give what copies of them give."""
    block, x = make_block(), make_maps()
    wanted = step("triton", block, x, query())
    apart = torch.full((len(x.features), 12), torch.nan, device=DEVICE)
    apart[:, ::2] = x.features
    strided = SparseFeatureMaps(apart[:, ::2], x.sites, x.offsets, x.height, x.width)
    assert not strided.features.is_contiguous()
    with torch.no_grad():
        for convolution in (block.conv1, block.conv2):
            weight = convolution.weight
            convolution.weight = torch.nn.Parameter(weight.to(memory_format=torch.channels_last))
            assert not convolution.weight.is_contiguous()
        projection = block.attention.map_proj
        projection.weight = torch.nn.Parameter(projection.weight.t().contiguous().t())
        assert not projection.weight.is_contiguous()
    found = step("triton", block, strided, query().t().contiguous().t())
    for one, other in zip(found, wanted, strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize("frame", [0, 2])
def test_a_score_that_is_not_a_number_keeps_its_frame_whole(frame: int) -> None:
    """The softmax of the frame is NaN then; other frames are as they were."""
    block, x = make_block(p=0.2).eval(), make_maps()
    begin, end = x.offsets[frame : frame + 2].tolist()
    kept = []
    for value in (0.0, torch.nan):
        x.features[begin, 0] = value
        with use_backend("triton"), torch.no_grad():
            a = arguments_of_block(x, query(), lengths(), *arguments_of(block))
            out = SparseCrossModalBlockResult(*torch.ops.mesm_ops.sparse_cross_modal_block(*a))
        kept.append(out.kept_offsets.diff().tolist())
    assert kept[0][frame] < end - begin
    assert kept[1][frame] == end - begin
    for other in {0, 1, 2} - {frame}:
        assert kept[0][other] == kept[1][other]


def test_queries_that_are_not_a_number_spread_no_further_than_their_sample() -> None:
    block, x = make_block().eval(), make_maps()
    asked = query()
    asked[1] = torch.nan
    with use_backend("triton"), torch.no_grad():
        out = block(x, asked, lengths())
        clean = block(x, query(), lengths())
    end = int(out.offsets[LENGTHS[0]])
    assert end > 0
    assert torch.equal(out.features[:end], clean.features[:end])
    assert out.features[end : int(out.offsets[-1])].isnan().any()


def test_lengths_that_do_not_sum_to_the_frames_are_refused() -> None:
    with use_backend("triton"), pytest.raises(ValueError, match="sum to 3 frames"):
        make_block()(make_maps(), query(), torch.tensor([2, 2]))
