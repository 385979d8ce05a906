"""How spread out an attention is."""

from __future__ import annotations

from torch import Tensor

from mesm_ops import SparseFeatureMaps


def normalised_entropy(x: SparseFeatureMaps, logits: Tensor) -> Tensor:
    """Entropy of each frame's attention, -sum a log a, over that of the uniform one, log n.

    Args:
        x: the candidate sites, n of them in a frame.
        logits: (N,), their scores; the attention a is the softmax of a frame's.

    Returns:
        (F,), from 0 (all on one site) to 1 (uniform); 0 for frames of fewer than two sites.
    """
    frame = x.frame_of_row()[: logits.shape[0]].long()
    count = (x.offsets[1:] - x.offsets[:-1]).to(logits.dtype)
    zeros = logits.new_zeros(x.frames)
    highest = zeros.scatter_reduce(0, frame, logits.detach(), "amax", include_self=False)
    weight = (logits - highest[frame]).exp()
    attention = weight / zeros.index_add(0, frame, weight)[frame]
    entropy = zeros.index_add(0, frame, -attention * attention.clamp(min=1e-30).log())
    return entropy / count.clamp(min=2).log()
