"""Sites of frames whose sites are all active, shared between calls on a GPU."""

from __future__ import annotations

import pytest
import torch

from mesm_ops import all_sites as module
from mesm_ops.all_sites import all_sites, shared_sites


def check(sites: torch.Tensor, offsets: torch.Tensor, frames: int, size: int) -> None:
    assert (sites.dtype, offsets.dtype) == (torch.int32, torch.int32)
    assert sites.tolist() == list(range(size)) * frames
    assert offsets.tolist() == [size * frame for frame in range(frames + 1)]


@pytest.mark.parametrize("make", [all_sites, shared_sites])
@pytest.mark.parametrize(("frames", "size"), [(3, 6), (1, 1), (0, 4), (2, 0)])
def test_on_a_cpu(make: object, frames: int, size: int) -> None:
    assert callable(make)
    check(*make(frames, size, torch.device("cpu")), frames, size)


def test_on_a_cpu_nothing_is_shared() -> None:
    one, other = (shared_sites(3, 6, torch.device("cpu"))[0] for _ in range(2))
    one.fill_(7)
    check(other, torch.arange(4, dtype=torch.int32) * 6, 3, 6)
    assert not module._shared


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> torch.device:
    monkeypatch.setattr(module, "_shared", {})
    monkeypatch.setattr(module, "_outgrown", [])
    return torch.device("cuda", 0)


@pytest.mark.gpu
def test_on_a_gpu_fewer_and_more_frames(gpu: torch.device) -> None:
    for frames in (5, 3, 8, 9, 1, 0, 70):
        check(*shared_sites(frames, 12, gpu), frames, 12)
    assert shared_sites(5, 12, gpu)[0].data_ptr() == shared_sites(70, 12, gpu)[0].data_ptr()


@pytest.mark.gpu
def test_on_a_gpu_another_stream_waits(gpu: torch.device) -> None:
    busy = torch.randn(4096, 4096, device=gpu)
    for _ in range(20):
        busy = busy @ busy
    shared_sites(5, 12, gpu)
    with torch.cuda.stream(torch.cuda.Stream()):
        check(*shared_sites(5, 12, gpu), 5, 12)


@pytest.mark.gpu
@pytest.mark.parametrize("known", [False, True])
def test_a_graph_keeps_what_it_read(gpu: torch.device, known: bool) -> None:
    if known:
        shared_sites(5, 12, gpu)
        torch.cuda.synchronize()
        shared_sites(5, 12, gpu)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        sites, offsets = shared_sites(5, 12, gpu)
        copies = sites.clone(), offsets.clone()
    for _ in range(3):
        shared_sites(500, 12, gpu)
        torch.empty(1 << 20, dtype=torch.int32, device=gpu).fill_(-1)
        graph.replay()
        check(*copies, 5, 12)
