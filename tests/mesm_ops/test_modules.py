from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from mesm_ops import (
    CrossModalAttention,
    SparseBatchNorm,
    SparseCrossModalBlock,
    SparseFeatureMaps,
    SparseMaxPool2d,
    SubmConv2d,
    cross_modal_score,
    sparse_max_pool2d,
    subm_conv2d,
    top_p_select,
)
from tests.mesm_ops.cases import make_case

STATE = {
    "attention.map_proj.weight": (7, 3),
    "attention.map_proj.bias": (7,),
    "attention.query_proj.weight": (7, 6),
    "attention.score.weight": (1, 7),
    "attention.score.bias": (1,),
    "conv1.weight": (5, 3, 3, 3),
    "norm1.weight": (5,),
    "norm1.bias": (5,),
    "norm1.running_mean": (5,),
    "norm1.running_var": (5,),
    "norm1.num_batches_tracked": (),
    "conv2.weight": (5, 5, 3, 3),
    "norm2.weight": (5,),
    "norm2.bias": (5,),
    "norm2.running_mean": (5,),
    "norm2.running_var": (5,),
    "norm2.num_batches_tracked": (),
}


def block(**options: object) -> SparseCrossModalBlock:
    return SparseCrossModalBlock(3, 5, 6, 7, **options)  # type: ignore[arg-type]


def inputs() -> tuple[Tensor, Tensor, Tensor]:
    return torch.randn(4, 3, 6, 7), torch.randn(2, 6), torch.tensor([1, 3])


def test_state_names_are_the_contract() -> None:
    assert {name: tuple(t.shape) for name, t in block().state_dict().items()} == STATE
    assert set(SubmConv2d(3, 5).state_dict()) == {"weight", "bias"}
    assert set(SubmConv2d(3, 5, bias=False).state_dict()) == {"weight"}
    assert set(SparseBatchNorm(5).state_dict()) == set(nn.BatchNorm1d(5).state_dict())


def test_layers_call_their_ops(backend: str) -> None:
    x = make_case(2, 3, 5, 5, dtype=torch.float32).x
    conv = SubmConv2d(3, 5)
    nn.init.normal_(conv.bias)
    assert torch.equal(conv(x).features, subm_conv2d(x, conv.weight, conv.bias).features)
    assert torch.equal(SparseMaxPool2d()(x).features, sparse_max_pool2d(x).features)

    attention = CrossModalAttention(3, 6, 7, p=0.3, selection="hard")
    query, lengths = torch.randn(1, 6), torch.tensor([2])
    logits = cross_modal_score(
        x,
        query,
        lengths,
        attention.map_proj.weight,
        attention.map_proj.bias,
        attention.query_proj.weight,
        attention.score.weight,
        attention.score.bias,
    )
    assert torch.equal(attention.logits(x, query, lengths), logits)
    wanted = top_p_select(x, logits, 0.3, "hard")
    got = attention(x, query, lengths)
    assert torch.equal(got.features, wanted.features)
    assert torch.equal(got.mask(), wanted.mask())


@pytest.mark.parametrize("training", [True, False])
def test_forward_is_attend_then_convolve(backend: str, training: bool) -> None:
    one, other = block().train(training), block().train(training)
    other.load_state_dict(one.state_dict())
    maps, query, lengths = inputs()
    whole = one(maps, query, lengths)
    halves = other.convolve(other.attend(maps, query, lengths))
    assert torch.equal(whole.to_dense(), halves.to_dense())
    for name, value in one.state_dict().items():
        assert torch.equal(value, other.state_dict()[name]), name
    assert int(one.norm1.num_batches_tracked) == training


def test_takes_dense_and_sparse_maps_and_a_query_for_each_frame(backend: str) -> None:
    layer = block().eval()
    maps, query, lengths = inputs()
    wanted = layer(maps, query, lengths).to_dense()
    sparse = SparseFeatureMaps.from_dense(maps)
    assert torch.equal(layer(sparse, query, lengths).to_dense(), wanted)
    spread = query.repeat_interleave(lengths, 0)
    torch.testing.assert_close(layer(maps, spread).to_dense(), wanted, rtol=1e-5, atol=1e-5)


def test_attention_learns_unless_the_selection_is_hard(backend: str) -> None:
    maps, query, lengths = inputs()
    for selection in ("weighted", "hard", "straight_through"):
        layer = block(selection=selection)
        layer(maps, query, lengths).to_dense().square().sum().backward()
        for name, parameter in layer.named_parameters():
            if selection == "hard" and name.startswith("attention."):
                assert parameter.grad is None, name
            elif name == "attention.score.bias":
                # A softmax ignores a common addend of its logits: only rounding is left.
                assert parameter.grad.abs().max() < 1e-3, name
            else:
                assert parameter.grad.abs().max() > 1e-3, name


def test_p_can_be_set_and_is_checked() -> None:
    layer = block(p=0.3)
    assert layer.p == layer.attention.p == 0.3
    maps, query, lengths = inputs()
    layer.p = 1
    assert layer.attend(maps, query, lengths).mask().all()
    layer.p = 1e-6
    assert layer.attend(maps, query, lengths).mask().sum() == 4
    for p in (0, 1.5, -1, float("nan")):
        with pytest.raises(ValueError, match=r"CrossModalAttention: p must be in \(0, 1\], got"):
            layer.p = p
        with pytest.raises(ValueError, match=r"CrossModalAttention: p must be in \(0, 1\], got"):
            block(p=p)
    assert layer.p == 1e-6
    with pytest.raises(
        ValueError, match=r"selection must be 'weighted', 'hard' or 'straight_through', got 'soft'"
    ):
        block(selection="soft")


@pytest.mark.parametrize("momentum", [0.3, None])
def test_norm_is_batch_norm_where_all_rows_are_real(backend: str, momentum: float | None) -> None:
    sparse, dense = SparseBatchNorm(3, momentum=momentum), nn.BatchNorm1d(3, momentum=momentum)
    for seed in range(3):
        x = make_case(2, 3, 4, 4, dtype=torch.float32, seed=seed).x
        torch.testing.assert_close(sparse(x).features, dense(x.features), rtol=1e-5, atol=1e-5)
    for name, value in sparse.state_dict().items():
        torch.testing.assert_close(value, dense.state_dict()[name], rtol=1e-5, atol=1e-6, msg=name)
    sparse.eval()
    dense.eval()
    torch.testing.assert_close(sparse(x).features, dense(x.features), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("momentum", [0.3, None])
def test_a_batch_without_sites_teaches_nothing(backend: str, momentum: float | None) -> None:
    norm = SparseBatchNorm(3, momentum=momentum)
    empty = make_case(2, 3, 4, 4, 0.0, torch.float32, padding=3).x
    before = {name: value.clone() for name, value in norm.state_dict().items()}
    assert not norm(empty).features.any()
    for name, value in norm.state_dict().items():
        assert torch.equal(value, before[name]), name


def test_frames_without_sites_stay_empty_through_the_block(backend: str) -> None:
    mask = torch.zeros(4, 6, 7, dtype=torch.bool)
    mask[1] = True
    maps, query, lengths = inputs()
    x = SparseFeatureMaps.from_dense(maps.requires_grad_(), mask)
    out = block()(x, query, lengths)
    assert out.mask().flatten(1).any(1).tolist() == [False, True, False, False]
    out.features.sum().backward()
    assert not maps.grad[[0, 2, 3]].any()


@pytest.mark.parametrize("frames", [0, 2])
def test_nothing_at_all_passes_the_block(backend: str, frames: int) -> None:
    layer = block()
    maps = torch.randn(frames, 3, 6, 7, requires_grad=True)
    mask = torch.zeros(frames, 6, 7, dtype=torch.bool)
    x = SparseFeatureMaps.from_dense(maps, mask)
    out = layer(x, torch.randn(1, 6), torch.tensor([frames]))
    assert out.to_dense().shape == (frames, 5, 3, 3)
    out.to_dense().sum().backward()
    assert all(not p.grad.any() for p in layer.parameters())


@pytest.mark.parametrize("selection", ["weighted", "hard"])
@pytest.mark.parametrize("training", [True, False])
def test_gradcheck(backend: str, training: bool, selection: str) -> None:
    layer = SparseCrossModalBlock(2, 3, 4, 3, p=0.6, selection=selection).double().train(training)
    for norm in (layer.norm1, layer.norm2):
        nn.init.normal_(norm.bias)  # away from the ReLU's corner, where a site sees only zeros
    names = [n for n, _ in layer.named_parameters() if selection != "hard" or "attention" not in n]
    parameters = dict(layer.named_parameters())
    maps = torch.randn(2, 2, 4, 5, dtype=torch.float64, requires_grad=True)
    query = torch.randn(2, 4, dtype=torch.float64, requires_grad=selection == "weighted")

    def run(maps: Tensor, query: Tensor, *values: Tensor) -> Tensor:
        named = dict(zip(names, values, strict=True))
        return torch.func.functional_call(layer, named, (maps, query)).features

    assert torch.autograd.gradcheck(run, (maps, query, *(parameters[n] for n in names)))


def test_autocast_runs_the_block_in_low_precision(backend: str) -> None:
    layer = block(p=1).eval()  # rounded scores may keep other sites
    maps, query, lengths = inputs()
    wanted = layer(maps, query, lengths)
    with torch.autocast("cpu", torch.bfloat16):
        got = layer(maps, query, lengths)
    assert got.dtype == torch.bfloat16
    # Five roundings to bfloat16 in a row, 2^-8 each, on values up to the largest.
    error = (got.features.float() - wanted.features).abs().max()
    assert error < 5 * 2**-8 * wanted.features.abs().max()
    got.features.float().sum().backward()
    assert all(p.grad is not None and p.grad.dtype == torch.float32 for p in layer.parameters())


def test_meta_tensors_tell_the_sizes() -> None:
    with torch.device("meta"):
        out = block()(torch.randn(4, 3, 6, 7), torch.randn(4, 6))
    assert out.features.shape == (4 * 3 * 3, 5)
    assert (out.frames, out.height, out.width) == (4, 3, 3)


def test_prints_its_settings() -> None:
    text = str(block(p=0.3))
    assert "p=0.3, selection='weighted'" in text
    assert "(conv1): SubmConv2d(3, 5, bias=False)" in text
    assert "(norm2): SparseBatchNorm(5, eps=1e-05, momentum=0.1, relu=True)" in text
