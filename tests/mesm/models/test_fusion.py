import torch

from mesm.models.fusion import WeightedSum


def test_weighted_sum_learns_its_weights():
    fuse = WeightedSum(2)
    logits = torch.tensor([[[1.0, 2.0]], [[3.0, 5.0]]])
    torch.testing.assert_close(fuse(logits), torch.tensor([[2.0, 3.5]]))
    fuse(logits).sum().backward()
    torch.testing.assert_close(fuse.weight.grad, torch.tensor([3.0, 8.0]))
