"""Runs by each of two processes: a step of theirs against one of a process with all clips."""

from __future__ import annotations

import copy
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from mesm.data.batch import Batch
from mesm.models import FE2E, MESM
from mesm.training.norms import synchronise

FACES, CHUNKS, WORDS = ((2, 1), (0, 0)), ((1, 0), (1, 2)), ((3, 2), (3, 1))


def run(rank: int, folder: Path, small: dict[str, Any], batches: list[Batch]) -> None:
    torch.set_num_threads(1)
    dist.init_process_group(
        "gloo",
        init_method=f"file://{folder / 'meet'}",
        rank=rank,
        world_size=2,
        timeout=timedelta(seconds=120),
    )
    whole_batch, own_batch = batches[2], batches[rank]
    builds: list[Callable[[], nn.Module]] = [
        lambda: FE2E(**small),
        lambda: MESM(**small, selection="straight_through"),
        lambda: MESM(**small, query="face"),
    ]
    for build in builds:
        torch.manual_seed(0)
        whole = build().double()
        own = copy.deepcopy(whole)
        synchronise(own, 2)
        parallel = DistributedDataParallel(own, find_unused_parameters=True)
        for model, batch in ((whole, whole_batch), (parallel, own_batch)):
            logits = model(batch)
            nn.functional.mse_loss(logits, torch.sin(batch.labels)).backward()
        named = dict(whole.named_parameters())
        for name, parameter in own.named_parameters():
            wanted = named[name].grad
            assert (parameter.grad is None) == (wanted is None), name
            if wanted is not None:
                torch.testing.assert_close(parameter.grad, wanted, rtol=1e-9, atol=1e-11, msg=name)
        for name, value in whole.state_dict().items():
            torch.testing.assert_close(own.state_dict()[name], value, rtol=1e-9, atol=1e-11)
    dist.barrier()
    dist.destroy_process_group()
    (folder / f"done{rank}").touch()
