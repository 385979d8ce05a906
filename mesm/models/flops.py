"""How much the per-frame networks compute."""

from __future__ import annotations

import torch
from torch.utils.flop_counter import FlopCounterMode

from mesm.batch import Batch
from mesm.models.late_fusion import LateFusionModel


def count_extraction_flops(model: LateFusionModel, batch: Batch) -> dict[str, int]:
    """FLOPs that each feature extractor really computes on a batch, forward pass only.

    One FLOP is one multiply or one add: 2 per multiply-accumulate. (The paper counts 1.)

    Returns:
        Per modality ("face", "audio") that the model looks at, the FLOPs over all its frames.
    """
    names = {id(module): name for name, module in model.named_modules()}
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        model(batch)
    counts = counter.get_flop_counts()
    top = type(model).__name__
    return {
        name: int(sum(counts.get(f"{top}.{names[id(extractor)]}", {}).values()))
        for name, extractor in model.feature_extractors.items()
    }
