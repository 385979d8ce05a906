"""Runs by processes of one group, each of which compares with what one process would find."""

from __future__ import annotations

import copy
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.nn.parallel import DistributedDataParallel

from mesm_ops import (
    SparseBatchNorm,
    SparseCrossModalBlock,
    SparseFeatureMaps,
    SparseSyncBatchNorm,
    SyncBatchNorm,
    explain,
    synchronise_norms,
)
from tests.mesm_ops.cases import make_case

PROCESSES = 4
# The group of 2 is the first two processes; the others form one of their own.
CLOSE = {
    torch.float64: {"rtol": 1e-12, "atol": 1e-12},
    torch.float32: {"rtol": 1e-5, "atol": 1e-5},
}
FRAMES = (3, 2, 0, 1)


def run(rank: int, folder: Path) -> None:
    torch.set_num_threads(1)
    dist.init_process_group(
        "gloo",
        init_method=f"file://{folder / 'meet'}",
        rank=rank,
        world_size=PROCESSES,
        timeout=timedelta(seconds=120),
    )
    pairs = [dist.new_group([0, 1]), dist.new_group([2, 3])]
    for group, ranks in (
        (None, range(4)),
        (pairs[rank // 2], range(rank // 2 * 2, rank // 2 * 2 + 2)),
    ):
        here = Here(rank - ranks[0], list(ranks), group)
        for dtype in CLOSE:
            sparse_norms(here, dtype)
            dense_norms(here, dtype)
    here = Here(rank, list(range(4)), None)
    nobody_has_a_site(here)
    a_copy_keeps_its_group(pairs[rank // 2])
    for way in (
        nn.SyncBatchNorm.convert_sync_batchnorm,
        lambda net: synchronise_norms(net, dist.group.WORLD),
    ):
        a_step_of_data_parallel_is_one_of_all(here, way)
    a_compiled_norm(here)
    a_sharded_network_is_the_whole()
    dist.barrier()
    dist.destroy_process_group()
    (folder / f"done{rank}").touch()


class Here:
    """This process's place in a group."""

    def __init__(self, rank: int, ranks: list[int], group: Any) -> None:
        self.rank, self.ranks, self.group = rank, ranks, group

    def summed(self, tensor: Tensor) -> Tensor:
        tensor = tensor.clone()
        dist.all_reduce(tensor, group=self.group)
        return tensor


def maps_of(rank: int, dtype: torch.dtype, shift: float = 3.0) -> SparseFeatureMaps:
    """Process 1 has frames without sites, process 2 no frames; all have NaN in their padding."""
    density = 0.0 if rank == 1 else 0.5
    x = make_case(FRAMES[rank], 3, 4, 5, density, torch.float64, padding=2, seed=rank).x
    return x.with_features((x.features * (rank + 1) + shift).to(dtype))


def assert_close(got: Tensor, wanted: Tensor, dtype: torch.dtype) -> None:
    torch.testing.assert_close(got, wanted, **CLOSE[dtype])


def same_state(got: nn.Module, wanted: nn.Module, dtype: torch.dtype) -> None:
    for name, value in wanted.state_dict().items():
        assert_close(got.state_dict()[name], value, dtype)


def weigh(features: Tensor) -> Tensor:
    """A loss that cares for every element."""
    row = torch.arange(features.numel(), dtype=features.dtype).reshape(features.shape)
    return (features * torch.sin(row) + features.square()).sum()


def sparse_norms(here: Here, dtype: torch.dtype) -> None:
    for relu, momentum, kept in ((True, 0.3, True), (False, None, True), (True, 0.1, False)):
        made = SparseBatchNorm(3, momentum=momentum, relu=relu, track_running_stats=kept)
        nn.init.normal_(made.weight, generator=torch.Generator().manual_seed(1))
        nn.init.normal_(made.bias, generator=torch.Generator().manual_seed(2))
        whole = made.to(dtype)
        own = synchronise_norms(copy.deepcopy(whole), here.group)
        assert type(own) is SparseSyncBatchNorm
        for _ in range(2):
            every = [maps_of(rank, dtype) for rank in here.ranks]
            for x in every:
                x.features.requires_grad_()
            wanted = whole(SparseFeatureMaps.cat(every))
            pieces = wanted.split([x.frames for x in every])
            sum(weigh(piece.features) for piece in pieces).backward()
            x = maps_of(here.ranks[here.rank], dtype)
            x.features.requires_grad_()
            got = own(x)
            real = int(x.offsets[-1])
            weigh(got.features[:real]).backward()
            assert got.difference(pieces[here.rank], **CLOSE[dtype]) is None
            assert not got.features[real:].any()
            gradient = x.features.grad
            assert_close(gradient[:real], every[here.rank].features.grad[:real], dtype)
            assert not gradient[real:].any()
        for parameter, of_all in zip(own.parameters(), whole.parameters(), strict=True):
            assert_close(here.summed(parameter.grad), of_all.grad, dtype)
        same_state(own, whole, dtype)
        if kept:
            own.eval()
            whole.eval()
            assert own(x).difference(whole(x), **CLOSE[dtype]) is None


def dense_norms(here: Here, dtype: torch.dtype) -> None:
    sizes = [FRAMES[rank] for rank in here.ranks]
    every = torch.randn(
        sum(sizes), 3, 4, 5, dtype=dtype, generator=torch.Generator().manual_seed(3)
    )
    every = (every + 2).requires_grad_()
    whole = nn.BatchNorm2d(3, momentum=0.2).to(dtype)
    own = synchronise_norms(copy.deepcopy(whole), here.group)
    assert type(own) is SyncBatchNorm
    x = every.detach().split(sizes)[here.rank].clone().requires_grad_()
    wanted = whole(every).split(sizes)
    sum(weigh(piece) for piece in wanted).backward()
    got = own(x)
    assert got.shape == x.shape
    weigh(got).backward()
    assert_close(got, wanted[here.rank], dtype)
    assert_close(x.grad, every.grad.split(sizes)[here.rank], dtype)
    assert_close(here.summed(own.weight.grad), whole.weight.grad, dtype)
    assert_close(here.summed(own.bias.grad), whole.bias.grad, dtype)
    same_state(own, whole, dtype)


def nobody_has_a_site(here: Here) -> None:
    for momentum in (0.1, None):
        norm = SparseSyncBatchNorm(3, momentum=momentum)
        before = copy.deepcopy(norm)
        x = make_case(here.rank, 3, 4, 5, 0.0, torch.float32, padding=2).x
        x.features.requires_grad_()
        out = norm(x).features
        assert not out.any()
        out.sum().backward()
        assert not x.features.grad.any()
        same_state(norm, before, torch.float32)


def a_copy_keeps_its_group(group: Any) -> None:
    net = nn.Sequential(SparseSyncBatchNorm(3, process_group=group), SyncBatchNorm(3))
    copied = copy.deepcopy(net)
    assert copied[0].process_group is group
    assert copied[1].process_group is None
    assert copied[0].weight is not net[0].weight


class Net(nn.Module):
    """A dense stage, two blocks and a classifier."""

    def __init__(self) -> None:
        super().__init__()
        self.stage = nn.Sequential(nn.Conv2d(2, 3, 3, padding=1), nn.BatchNorm2d(3), nn.ReLU())
        self.block1 = SparseCrossModalBlock(3, 4, 5, 3, p=0.7)
        self.block2 = SparseCrossModalBlock(4, 4, 5, 3, p=0.7, pool=False)
        self.classify = nn.Linear(4, 2)

    def forward(self, frames: Tensor, query: Tensor, lengths: Tensor) -> Tensor:
        x = self.block2(self.block1(self.stage(frames), query, lengths), query, lengths)
        # A clip's mean over its frames, zero without any.
        sums = x.to_dense().sum((2, 3))
        clip = torch.bucketize(torch.arange(len(sums)), lengths.cumsum(0), right=True)
        clips = sums.new_zeros(len(lengths), 4).index_add(0, clip, sums)
        return self.classify(clips / lengths.clamp(min=1)[:, None])


LENGTHS = ([2, 3], [0, 1], [0, 0], [4, 1])  # clips of process 2 have no frames


def a_step_of_data_parallel_is_one_of_all(here: Here, convert: Any) -> None:
    torch.manual_seed(5)
    whole = Net().double()
    # The dense norm as torch has it refuses CPU tensors.
    own = copy.deepcopy(whole)
    own.block1, own.block2 = convert(own.block1), convert(own.block2)
    own.stage = synchronise_norms(own.stage)
    assert {type(own.block1.norm1), type(own.block2.norm2)} == {SparseSyncBatchNorm}
    assert own.block1.norm1.relu
    said = explain(own.block1)
    assert said.startswith(
        "SparseCrossModalBlock: part by part, as its norms take the statistics of several"
    )
    assert explain(own.eval().block1).startswith("SparseCrossModalBlock: one op")
    parallel = DistributedDataParallel(own.train())
    lengths = [torch.tensor(of_one) for of_one in LENGTHS]
    sizes = [int(of_one.sum()) for of_one in lengths]
    for step in range(2):
        generator = torch.Generator().manual_seed(step)
        frames = torch.randn(sum(sizes), 2, 6, 6, dtype=torch.float64, generator=generator)
        query = torch.randn(8, 5, dtype=torch.float64, generator=generator)
        labels = torch.randint(2, (8,), generator=generator)
        for net, batch in (
            (whole, (frames, query, torch.cat(lengths), labels)),
            (
                parallel,
                (
                    frames.split(sizes)[here.rank],
                    query.split(2)[here.rank],
                    lengths[here.rank],
                    labels.split(2)[here.rank],
                ),
            ),
        ):
            net.zero_grad()
            loss = nn.functional.cross_entropy(net(*batch[:3]), batch[3])
            loss.backward()
            with torch.no_grad():
                for parameter in net.parameters():
                    parameter -= 0.1 * parameter.grad
        for parameter, wanted in zip(own.parameters(), whole.parameters(), strict=True):
            assert_close(parameter.grad, wanted.grad, torch.float64)
        same_state(own, whole, torch.float64)


def a_compiled_norm(here: Here) -> None:
    norm = SparseSyncBatchNorm(3)
    eager = copy.deepcopy(norm)

    def run(x: SparseFeatureMaps) -> Tensor:
        return norm(x.with_features(x.features * 2)).to_dense() + 1

    x = maps_of(here.rank, torch.float32)
    got = torch.compile(run, backend="eager")(x)
    wanted = eager(x.with_features(x.features * 2)).to_dense() + 1
    assert_close(got, wanted, torch.float32)
    same_state(norm, eager, torch.float32)


def a_sharded_network_is_the_whole() -> None:
    torch.manual_seed(6)
    whole = Net()
    own = copy.deepcopy(whole)
    mesh = init_device_mesh("cpu", (PROCESSES,))
    for part in (own.block1, own.block2.conv1, own):
        fully_shard(part, mesh=mesh)
    given = torch.randn(4, 2, 6, 6), torch.randn(2, 5), torch.tensor([1, 3])
    for net in (whole, own):
        net(*given).square().sum().backward()
    assert explain(own.block1).endswith(explain(whole.block1).partition("\n")[2])
    assert explain(own.block2).startswith(
        "SparseCrossModalBlock: part by part, as conv1 has a hook"
    )
    for parameter, of_whole in zip(own.parameters(), whole.parameters(), strict=True):
        assert_close(parameter.grad.full_tensor(), of_whole.grad, torch.float32)
