"""Logits of a whole split, on one process or many."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor, nn
from tqdm import tqdm

from mesm.data.clips import EpochBatches, SplitDataset, make_loader


@torch.no_grad()
def predict(
    model: nn.Module,
    dataset: SplitDataset,
    collate: Callable[[list[Any]], Any],
    batch_size: int,
    device: torch.device,
    accelerator: Accelerator | None = None,
    *,
    progress: str | None = None,
) -> tuple[Tensor, Tensor]:
    """Logits and labels (N, E) of a split in corpus order, float32 on the CPU.

    With an accelerator the clips are shared among its processes and every process gets all
    logits. The model is put in evaluation mode and left in the mode it came in. `progress` names a
    progress bar; None: there is none.
    """
    rank = accelerator.process_index if accelerator else 0
    processes = accelerator.num_processes if accelerator else 1
    batches = EpochBatches(len(dataset), batch_size, None, rank, processes)
    was_training = model.training
    model.eval()
    logits, labels = [], []
    loader = make_loader(dataset, batches, collate)
    for batch in tqdm(loader, progress, unit="batch", disable=progress is None, leave=False):
        batch = batch.to(device)
        pair = torch.stack((model(batch).float(), batch.labels))
        if processes > 1:
            assert accelerator is not None
            # Clip i of the order went to process i % processes.
            gathered = accelerator.gather(pair.unsqueeze(0))
            pair = gathered.permute(1, 2, 0, 3).flatten(1, 2)
        logits.append(pair[0].cpu())
        labels.append(pair[1].cpu())
    model.train(was_training)
    return torch.cat(logits)[: len(dataset)], torch.cat(labels)[: len(dataset)]
