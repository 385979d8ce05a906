"""The compiled kernels that read pictures; each has plain torch or NumPy beside it that defines it.

They are private functions of mesm_ops' library, no ops for networks: `area_means` is defined by
`mesm.inputs.area_sums`, `mtcnn_pnet` by the layers of `mesm.inputs.mtcnn.PNet`,
`prelu_max_pool2d` by PyTorch's PReLU and MaxPool2d.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from mesm_ops import backends, extension

_OPS = torch.ops.mesm_ops_cpp
# Registrations live as long as this.
_LIBRARY = torch.library.Library("mesm_ops_cpp", "FRAGMENT")


def compiled() -> bool:
    """Whether the kernels are built, and `mesm_ops.use_backend` names no other backend."""
    return extension.cpu_missing() is None and backends.requested() in ("auto", "cpp")


def area_means(frames: Tensor, boxes: Tensor, height: int, width: int) -> Tensor:
    """Parts of frames, resized: an output pixel is the mean of the pixels it covers.

    Args:
        frames: (F, H, W, 3) uint8, on the CPU.
        boxes: (N, 5) int32, frame, x0, y0 inclusive, x1, y1 exclusive, inside the frame, not empty.
        height: of the result, at least 1.
        width: likewise.

    Returns:
        (N, height, width, 3) float32, about -1 to 1; exact to the last bit where an output pixel
        covers at most 65,793 pixels.

    Raises:
        RuntimeError: an argument does not fit.
    """
    found: Tensor = _OPS.area_means(frames, boxes, height, width)
    return found


def mtcnn_pnet(images: Tensor, weights: tuple[Tensor, ...]) -> tuple[Tensor, Tensor]:
    """All layers of P-Net at once.

    Args:
        images: (N, H, W, 3) float32, on the CPU, H and W at least 12.
        weights: of conv1 weights, bias and PReLU's slopes; so of conv2 and conv3; of the 1x1
            convolutions for the face, then for the box, weights and bias.

    Returns:
        Face probability (N, h, w) and box offsets (N, 4, h, w), as of `PNet.forward`. An image's do
        not depend on the other images, nor on threads.

    Raises:
        RuntimeError: an argument does not fit, or a gradient is asked for.
    """
    found: tuple[Tensor, Tensor] = _OPS.mtcnn_pnet(images, *weights)
    return found


def prelu_max_pool2d(maps: Tensor, slopes: Tensor, window: int, stride: int) -> Tensor:
    """PReLU, then the maximum over windows, as `MaxPool2d(window, stride, ceil_mode=True)`.

    Args:
        maps: (N, H, W, C) float32, on the CPU, at least a window high and wide, without NaN.
        slopes: (C,) float32, PReLU's.
        window: side of a window.
        stride: between windows, 1 to `window`.

    Returns:
        (N, h, w, C) float32, to the last bit as PyTorch's two layers.

    Raises:
        RuntimeError: an argument does not fit, or a gradient is asked for.
    """
    found: Tensor = _OPS.prelu_max_pool2d(maps, slopes, window, stride)
    return found


def _area_means_fake(frames: Tensor, boxes: Tensor, height: int, width: int) -> Tensor:
    return frames.new_empty((boxes.shape[0], height, width, 3), dtype=torch.float32)


def _mtcnn_pnet_fake(images: Tensor, *_: Tensor) -> tuple[Tensor, Tensor]:
    number = images.shape[0]
    size = [(side - 1) // 2 - 4 for side in images.shape[1:3]]
    return images.new_empty((number, *size)), images.new_empty((number, 4, *size))


def _prelu_max_pool2d_fake(maps: Tensor, slopes: Tensor, window: int, stride: int) -> Tensor:
    size = [-((window - side) // stride) + 1 for side in maps.shape[1:3]]
    return maps.new_empty((maps.shape[0], *size, maps.shape[3]))


def _no_gradient(*_: Any) -> Any:
    raise RuntimeError("this kernel has no gradient; take the layers of mesm.inputs.mtcnn")


torch.library.register_fake("mesm_ops_cpp::area_means", _area_means_fake, lib=_LIBRARY)
torch.library.register_fake("mesm_ops_cpp::mtcnn_pnet", _mtcnn_pnet_fake, lib=_LIBRARY)
torch.library.register_fake("mesm_ops_cpp::prelu_max_pool2d", _prelu_max_pool2d_fake, lib=_LIBRARY)
for name in ("mtcnn_pnet", "prelu_max_pool2d"):
    torch.library.register_autograd(f"mesm_ops_cpp::{name}", _no_gradient, lib=_LIBRARY)
