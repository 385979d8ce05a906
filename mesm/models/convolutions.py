"""The dense convolutional stages of the per-frame networks (VGG-like, as in the paper)."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_weights


def _convolution(in_channels: int, out_channels: int, kernel: int) -> nn.Conv2d:
    # No bias: a batch norm, which has its own, follows at once.
    return nn.Conv2d(in_channels, out_channels, kernel, padding=kernel // 2, bias=False)


def channels_last(module: nn.Module) -> None:
    """Lay a module's kernels out channels-last, which suits the convolutions of CPU and GPU."""
    for parameter in module.parameters():
        if parameter.ndim == 4:
            parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)


def synchronises(module: nn.Module) -> bool:
    """Whether the module's norms now wait for those of other processes, so that it must run."""
    return any(getattr(part, "synchronises", False) for part in module.modules())


def frames_channels_last(frames: Tensor) -> Tensor:
    """Frames (F, C, H, W) laid out channels-last, with strides that say so.

    With a single channel both layouts are the same in memory; PyTorch then takes the strides of a
    contiguous tensor for channels-first, and convolutions and pools run several times as long.
    """
    if frames.shape[1] > 1:
        return frames.contiguous(memory_format=torch.channels_last)
    return frames.contiguous().view(-1, *frames.shape[2:], 1).permute(0, 3, 1, 2)


def _normalised(convolution: nn.Conv2d, norm: nn.BatchNorm2d, maps: Tensor) -> Tensor:
    """The norm of the convolution; in inference the norm goes into the convolution's weight."""
    if norm.training or torch.is_grad_enabled():
        normalised: Tensor = norm(convolution(maps))
        return normalised
    assert norm.running_mean is not None
    assert norm.running_var is not None
    weight, bias = fuse_conv_bn_weights(
        *(convolution.weight, None, norm.running_mean, norm.running_var, norm.eps),
        *(norm.weight, norm.bias),
    )
    return F.conv2d(maps, weight, bias, padding=convolution.padding)


class ConvPair(nn.Module):
    """Twice conv 3x3, batch norm, ReLU; then, if asked, a 2x2 max-pool.

    Its parameters have the names and shapes of `mesm_ops.SparseCrossModalBlock`'s convolutions.

    Args:
        in_channels, out_channels: channels before and after.
        pool: whether a 2x2 max-pool of stride 2 follows.
    """

    def __init__(self, in_channels: int, out_channels: int, pool: bool) -> None:
        super().__init__()
        self.conv1 = _convolution(in_channels, out_channels, 3)
        self.norm1 = nn.BatchNorm2d(out_channels)
        self.conv2 = _convolution(out_channels, out_channels, 3)
        self.norm2 = nn.BatchNorm2d(out_channels)
        self.pool = nn.MaxPool2d(2) if pool else nn.Identity()

    def forward(self, maps: Tensor) -> Tensor:
        """(F, Cin, H, W) to (F, Cout, H, W), or (F, Cout, H//2, W//2) with the pool."""
        maps = torch.relu_(_normalised(self.conv1, self.norm1, maps))
        # The pool first: of what is left the ReLU is the same, and there is less of it.
        return torch.relu(self.pool(_normalised(self.conv2, self.norm2, maps)))


class FirstStage(nn.Module):
    """The low-level stage that stays dense in every model.

    Conv 5x5, batch norm, ReLU, 2x2 max-pool, then two `ConvPair`s of the same width.

    Args:
        in_channels: 3 for faces, 1 for spectrogram chunks.
        channels: width of the stage (64 in the paper).
    """

    def __init__(self, in_channels: int, channels: int) -> None:
        super().__init__()
        self.conv = _convolution(in_channels, channels, 5)
        self.norm = nn.BatchNorm2d(channels)
        self.pool = nn.MaxPool2d(2)
        self.pair1 = ConvPair(channels, channels, pool=False)
        self.pair2 = ConvPair(channels, channels, pool=False)

    def start_as_identity(self) -> None:
        """Make the 3x3 convolutions the identity: a site then knows nothing of its neighbours."""
        for pair in (self.pair1, self.pair2):
            for convolution in (pair.conv1, pair.conv2):
                nn.init.dirac_(convolution.weight)

    def forward(self, frames: Tensor) -> Tensor:
        """(F, Cin, H, W) to (F, channels, H//2, W//2), channels-last in memory."""
        frames = frames_channels_last(frames)
        maps = torch.relu(self.pool(_normalised(self.conv, self.norm, frames)))
        return self.pair2(self.pair1(maps))


class DenseExtractor(nn.Module):
    """FE2E's feature extractor: the first stage, then dense pairs, each with a max-pool.

    Args:
        in_channels: 3 for faces, 1 for spectrogram chunks.
        channels: widths of the first stage and of every further pair (64, 128, 256, 512).
    """

    def __init__(self, in_channels: int, channels: Sequence[int]) -> None:
        super().__init__()
        self.stage = FirstStage(in_channels, channels[0])
        self.blocks = nn.Sequential(
            *(ConvPair(before, after, pool=True) for before, after in pairwise(channels))
        )
        channels_last(self)

    def forward(
        self,
        frames: Tensor,
        query: Tensor | None,
        lengths: Tensor,
        first_maps: Tensor | None = None,
    ) -> Tensor:
        """(F, Cin, H, W) to (F, channels[-1], h, w); nothing but the frames is looked at."""
        return self.blocks(self.stage(frames))
