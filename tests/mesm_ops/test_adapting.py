"""Blocks as networks are used: moved, averaged, checkpointed, shared, mapped, saved."""

from __future__ import annotations

import copy
import io
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, update_bn
from torch.utils.checkpoint import checkpoint

import mesm_ops
from mesm_ops import (
    SparseCrossModalBlock,
)
from tests.mesm_ops.adapted import CLOSE, block, hook, inputs, run


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_a_network_of_another_dtype(dtype: torch.dtype) -> None:
    net = block()
    net.p = 1  # rounded scores may keep other sites
    x, query, lengths = inputs()
    wanted = net.eval()(x, query, lengths)
    got = net.to(dtype)(x.to(dtype), query.to(dtype), lengths)
    assert got.dtype == dtype
    # As in test_modules: five roundings in a row.
    scale = float(wanted.features.detach().abs().max()) * 5
    rounding = max(torch.finfo(dtype).eps, torch.finfo(torch.float32).eps)
    assert got.to(torch.float32).difference(wanted, atol=scale * rounding) is None


def test_a_network_on_no_device_is_filled_or_assigned() -> None:
    net = block()
    state = net.state_dict()
    with torch.device("meta"):
        empty = SparseCrossModalBlock(4, 4, 6, 5, p=0.7)
    filled = copy.deepcopy(empty).to_empty(device="cpu")
    for module in filled.modules():
        if hasattr(module, "reset_parameters"):
            module.reset_parameters()
    filled.load_state_dict(state)
    empty.load_state_dict(state, assign=True)
    for other in (filled, empty, copy.deepcopy(net)):
        assert other(*inputs()).difference(net.train()(*inputs())) is None


def test_channels_last_weights_and_maps_change_nothing() -> None:
    net, maps = block().eval(), torch.randn(4, 4, 6, 7)
    wanted = net(maps, *inputs()[1:])
    last = copy.deepcopy(net).to(memory_format=torch.channels_last)
    got = last(maps.to(memory_format=torch.channels_last), *inputs()[1:])
    assert got.difference(wanted) is None


def test_averaged_networks_count_their_norms_again() -> None:
    net = block()
    averaged = AveragedModel(net)
    averaged.update_parameters(net)
    batches = [inputs(seed) for seed in range(3)]

    class Batch(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = averaged.module

        def forward(self, number: Tensor) -> Any:
            return self.net(*batches[int(number)])

    update_bn([torch.tensor(number) for number in range(3)], Batch())
    assert int(averaged.module.norm1.num_batches_tracked) == 3
    counted = block()
    for norm in (counted.norm1, counted.norm2):
        norm.momentum = None
    for batch in batches:
        counted(*batch)
    for name, value in counted.state_dict().items():
        torch.testing.assert_close(averaged.module.state_dict()[name], value, **CLOSE)


def test_checkpointed_activations_and_hooks_on_gradients() -> None:
    one, other = block(), block()
    hooked = []
    for parameter in other.parameters():
        parameter.register_post_accumulate_grad_hook(lambda p: hooked.append(p.grad is not None))
    run(one, one, 0)
    run(lambda *given: checkpoint(other, *given, use_reentrant=False), other, 0)
    for parameter, same in zip(one.parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(parameter.grad, same.grad)
    assert hooked == [True] * len(list(other.parameters()))
    norm = nn.utils.clip_grad_norm_(one.parameters(), 1e-3)
    assert norm > 1e-3
    assert nn.utils.get_total_norm([p.grad for p in one.parameters()]) <= 1.001e-3


def test_gradients_accumulate_over_steps_and_shared_blocks() -> None:
    net = block()
    shared = block()
    shared.conv1.weight = net.conv1.weight
    run(net, net, 0)
    once = net.conv1.weight.grad.clone()
    run(shared, shared, 0)
    torch.testing.assert_close(net.conv1.weight.grad, 2 * once, **CLOSE)
    run(net, net, 0)
    torch.testing.assert_close(net.conv1.weight.grad, 3 * once, **CLOSE)


def test_slices_of_a_batch_are_mapped() -> None:
    net = block().eval()
    maps, query = torch.randn(3, 2, 4, 6, 7), torch.randn(3, 2, 6)
    with torch.no_grad():
        got = torch.func.vmap(lambda m, q: net(m, q).to_dense())(maps, query)
        wanted = torch.stack([net(m, q).to_dense() for m, q in zip(maps, query, strict=True)])
    torch.testing.assert_close(got, wanted, **CLOSE)
    with pytest.raises(RuntimeError, match="vmap: inplace arithmetic"):  # of running statistics
        torch.func.vmap(lambda m, q: net.train()(m, q).to_dense())(maps, query)


def test_a_replica_of_data_parallel_runs() -> None:
    net = block().eval()
    replica = net._replicate_for_data_parallel()
    for name, part in net.named_children():
        replica._modules[name] = part
    assert replica(*inputs()).difference(net(*inputs())) is None


def test_saved_whole_and_by_state() -> None:
    net, file = block(), io.BytesIO()
    hook("conv1")(net)
    torch.save(net, file)
    file.seek(0)
    loaded = torch.load(file, weights_only=False)
    assert loaded.eval()(*inputs()).difference(net.eval()(*inputs())) is None
    assert mesm_ops.explain(loaded).splitlines()[0] == mesm_ops.explain(net).splitlines()[0]


def test_the_page_about_it_runs(capsys: pytest.CaptureFixture[str]) -> None:
    page = (Path(__file__).parents[2] / "docs" / "adapting.md").read_text()
    names: dict[str, Any] = {"__name__": "page"}
    for code in re.findall(r"```python\n(.*?)```", page, re.DOTALL):
        exec(compile(code, "adapting.md", "exec"), names)
    said = capsys.readouterr().out
    for line in re.findall(r"print\(explain\(block\)\)  # (.*)", page):
        assert line in said
    assert names["block"](torch.randn(2, 4, 6, 6), torch.randn(2, 6)).channels == 8
