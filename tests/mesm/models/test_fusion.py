import torch

from mesm.models.fusion import WeightedSum


def test_weighted_sum_learns_its_weights():
    fuse = WeightedSum(2)
    logits = torch.tensor([[[1.0, 2.0]], [[3.0, 5.0]]])
    torch.testing.assert_close(fuse(logits), torch.tensor([[2.0, 3.5]]))
    fuse(logits).sum().backward()
    torch.testing.assert_close(fuse.weight.grad, torch.tensor([3.0, 8.0]))


def test_dropout_leaves_out_whole_modalities_in_training_only():
    fuse = WeightedSum(2, dropout=0.5)
    logits = torch.stack((torch.full((400, 3), 1.0), torch.full((400, 3), 10.0)))
    fused = fuse(logits)
    # Each clip has both, one or none, scaled so that the mean stays.
    assert set(fused.unique().tolist()) == {0.0, 1.0, 10.0, 11.0}
    assert (fused == fused[:, :1]).all()
    assert abs(fused.mean().item() - 5.5) < 1.0
    torch.testing.assert_close(fuse.eval()(logits), torch.full((400, 3), 5.5))
