"""The compiled kernels of pictures against NumPy, and against the layers that define them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

import mesm_ops
from mesm.inputs.compiled import area_means, compiled, mtcnn_pnet, prelu_max_pool2d
from mesm.inputs.mtcnn import ONet, PNet, RNet
from tests.csrc.cpu.test_instruction_sets import ORDER, runs_here

ROOT = Path(__file__).parents[3]
# Sums of 144 products in another order: some hundred last places of float32.
TOLERANCE = 2e-5
# Odd and even, of less than a vector, of one more than some vectors, of several tasks.
SIZES = ((12, 12), (12, 13), (13, 12), (17, 31), (30, 74), (29, 75), (40, 203), (301, 19))
# Height, width, channels, window, stride: R-Net's and O-Net's, then one window, fewer channels than
# a vector has lanes, windows that overlap wholly, and windows side by side.
POOLS = (
    (22, 22, 28, 3, 2),
    (9, 9, 48, 3, 2),
    (46, 46, 32, 3, 2),
    (21, 21, 64, 3, 2),
    (8, 8, 64, 2, 2),
    (3, 3, 16, 3, 2),
    (7, 5, 1, 2, 2),
    (6, 9, 17, 3, 1),
    (10, 11, 33, 3, 3),
)


def network() -> PNet:
    torch.manual_seed(0)
    found = PNet().eval().requires_grad_(False)
    for name, parameter in found.named_parameters():
        if name.startswith("prelu"):
            parameter.uniform_(-0.5, 0.5)  # a falling one, too: its maximum is taken after it
    return found


def images_of(number: int, height: int, width: int) -> Tensor:
    return torch.rand(number, 3, height, width, generator=torch.Generator().manual_seed(1)) * 2 - 1


def weights_of(net: PNet) -> tuple[Tensor, ...]:
    return tuple(parameter.contiguous() for parameter in net.parameters())


def differences() -> list[float]:
    """The largest difference at every size, of probabilities or offsets."""
    net, found = network(), []
    for height, width in SIZES:
        images = images_of(2, height, width)
        ours = mtcnn_pnet(images.permute(0, 2, 3, 1), weights_of(net))
        wanted = net._layers(images)
        assert [one.shape for one in ours] == [one.shape for one in wanted]
        pairs = zip(ours, wanted, strict=True)
        found.append(max(float((one - other).abs().max()) for one, other in pairs))
    return found


def unequal_pools() -> list[tuple[int, ...]]:
    """The sizes at which the pooled maps are not those of PyTorch's layers, to the last bit."""
    generator, found = torch.Generator().manual_seed(2), []
    for height, width, channels, window, stride in POOLS:
        maps = torch.randn(3, height, width, channels, generator=generator)
        maps[0] = -maps[0].abs()
        maps[1] = maps[1].abs()
        slopes = torch.rand(channels, generator=generator) * 3 - 1
        fallen = torch.nn.functional.prelu(maps.permute(0, 3, 1, 2), slopes)
        wanted = torch.nn.functional.max_pool2d(fallen, window, stride, ceil_mode=True)
        pooled = prelu_max_pool2d(maps, slopes, window, stride).permute(0, 3, 1, 2)
        if not torch.equal(pooled, wanted):
            found.append((height, width, channels, window, stride))
    return found


@pytest.fixture(autouse=True)
def _built() -> None:
    assert compiled(), "the kernels are not built"


def test_pnet_is_its_layers() -> None:
    assert 0 < max(differences()) < TOLERANCE


def test_prelu_and_pool_are_pytorchs() -> None:
    assert unequal_pools() == []
    apart = torch.randn(2, 28, 22, 22, generator=torch.Generator().manual_seed(3))
    slopes = torch.linspace(-1, 1, 28)
    wanted = prelu_max_pool2d(apart.permute(0, 2, 3, 1).contiguous(), slopes, 3, 2)
    assert torch.equal(prelu_max_pool2d(apart.permute(0, 2, 3, 1), slopes, 3, 2), wanted)
    assert prelu_max_pool2d(torch.empty(0, 5, 5, 28), slopes, 3, 2).shape == (0, 2, 2, 28)


@pytest.mark.parametrize(("kind", "side"), [(RNet, 24), (ONet, 48)])
def test_refining_networks_are_their_layers(kind: type[RNet | ONet], side: int) -> None:
    torch.manual_seed(0)
    net = kind().eval().requires_grad_(False).to(memory_format=torch.channels_last)
    for name, parameter in net.named_parameters():
        if name.startswith("prelu"):
            parameter.uniform_(-0.5, 0.5)
    images = images_of(3, side, side).contiguous(memory_format=torch.channels_last)
    found = net(images)
    with mesm_ops.use_backend("reference"):
        assert all(map(torch.equal, found, net(images)))


# The last is the one above.
@pytest.mark.parametrize("name", [name for name in ORDER if runs_here(name)][:-1][:2])
def test_kernels_are_their_layers_on_other_instruction_sets(name: str) -> None:
    code = "from tests.mesm.inputs.test_compiled import differences, unequal_pools\n"
    code += "assert not unequal_pools(), unequal_pools()\nprint(max(differences()))"
    environment = {**os.environ, "MESM_OPS_CPU": name}
    command = [sys.executable, "-c", code]
    done = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True
    )
    assert 0 < float(done.stdout) < TOLERANCE


def test_an_images_scores_do_not_depend_on_others_nor_on_threads() -> None:
    net, images = network(), images_of(3, 150, 40)
    found = net(images)
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(3)
        again = net(images)
    finally:
        torch.set_num_threads(threads)
    alone = net(images[1:2])
    for one, other, single in zip(found, again, alone, strict=True):
        assert torch.equal(one, other)
        assert torch.equal(one[1:2], single)


def test_large_logits_saturate() -> None:
    net = network()
    net.conv4_1.weight.mul_(1e4)
    probability = net(images_of(1, 40, 40))[0]
    assert float(probability.min()) < 1e-6
    assert float(probability.max()) > 1 - 1e-6
    assert bool(((probability >= 0) & (probability <= 1)).all())


def test_without_kernels_the_layers_run(monkeypatch: pytest.MonkeyPatch) -> None:
    net, images = network(), images_of(1, 30, 30)
    with mesm_ops.use_backend("reference"):
        assert not compiled()
        assert all(map(torch.equal, net(images), net._layers(images)))
    monkeypatch.setattr("mesm_ops.extension.cpu_missing", lambda: "not built")
    assert not compiled()


def test_gradients_go_through_the_layers_and_the_kernel_refuses_them() -> None:
    net, images = network(), images_of(1, 20, 20).requires_grad_()
    probability, offsets = net(images)
    (probability.sum() + offsets.sum()).backward()
    assert images.grad is not None
    assert float(images.grad.abs().sum()) > 0
    found = mtcnn_pnet(images.permute(0, 2, 3, 1), weights_of(net))
    with pytest.raises(RuntimeError, match="this kernel has no gradient; take the layers"):
        found[0].sum().backward()
    pooled = prelu_max_pool2d(torch.zeros(1, 4, 4, 3), torch.zeros(3, requires_grad=True), 2, 2)
    with pytest.raises(RuntimeError, match="this kernel has no gradient; take the layers"):
        pooled.sum().backward()


def test_torch_knows_the_kernels() -> None:
    net = network()
    given = (images_of(2, 21, 30).permute(0, 2, 3, 1), *weights_of(net))
    # Gradients are refused; see above.
    utilities = ("test_schema", "test_faketensor")
    torch.library.opcheck(torch.ops.mesm_ops_cpp.mtcnn_pnet, given, test_utils=utilities)
    maps = torch.randn(2, 8, 9, 20)
    pool = torch.ops.mesm_ops_cpp.prelu_max_pool2d
    torch.library.opcheck(pool, (maps, torch.rand(20), 3, 2), test_utils=utilities)
    frames = torch.zeros(2, 20, 30, 3, dtype=torch.uint8)
    boxes = torch.tensor([[1, 2, 3, 9, 20]], dtype=torch.int32)
    whole = (frames, boxes, 5, 7)
    torch.library.opcheck(torch.ops.mesm_ops_cpp.area_means, whole, test_utils=utilities)


def test_frames_in_any_order_of_memory() -> None:
    frames = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (2, 40, 50, 3), np.uint8))
    boxes = torch.tensor([[1, 0, 0, 50, 40], [0, 7, 9, 20, 31]], dtype=torch.int32)
    wanted = area_means(frames, boxes, 24, 24)
    apart = frames.permute(3, 0, 1, 2).contiguous().permute(1, 2, 3, 0)
    assert torch.equal(area_means(apart, boxes, 24, 24), wanted)


@pytest.mark.parametrize(
    "box", [[2, 0, 0, 5, 5], [-1, 0, 0, 5, 5], [0, 3, 0, 3, 5], [0, 0, 0, 31, 5], [0, 0, -1, 5, 5]]
)
def test_boxes_outside_are_refused(box: list[int]) -> None:
    frames = torch.zeros(2, 20, 30, 3, dtype=torch.uint8)
    wanted = "area_means: box 0 must lie in one of 2 frames of 20 x 30 pixels and not be empty"
    with pytest.raises(RuntimeError, match=wanted):
        area_means(frames, torch.tensor([box], dtype=torch.int32), 24, 24)


def test_other_arguments_are_refused() -> None:
    net = network()
    weights = weights_of(net)
    with pytest.raises(RuntimeError, match="at least 12 x 12 pixels, got 11 x 30"):
        mtcnn_pnet(torch.zeros(1, 11, 30, 3), weights)
    with pytest.raises(RuntimeError, match=r"must be \(N, H, W, 3\) float32"):
        mtcnn_pnet(torch.zeros(1, 3, 30, 30), weights)
    with pytest.raises(RuntimeError, match="slope1 must be float32 on the CPU with 10 elements"):
        mtcnn_pnet(torch.zeros(1, 30, 30, 3), (*weights[:2], torch.zeros(9), *weights[3:]))
    boxes = torch.zeros(1, 5, dtype=torch.int32)
    with pytest.raises(RuntimeError, match=r"frames must be \(F, H, W, 3\) uint8"):
        area_means(torch.zeros(1, 20, 30, 3), boxes, 4, 4)
    with pytest.raises(RuntimeError, match="height and width must be from 1"):
        area_means(torch.zeros(1, 20, 30, 3, dtype=torch.uint8), boxes, 0, 4)
    maps, slopes = torch.zeros(1, 5, 6, 3), torch.zeros(3)
    with pytest.raises(RuntimeError, match=r"maps must be \(N, H, W, C\) float32 on the CPU"):
        prelu_max_pool2d(maps.double(), slopes, 3, 2)
    with pytest.raises(RuntimeError, match=r"slopes must be \(3\) float32 on the CPU"):
        prelu_max_pool2d(maps, torch.zeros(2), 3, 2)
    for window, stride in ((3, 0), (3, 4), (6, 2), (0, 0)):
        with pytest.raises(RuntimeError, match="stride must be from 1 to window"):
            prelu_max_pool2d(maps, slopes, window, stride)
