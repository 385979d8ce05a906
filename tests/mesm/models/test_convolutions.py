import pytest
import torch
import torch.nn.functional as F

from mesm.models.convolutions import ConvPair, FirstStage, frames_channels_last


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


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("frames", [0, 1, 2])
@pytest.mark.parametrize("training", [True, False])
def test_maps_are_channels_last_with_one_channel_too(
    channels: int, frames: int, training: bool
) -> None:
    """Else PyTorch takes one channel for channels-first, whose pool runs ten times as long."""
    given = torch.randn(frames, channels, 8, 12)
    laid = frames_channels_last(given)
    assert torch.equal(laid, given)
    assert laid.stride() == (8 * 12 * channels, 1, 12 * channels, channels)
    if not frames:
        return
    stage = settled(FirstStage(channels, 4)).train(training)
    with torch.set_grad_enabled(training):
        for opened in (stage.conv(laid), stage(given), stage(given.permute(0, 1, 3, 2).mT)):
            assert opened.stride()[1] == 1
            assert opened.is_contiguous(memory_format=torch.channels_last)


def test_frames_of_one_channel_give_the_same_maps_in_either_layout() -> None:
    stage = settled(FirstStage(1, 4))
    frames = torch.randn(2, 1, 8, 12, requires_grad=True)
    maps = stage(frames)
    x = torch.relu(stage.pool(stage.norm(stage.conv(frames))))
    wanted = stage.pair2(stage.pair1(x))
    # Other kernels add up 25 to 36 products in another order, five times one after the other.
    torch.testing.assert_close(maps, wanted, rtol=1e-4, atol=1e-5)
    upstream = torch.randn_like(maps)
    own, other = (torch.autograd.grad(y, frames, upstream)[0] for y in (maps, wanted))
    torch.testing.assert_close(own, other, rtol=1e-4, atol=1e-4)
