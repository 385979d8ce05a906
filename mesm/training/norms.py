"""Batch norms over several processes; their running statistics anew, for the p that MESM has now.

A sparse norm's statistics are those of the sites that are kept, and so depend on p: a network that
was trained at several p, or runs at another, wants them counted again (as Yu and Huang, 2019, do
for networks of several widths).
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from mesm.data.batch import Batch
from mesm.data.clips import EpochBatches, SplitDataset, make_loader
from mesm.training.share_counts import stand_in
from mesm_ops import synchronise_norms


def synchronise(model: nn.Module, processes: int) -> None:
    """Make the batch norms of one of several processes take the statistics of all of them.

    A step is then that of one process with all clips, and frames of long clips count everywhere.

    Args:
        model: changed in place where there are several processes.
        processes: how many train it.
    """
    if processes > 1:
        # A group of their own: DDP reduces gradients meanwhile, in an order of its own.
        synchronise_norms(model, torch.distributed.new_group())


@torch.no_grad()
def count_norms(model: nn.Module, batches: Iterable[Batch]) -> None:
    """Make every batch norm's running mean and variance the plain averages over some batches.

    Args:
        model: left in evaluation mode.
        batches: at least one, on the model's device.
    """
    model.eval()
    norms = [module for module in model.modules() if isinstance(module, _BatchNorm)]
    kept = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # a plain average
        norm.train()
    try:
        for batch in batches:
            model(batch)
    finally:
        for norm, momentum in zip(norms, kept, strict=True):
            norm.momentum = momentum
            norm.eval()


def drawn_batches(
    dataset: SplitDataset,
    collate: Callable[[list[Any]], Any],
    step_clips: int,
    clips: int,
    device: torch.device,
    seed: int = 0,
    rank: int = 0,
    processes: int = 1,
) -> Iterator[Any]:
    """Batches of at least so many clips of a split, or of all of them, in a drawn order.

    Several processes share them, as in a training: norms are to take the statistics of all.

    Args:
        dataset: the training split's samples.
        collate: makes batches of samples.
        step_clips: clips per batch of all processes, as in the training.
        clips: at least 1.
        device: the model's.
        seed: fixes the order.
        rank: which process this is.
        processes: of how many.
    """
    batches = EpochBatches(len(dataset), step_clips, seed, rank, processes)
    loader = make_loader(dataset, batches, collate)
    for step, batch in enumerate(itertools.islice(loader, -(-clips // step_clips))):
        yield (batch if batches.own(step) else stand_in(batch)).to(device)
