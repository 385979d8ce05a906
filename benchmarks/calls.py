"""Every op of a block's forward and backward pass, called with real arguments on any device."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._pytree import tree_map_only

from benchmarks.inputs import BlockCase
from mesm_ops import reference
from mesm_ops.ops.contract import Contract
from mesm_ops.reference import Selection


@dataclass(frozen=True)
class Call:
    """One op with its arguments, in the order of its schema."""

    name: str  # the op's name, then words that tell this call from other calls of the op
    op: str
    args: tuple[Any, ...]

    @property
    def arguments(self) -> Any:
        """The arguments as the one object that a backend's kernel takes."""
        return Contract(getattr(reference, self.op)).arguments(*self.args)

    def run(self) -> Any:
        """Run the op on the backend that `mesm_ops.backends` chooses."""
        return getattr(torch.ops.mesm_ops, self.op)(*self.args)

    def pretend(self) -> Any:
        """Return zeros of the shapes that the op would return on a GPU; nothing is computed."""
        with FakeTensorMode():
            args = tree_map_only(Tensor, _on_no_gpu, self.args)
            made = getattr(torch.ops.mesm_ops, self.op)(*args)
        return tree_map_only(Tensor, lambda t: torch.zeros(t.shape, dtype=t.dtype), made)


def _on_no_gpu(tensor: Tensor) -> Tensor:
    """A fake CUDA tensor of the same layout; call inside a fake mode, where no GPU need be."""
    return torch.empty_strided(tensor.shape, tensor.stride(), dtype=tensor.dtype, device="cuda:0")


@torch.no_grad()
def calls(
    case: BlockCase,
    dtype: torch.dtype,
    run: Callable[[Call], Any] = Call.run,
    trim: bool = False,
) -> Iterator[Call]:
    """Every op of a training step, each called with the results of the ops before.

    Without `trim` sizes come from shapes alone, as on a GPU: kept rows first, then padding.
    `run` returns an op's results, whatever else it does with the call.
    """
    from mesm_ops import SparseFeatureMaps

    block, p = case.block, case.block.p
    x = SparseFeatureMaps.from_dense(case.maps.to(dtype))
    attention = [t.detach().to(dtype) for t in block.attention.parameter_tuple()]
    scoring = (case.query.to(dtype), case.lengths, *attention)
    maps = (x.features, x.offsets)
    weighted = int(Selection.WEIGHTED)

    def call(name: str, *args: Any) -> Call:
        return Call(name, name.split(" ")[0], args)

    yield (made := call("cross_modal_score", *maps, *scoring))
    logits = run(made)
    yield call("cross_modal_score_backward", torch.randn_like(logits), *maps, *scoring[:-1])

    yield (made := call("top_p_select", x.features, x.sites, x.offsets, logits, p, weighted, trim))
    features, sites, offsets, rows, weights = run(made)
    grad = torch.randn_like(features)
    yield call("top_p_select_backward", grad, *maps, offsets, rows, weights, weighted)

    place = (sites, offsets, x.height, x.width)
    stages = ((block.conv1, block.norm1), (block.conv2, block.norm2))
    for number, (convolution, norm) in enumerate(stages, start=1):
        weight = convolution.weight.detach().to(dtype)
        yield (made := call(f"subm_conv2d {number}", features, *place, weight, None))
        out = run(made)
        grad = torch.randn_like(out)
        for which, flags in (("input", (True, False, False)), ("weight", (False, True, True))):
            name = f"subm_conv2d_backward {number}, {which}"
            yield call(name, grad, features, *place, weight, *flags)
        parameters = (norm.weight.detach(), norm.bias.detach())
        running = (norm.running_mean, norm.running_var)
        settings = (True, norm.eps, True)
        name = f"sparse_batch_norm {number}"
        yield (made := call(name, out, offsets, *parameters, *running, *settings))
        features, mean, var = run(made)
        name = f"sparse_batch_norm_backward {number}"
        yield call(name, grad, out, offsets, *parameters, mean, var, *settings)
    yield (made := call("sparse_max_pool2d", features, *place, trim))
    pooled, _, _, argmax = run(made)
    grad = torch.randn_like(pooled)
    yield call("sparse_max_pool2d_backward", grad, argmax, features.shape[0])


@torch.no_grad()
def block_calls(
    case: BlockCase,
    dtype: torch.dtype,
    run: Callable[[Call], Any] = Call.run,
    mask: Tensor | None = None,
    selection: Selection = Selection.WEIGHTED,
) -> Iterator[Call]:
    """The block as one op: in inference, in training, and its backward pass.

    The block's candidates are all sites, or the sites of a mask (F, H, W).
    """
    from mesm_ops import SparseFeatureMaps

    name = "sparse_cross_modal_block"
    x = SparseFeatureMaps.from_dense(case.maps.to(dtype), mask)
    place = (x.features, x.sites, x.offsets, x.height, x.width)
    block = case.block
    attention = tuple(t.detach() for t in block.attention.parameter_tuple())
    weights, running = [], []
    for convolution, norm in ((block.conv1, block.norm1), (block.conv2, block.norm2)):
        weights.append((convolution.weight.detach(), norm.weight.detach(), norm.bias.detach()))
        running.append((norm.running_mean, norm.running_var))
    stages = (*weights[0], *running[0], *weights[1], *running[1])
    scoring = (case.query.to(dtype), case.lengths, *attention)
    eps = (block.norm1.eps, block.norm2.eps)

    def forward(training: bool) -> Call:
        kind = "training" if training else "inference"
        settings = (block.p, int(selection), training, *eps, False, training)
        return Call(f"{name} {kind}", name, (*place, *scoring, *stages, *settings))

    yield forward(training=False)
    yield (made := forward(training=True))
    out, _, out_offsets, *statistics, rows, kept, attended, y1, y2, argmax, book = run(made)
    saved = (*statistics, rows, kept, attended, y1, y2, out_offsets, argmax)
    settings = (int(selection), True, *eps, True, True, book)
    backward = (*place, *scoring, *weights[0], *weights[1], *saved, *settings)
    yield Call(f"{name}_backward", f"{name}_backward", (torch.randn_like(out), *backward))
