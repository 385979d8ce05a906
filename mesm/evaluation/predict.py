"""Logits of a whole split, on one process or many."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from tqdm import tqdm

from mesm.data.clips import EpochBatches, SplitDataset, make_loader

if TYPE_CHECKING:
    from accelerate import Accelerator


class NotFiniteError(ValueError):
    """A model gave infinite or NaN logits."""


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
    workers: int = 0,
) -> tuple[Tensor, Tensor]:
    """Logits and labels (N, E) of a split in corpus order, float32 on the CPU.

    With an accelerator the clips are shared among its processes and every process gets all
    logits. The model is put in evaluation mode and left in the mode it came in. `progress` names a
    progress bar; None: there is none. `workers` processes decode meanwhile. The host waits for the
    device once, at the end.

    Raises:
        NotFiniteError: a clip's logits are not finite; names the first such clip.
    """
    rank = accelerator.process_index if accelerator else 0
    processes = accelerator.num_processes if accelerator else 1
    batches = EpochBatches(len(dataset), batch_size, None, rank, processes)
    was_training = model.training
    model.eval()
    pairs = []
    pin_memory = device.type == "cuda"
    loader = make_loader(dataset, batches, collate, workers=workers, pin_memory=pin_memory)
    hidden = progress is None
    with tqdm(loader, progress, unit="batch", disable=hidden, leave=False) as bar:
        for batch in bar:
            batch = batch.to(device)
            pair = torch.stack((model(batch).float(), batch.labels))
            if processes > 1:
                assert accelerator is not None
                # Clip i of the order went to process i % processes.
                gathered = accelerator.gather(pair.unsqueeze(0))
                pair = gathered.permute(1, 2, 0, 3).flatten(1, 2)
            pairs.append(pair)
    model.train(was_training)
    logits, labels = torch.cat(pairs, dim=1)[:, : len(dataset)].cpu()
    odd = (~logits.isfinite().all(dim=1)).nonzero()
    if len(odd):
        clip = dataset[int(odd[0])].clip_id
        more = f" and of {len(odd) - 1} more" if len(odd) > 1 else ""
        raise NotFiniteError(f"the logits of clip {clip}{more} are not finite numbers")
    return logits, labels
