import pytest
import torch
import torch.nn.functional as F

from mesm.models.convolutions import ConvPair, FirstStage


def settled(module: torch.nn.Module) -> torch.nn.Module:
    """With statistics and parameters that are not those of a fresh norm."""
    torch.manual_seed(0)
    for norm in module.modules():
        if isinstance(norm, torch.nn.BatchNorm2d):
            torch.nn.init.normal_(norm.running_mean)
            torch.nn.init.uniform_(norm.running_var, 0.5, 2.0)
            torch.nn.init.normal_(norm.weight)
            torch.nn.init.normal_(norm.bias)
    return module.eval()


@pytest.mark.parametrize("module", [ConvPair(3, 4, pool=True), FirstStage(3, 4)])
def test_norms_are_folded_in_inference(module: torch.nn.Module) -> None:
    maps = torch.randn(2, 3, 12, 10)
    plain = settled(module)(maps)
    with torch.no_grad():
        folded = module(maps)
    # Float32 sums of up to 75 products, scaled before instead of after.
    torch.testing.assert_close(folded, plain, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("training", [True, False])
def test_pooling_first_changes_nothing(training: bool) -> None:
    pair = settled(ConvPair(3, 4, pool=True)).train(training)
    maps = torch.randn(2, 3, 8, 8)
    x = torch.relu(pair.norm1(pair.conv1(maps)))
    wanted = F.max_pool2d(torch.relu(pair.norm2(pair.conv2(x))), 2)
    assert torch.equal(pair(maps), wanted)


def test_identity_stage_passes_on_what_its_first_convolution_sees() -> None:
    stage = FirstStage(3, 4).eval()
    stage.start_as_identity()
    frames = torch.randn(2, 3, 12, 12)
    first = torch.relu(stage.pool(stage.norm(stage.conv(frames))))
    # Four fresh norms in evaluation divide by sqrt(1 + eps) each.
    torch.testing.assert_close(stage(frames), first / (1 + 1e-5) ** 2, rtol=1e-5, atol=1e-6)
