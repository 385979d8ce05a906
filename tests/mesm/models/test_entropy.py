import math

import torch

from mesm.models.entropy import normalised_entropy
from mesm_ops import SparseFeatureMaps


def maps(counts: list[int]) -> SparseFeatureMaps:
    sites = torch.cat([torch.arange(n, dtype=torch.int32) for n in counts])
    offsets = torch.tensor([0, *counts]).cumsum(0).int()
    return SparseFeatureMaps(torch.zeros(len(sites), 1), sites, offsets, 2, 2)


def test_uniform_is_one_and_a_peak_is_zero():
    logits = torch.tensor([5.0, 5, 5, 5, 0, 100, 0, 0])
    entropy = normalised_entropy(maps([4, 4]), logits)
    torch.testing.assert_close(entropy, torch.tensor([1.0, 0.0]))


def test_is_that_of_each_frames_own_softmax():
    logits = torch.randn(3 + 0 + 1 + 4, dtype=torch.float64, requires_grad=True)
    entropy = normalised_entropy(maps([3, 0, 1, 4]), logits)
    three, four = logits[:3].softmax(0), logits[4:].softmax(0)
    expected = torch.stack(
        [
            -(three * three.log()).sum() / math.log(3),
            torch.tensor(0.0),
            torch.tensor(0.0),
            -(four * four.log()).sum() / math.log(4),
        ]
    )
    torch.testing.assert_close(entropy, expected, rtol=1e-12, atol=1e-12)  # float64 rounding
    entropy.sum().backward()
    assert logits.grad is not None
    assert logits.grad.isfinite().all()
