"""Runs by each of two processes: a step of theirs against one of a process with all clips."""

from __future__ import annotations

import copy
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from safetensors.torch import load_file, save_file
from torch import nn
from torch.distributed.checkpoint.state_dict import StateDictOptions, get_model_state_dict
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor
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
        lambda: MESM(**small, query="face", selection="hard"),
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
    a_step_of_a_sharded_model_is_the_whole_one_s(small, whole_batch, own_batch, folder)
    dist.barrier()
    dist.destroy_process_group()
    (folder / f"done{rank}").touch()


def a_step_of_a_sharded_model_is_the_whole_one_s(
    small: dict[str, Any], whole_batch: Batch, own_batch: Batch, folder: Path
) -> None:
    """FSDP2: each process holds half of every parameter; the checkpoint is a plain model's."""
    torch.manual_seed(0)
    whole = MESM(**small).double()
    own = copy.deepcopy(whole)
    synchronise(own, 2)
    mesh = init_device_mesh("cpu", (2,))
    assert own.text is not None
    for parameter in own.parameters():
        parameter.data = parameter.data.contiguous()  # FSDP2 refuses channels-last ones
    fully_shard(own.text, mesh=mesh)
    fully_shard(own, mesh=mesh)
    assert all(isinstance(parameter, DTensor) for parameter in own.parameters())
    for model, batch in ((whole, whole_batch), (own, own_batch)):
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        for _ in range(2):
            nn.functional.mse_loss(model(batch), torch.sin(batch.labels)).backward()
            nn.utils.clip_grad_norm_(model.parameters(), 0.5)
            optimizer.step()
            optimizer.zero_grad()
    options = StateDictOptions(full_state_dict=True, cpu_offload=True)
    state = get_model_state_dict(own, options=options)
    if dist.get_rank() > 0:
        return  # the first process has it all
    save_file(state, folder / "sharded.safetensors")
    read = load_file(folder / "sharded.safetensors")
    assert read.keys() == whole.state_dict().keys()
    for name, value in whole.state_dict().items():
        torch.testing.assert_close(read[name], value, rtol=1e-9, atol=1e-11, msg=name)
