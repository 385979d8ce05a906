"""Norms of one process, and of several that must agree with one."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrize

from mesm_ops import (
    SparseBatchNorm,
    SparseCrossModalBlock,
    SparseSyncBatchNorm,
    SyncBatchNorm,
    synchronise_norms,
)
from tests.mesm_ops import distributed
from tests.mesm_ops.cases import make_case


def test_several_processes_are_as_one_with_all_sites(tmp_path: Path) -> None:
    """Norms, dense and sparse, in groups of 2 and 4; steps of DDP; conversion."""
    torch.multiprocessing.spawn(distributed.run, (tmp_path,), nprocs=distributed.PROCESSES)
    assert len(list(tmp_path.glob("done*"))) == distributed.PROCESSES


def net() -> nn.Sequential:
    return nn.Sequential(
        nn.ModuleDict({"block": SparseCrossModalBlock(3, 5, 6, 4)}),
        nn.Sequential(SparseBatchNorm(5, eps=1e-3, momentum=0.2, relu=True), nn.BatchNorm2d(2)),
    )


def test_torchs_converter_synchronises_sparse_norms_wherever_they_are() -> None:
    before = net()
    before[1][0].register_forward_hook(lambda *_: None)
    norm = before[1][0]
    parameters = list(before.parameters())
    after = nn.SyncBatchNorm.convert_sync_batchnorm(before, "a group")
    block, made = after[0]["block"], after[1][0]
    assert {type(block.norm1), type(block.norm2), type(made)} == {SparseSyncBatchNorm}
    assert (made.relu, made.eps, made.momentum) == (True, 1e-3, 0.2)
    assert made.process_group == block.norm1.process_group == "a group"
    assert [id(p) for p in after.parameters()] == [id(p) for p in parameters]
    assert made.running_mean is norm.running_mean
    assert made._forward_hooks
    assert type(after[1][1]) is nn.SyncBatchNorm
    again = nn.SyncBatchNorm.convert_sync_batchnorm(after)
    assert type(again[1][0]) is SparseSyncBatchNorm
    assert again[1][0].process_group is None


def test_torchs_converter_reaches_all_names_of_a_norm() -> None:
    norm = SparseBatchNorm(5, relu=True)
    held = nn.ModuleDict({"one": norm, "between": nn.Identity(), "two": norm, "three": norm})
    after = nn.SyncBatchNorm.convert_sync_batchnorm(held, "a group")
    made = after["one"]
    assert type(made) is SparseSyncBatchNorm
    assert after["two"] is after["three"] is made
    assert (made.weight is norm.weight, made.process_group) == (True, "a group")


def test_a_sparse_norm_that_no_module_holds_is_left_to_our_own_converter() -> None:
    made = nn.SyncBatchNorm.convert_sync_batchnorm(SparseBatchNorm(3))
    with pytest.raises(AttributeError, match="are no tensor; use the layers of mesm_ops"):
        made(make_case(2, 3, 4, 5).x)
    assert type(synchronise_norms(SparseBatchNorm(3))) is SparseSyncBatchNorm


@pytest.mark.parametrize("convert", [nn.SyncBatchNorm.convert_sync_batchnorm, synchronise_norms])
def test_one_process_alone_finds_the_same_bits(convert: Any) -> None:
    block = SparseCrossModalBlock(3, 5, 6, 4)
    other = convert(copy.deepcopy(block))
    x, query = make_case(2, 3, 6, 6, dtype=torch.float32).x, torch.randn(2, 6)
    for training in (True, False):
        assert other.train(training).apart() is None
        got, wanted = other(x, query), block.train(training)(x, query)
        assert got.difference(wanted) is None
    for name, value in block.state_dict().items():
        assert torch.equal(other.state_dict()[name], value), name


def test_a_dense_norm_of_one_process_is_torchs() -> None:
    norm, torchs = SyncBatchNorm(3, momentum=0.3), nn.BatchNorm2d(3, momentum=0.3)
    x = torch.randn(4, 3, 2, 5)
    for training in (True, False):
        assert torch.equal(norm.train(training)(x), torchs.train(training)(x))
    with pytest.raises(ValueError, match=r"SyncBatchNorm: x must be \(N, 3, ...\), got \(4, 2\)"):
        norm(torch.ones(4, 2))


def test_all_norms_of_a_network_are_synchronised_or_none() -> None:
    before = net()
    after = synchronise_norms(before)
    assert after is before
    assert type(after[1][1]) is SyncBatchNorm
    assert type(after[0]["block"].norm2) is SparseSyncBatchNorm
    assert type(synchronise_norms(nn.SyncBatchNorm(3))) is SyncBatchNorm

    class Own(nn.BatchNorm2d):
        pass

    parametrised = nn.Sequential(SparseBatchNorm(3))
    parametrize.register_parametrization(parametrised[0], "weight", nn.Softplus())
    for wrong, said in (
        (nn.Sequential(nn.BatchNorm1d(3), Own(3)), "1 is Own"),
        (Own(3), "the module is Own"),
        (parametrised, "0 is ParametrizedSparseBatchNorm"),
    ):
        with pytest.raises(ValueError, match=f"^synchronise_norms: {said}; batch norms must be"):
            synchronise_norms(wrong)


def test_a_norm_that_is_held_twice_is_synchronised_once() -> None:
    norm = SparseBatchNorm(3)
    inner = nn.ModuleDict({"first": norm, "second": norm})
    after = synchronise_norms(nn.ModuleList([inner, nn.Sequential(norm), inner]))
    made = after[0]["first"]
    assert type(made) is SparseSyncBatchNorm
    assert after[0]["second"] is after[1][0] is after[2]["second"] is made


@pytest.mark.parametrize("affine", [True, False])
@pytest.mark.parametrize("tracks", [True, False])
def test_without_parameters_or_statistics(backend: str, affine: bool, tracks: bool) -> None:
    options: dict[str, Any] = {"affine": affine, "track_running_stats": tracks, "momentum": None}
    sparse, dense = SparseBatchNorm(3, **options), nn.BatchNorm1d(3, **options)
    assert set(sparse.state_dict()) == set(dense.state_dict())
    for training in (True, True, False):
        x = make_case(2, 3, 4, 4, dtype=torch.float32, seed=int(training)).x
        got, wanted = sparse.train(training)(x).features, dense.train(training)(x.features)
        torch.testing.assert_close(got, wanted, rtol=1e-5, atol=1e-5)
    for name, value in sparse.state_dict().items():
        torch.testing.assert_close(value, dense.state_dict()[name], rtol=1e-5, atol=1e-6)


def test_statistics_that_are_switched_off_are_left_alone() -> None:
    sparse, dense = SparseBatchNorm(3), nn.BatchNorm1d(3)
    sparse.track_running_stats = dense.track_running_stats = False
    x = make_case(2, 3, 4, 4, dtype=torch.float32).x
    for training in (True, False):
        got, wanted = sparse.train(training)(x).features, dense.train(training)(x.features)
        torch.testing.assert_close(got, wanted, rtol=1e-5, atol=1e-5)
    assert not sparse.running_mean.any()
    assert not sparse.num_batches_tracked


def test_other_settings_are_refused() -> None:
    for name in ("affine", "track_running_stats", "relu"):
        with pytest.raises(ValueError, match=f"SparseBatchNorm: {name} must be True or False"):
            SparseBatchNorm(3, **{name: 1})  # type: ignore[arg-type]
    assert "affine=False, track_running_stats=False, relu=False" in repr(
        SparseBatchNorm(3, affine=False, track_running_stats=False)
    )
