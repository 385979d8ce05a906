"""Counts, before each step, which part of its clips and frames every process has."""

from __future__ import annotations

from typing import TypeVar

import torch
import torch.distributed as dist

from mesm.data.batch import Batch
from mesm.data.clips import EpochBatches
from mesm.models.build import Model
from mesm.models.late_fusion import LateFusionModel
from mesm.training.share import WHOLE, Share
from mesm.training.teacher import Pair

AnyBatch = TypeVar("AnyBatch")


def stand_in(batch: AnyBatch) -> AnyBatch:
    """A batch whose clips stand in for none: without frames, which batch norms would count."""
    if isinstance(batch, Pair):
        return Pair(stand_in(batch.own), batch.teachers)  # type: ignore[return-value]
    # Nothing in a baseline is counted over clips.
    return batch.without_frames() if isinstance(batch, Batch) else batch  # type: ignore[return-value]


class Shares:
    """Makes the batches and shares of a training's steps.

    Args:
        model: the model itself, not a wrapper around it.
        batches: the training's.
    """

    def __init__(self, model: Model, batches: EpochBatches) -> None:
        self._model = model if isinstance(model, LateFusionModel) else None
        self._batches = batches
        # Sizes are known to hosts, so these count among themselves: no device is waited for.
        self._hosts = dist.new_group(backend="gloo") if batches.processes > 1 else None

    def __call__(self, batch: AnyBatch, step: int) -> tuple[AnyBatch, Share]:
        """A step's batch as it is to be given to the model, and its share.

        Args:
            batch: of the loader, wherever it is.
            step: from 0 in its epoch.
        """
        processes = self._batches.processes
        if processes == 1:
            return batch, WHOLE
        own = self._batches.own(step)
        if own == 0:
            batch = stand_in(batch)
        average = self._batches.of_all(step) / processes
        if self._model is None:
            return batch, Share((own, average), own / average)
        pupils = batch.own if isinstance(batch, Pair) else batch
        assert isinstance(pupils, Batch)
        views = self._model.views(pupils)
        counts = torch.tensor([view.frames.shape[0] for view in views])
        every = counts.clone()
        dist.all_reduce(every, group=self._hosts)
        of_frames, unread = {}, []
        for view, mine, all_of_them in zip(views, counts.tolist(), every.tolist(), strict=True):
            of_frames[view.name] = mine * processes / max(all_of_them, 1)
            if all_of_them == 0:
                unread += view.branch.frame_parameters()
        return batch, Share((own, average), own / average, of_frames, tuple(unread))
