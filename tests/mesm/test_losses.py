import torch

from mesm.losses import positive_weights


def test_negatives_per_positive():
    labels = torch.tensor([[1.0, 1, 0, 1], [0, 1, 0, 0], [0, 1, 0, 1], [0, 1, 0, 0]])
    # One positive of four; all; none; half.
    assert positive_weights(labels).tolist() == [3.0, 1.0, 1.0, 1.0]
    assert positive_weights(labels).dtype == torch.float32
