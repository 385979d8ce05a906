"""Logits of a whole split, on one process or many."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from tqdm import tqdm

from mesm.data.clips import EpochBatches, SplitDataset, make_loader

if TYPE_CHECKING:
    from accelerate import Accelerator


class NotFiniteError(ValueError):
    """A model gave infinite or NaN logits."""


class Outputs(NamedTuple):
    """A model's logits for N clips, with their labels; float32 on the CPU.

    Attributes:
        logits: (N, E).
        labels: (N, E).
        branches: by the name of the branch, its own logits (N, E); empty: they were not asked for,
            or the model has none.
    """

    logits: Tensor
    labels: Tensor
    branches: dict[str, Tensor]


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
    branches: Sequence[str] = (),
) -> Outputs:
    """Logits and labels of a split in corpus order.

    With an accelerator the clips are shared among its processes and every process gets all
    logits. The model is put in evaluation mode and left in the mode it came in. `progress` names a
    progress bar; None: there is none. `workers` processes decode meanwhile. `branches` names the
    model's, where their logits are wanted too. The host waits for the device once, at the end.

    Raises:
        NotFiniteError: a clip's logits are not finite; names the first such clip.
    """
    rank = accelerator.process_index if accelerator else 0
    processes = accelerator.num_processes if accelerator else 1
    batches = EpochBatches(len(dataset), batch_size * processes, None, rank, processes)
    was_training = model.training
    model.eval()
    parts = []
    pin_memory = device.type == "cuda"
    loader = make_loader(dataset, batches, collate, workers=workers, pin_memory=pin_memory)
    hidden = progress is None
    with tqdm(loader, progress, unit="batch", disable=hidden, leave=False) as bar:
        for step, batch in enumerate(bar):
            batch = batch.to(device)
            if branches:
                found = model(batch, branches=True)
                part = torch.stack(
                    (batch.labels, found.logits.float(), *found.branches.float().unbind())
                )
            else:
                part = torch.stack((batch.labels, model(batch).float()))
            if processes > 1:
                assert accelerator is not None
                # Clip i of the step went to process i % processes; all give equally many rows.
                clips = batches.of_all(step)
                missing = -(-clips // processes) - part.shape[1]
                gathered = accelerator.gather(F.pad(part, (0, 0, 0, missing)).unsqueeze(0))
                part = gathered.permute(1, 2, 0, 3).flatten(1, 2)[:, :clips]
            parts.append(part)
    model.train(was_training)
    labels, logits, *own = torch.cat(parts, dim=1).cpu()
    odd = (~torch.stack((logits, *own)).isfinite().all(dim=2).all(dim=0)).nonzero()
    if len(odd):
        clip = dataset[int(odd[0])].clip_id
        more = f" and of {len(odd) - 1} more" if len(odd) > 1 else ""
        raise NotFiniteError(f"the logits of clip {clip}{more} are not finite numbers")
    return Outputs(logits, labels, dict(zip(branches, own, strict=True)))
