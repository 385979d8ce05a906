"""Nothing waits for the device, and a captured graph replays the same bits."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from mesm_ops import use_backend


def check_capture(step: Callable[[], tuple[Tensor, ...]]) -> None:
    """Run a step with waiting forbidden, then capture and replay it, all on the CUDA kernels."""
    with use_backend("cuda"):
        step()  # kernels load
        torch.cuda.synchronize()
        torch.cuda.set_sync_debug_mode("error")
        try:
            wanted = step()
        finally:
            torch.cuda.set_sync_debug_mode("default")
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            captured = step()
    for _ in range(2):
        for t in captured:
            t.fill_(7)
        graph.replay()
        for one, other in zip(captured, wanted, strict=True):
            assert torch.equal(one, other)
