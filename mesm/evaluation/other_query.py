"""Scoring a MESM that another clip's query asks: what its own query is worth.

The attention of every clip is asked by the query of another clip of the split; all else stays as it
is, the text's own branch too. A model whose query does not matter scores the same.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from mesm.evaluation.predict import Outputs
from mesm.evaluation.run import Run

if TYPE_CHECKING:
    from mesm.data.batch import Batch
    from mesm.models import MESM
    from mesm.models.late_fusion import TrainingOutputs, View

_SEED = 0


def another_clip(clips: int) -> Tensor:
    """Who asks for each clip: (N,) int64, drawn once and for all; nobody asks for itself.

    Raises:
        ValueError: there are fewer than two clips.
    """
    if clips < 2:
        raise ValueError(f"another clip's query wants at least two clips in the split, got {clips}")
    order = torch.randperm(clips, generator=torch.Generator().manual_seed(_SEED))
    # One ring through all clips, in which each is asked by the next.
    asking = torch.empty_like(order)
    asking[order] = order.roll(-1)
    return asking


class AskedBy(nn.Module):
    """A MESM whose attention is asked by given queries instead of the clips' own.

    Called with a split's batches in order, it gives `TrainingOutputs` as its model does.

    Args:
        model: whose weights it uses.
        queries: (N, D), of the split's clips in order.
    """

    def __init__(self, model: MESM, queries: Tensor) -> None:
        super().__init__()
        self.model = model
        self._queries = queries
        self._next = 0
        self.train(model.training)  # a new module would be in training, and put the model there

    def forward(self, batch: Batch, *, branches: bool = False) -> TrainingOutputs | Tensor:
        """The logits of the next clips, whose batch it is."""
        from mesm.models.late_fusion import TrainingOutputs

        query = self._queries[self._next : self._next + len(batch)]
        self._next += len(batch)
        _, maps = self.model.query_and_maps(batch)

        def extract(view: View) -> Tensor:
            if view.frames.shape[0] == 0:
                return view.frames
            features: Tensor = view.branch.extractor(
                view.frames, query, view.lengths, maps[view.name]
            )
            return features

        logits = self.model.branch_logits(batch, self.model.encode_text(batch), extract)
        fused: Tensor = self.model.fuse(logits)
        return TrainingOutputs(fused, logits, {}) if branches else fused


@torch.no_grad()
def outputs_asked_by_others(run: Run, split: str) -> Outputs:
    """A split's logits where another clip asks for each; see `another_clip`.

    Raises:
        ValueError: the run is no MESM, or the split has a single clip.
    """
    model = run.sparse
    asking = another_clip(len(run.dataset(split)))
    own = torch.cat([model.query_and_maps(batch)[0] for batch in run.batches(split)])
    return run.outputs(split, AskedBy(model, own[asking.to(own.device)]))
