"""Three blocks in a row against the oracle: values, masks and every gradient."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from mesm_ops import SparseCrossModalBlock
from tests import oracle
from tests.mesm_ops.cases import exact

CHANNELS = (4, 6, 8, 10)
LENGTHS = torch.tensor([2, 0, 3])


def make_chain(p: float, selection: str, training: bool) -> list[SparseCrossModalBlock]:
    chain = []
    for cin, cout in pairwise(CHANNELS):
        block = SparseCrossModalBlock(cin, cout, 7, 5, p, selection).train(training)
        for norm in (block.norm1, block.norm2):
            torch.nn.init.normal_(norm.running_mean, std=0.3)
            torch.nn.init.uniform_(norm.running_var, 0.5, 1.5)
            torch.nn.init.normal_(norm.bias, std=0.3)
        torch.nn.init.normal_(block.attention.score.weight)
        chain.append(block)
    return chain


def run_oracle(
    chain: list[SparseCrossModalBlock], maps: Tensor, query: Tensor, training: bool
) -> tuple[Tensor, list[Tensor], list[dict[str, Tensor]]]:
    mask = torch.ones(maps.shape[0], *maps.shape[2:], dtype=torch.bool)
    masks, states = [], []
    for block in chain:
        state = {name: exact(p) for name, p in block.named_parameters()}
        state |= {name: b.double() for name, b in block.named_buffers()}
        attention = oracle.Attention(
            *(state[f"attention.{n}"] for n in ("map_proj.weight", "map_proj.bias")),
            state["attention.query_proj.weight"],
            *(state[f"attention.{n}"] for n in ("score.weight", "score.bias")),
        )
        stages = tuple(
            oracle.ConvNorm(
                state[f"conv{i}.weight"],
                *(state[f"norm{i}.{n}"] for n in ("weight", "bias", "running_mean", "running_var")),
            )
            for i in (1, 2)
        )
        maps, mask, kept = oracle.block(
            *(maps, mask, query, LENGTHS, attention, stages, block.p),
            *(block.attention.selection, training),
        )
        masks += [kept, mask]
        states.append(state)
    return maps, masks, states


@pytest.mark.parametrize("whole", [True, False], ids=["whole", "halves"])
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("selection", ["weighted", "hard", "straight_through"])
@pytest.mark.parametrize("p", [0.3, 0.5, 1.0])
def test_equals_the_oracle(
    backend: str, p: float, selection: str, training: bool, whole: bool
) -> None:
    chain = make_chain(p, selection, training)
    maps = torch.randn(5, 4, 17, 19, requires_grad=True)
    query = torch.randn(3, 7, requires_grad=True)
    dense, exact_query = exact(maps), exact(query)
    wanted, masks, states = run_oracle(chain, dense, exact_query, training)

    x: torch.Tensor | object = maps
    got_masks = []
    for block in chain:
        if whole:
            x = block(x, query, LENGTHS)
            got_masks += [x.mask()]
        else:
            selected = block.attend(x, query, LENGTHS)
            x = block.convolve(selected)
            got_masks += [selected.mask(), x.mask()]
    masks = masks[1::2] if whole else masks
    for got_mask, mask in zip(got_masks, masks, strict=True):
        assert torch.equal(got_mask, mask)
    got = x.to_dense()

    # Fifteen float32 stages. 1e-4 of the largest value is what the project promises; the errors
    # seen were below 3e-6 forward and 2e-5 backward.
    def close(a: Tensor, b: Tensor, what: str, floor: float = 1e-6) -> None:
        scale = max(float(b.detach().abs().max()), floor)
        error = float((a.double() - b).detach().abs().max())
        assert error <= 1e-4 * scale, f"{what}: {error} of {scale}"

    close(got, wanted, "out")
    grad = torch.randn(got.shape)
    got.backward(grad)
    wanted.backward(grad.double())
    close(maps.grad, dense.grad, "grad of maps")
    assert (query.grad is None) == (selection == "hard")
    if selection != "hard":
        close(query.grad, exact_query.grad, "grad of query")
    for i, (block, state) in enumerate(zip(chain, states, strict=True)):
        for name, parameter in block.named_parameters():
            if selection == "hard" and name.startswith("attention."):
                assert parameter.grad is None
                continue
            # The score's bias has no gradient but rounding; it is as large as its weight's.
            floor = (
                float(state["attention.score.weight"].grad.abs().max()) if "score" in name else 0
            )
            close(parameter.grad, state[name].grad, f"grad of {i}.{name}", max(floor, 1e-6))


def test_flops_are_those_of_kept_sites(backend: str) -> None:
    chain = make_chain(0.4, "weighted", training=False)
    maps, query = torch.randn(5, 4, 17, 19), torch.randn(3, 7)
    _, masks, _ = run_oracle(chain, exact(maps), exact(query), training=False)
    wanted, rows = 0, maps[:, 0].numel()
    for i, (cin, cout) in enumerate(pairwise(CHANNELS)):
        kept, pooled = masks[2 * i : 2 * i + 2]
        wanted += 2 * (rows * cin * 5 + 3 * 7 * 5 + rows * 5)  # scores: all candidates
        wanted += 2 * oracle.pairs(kept) * (cin * cout + cout * cout)  # both convolutions
        rows = int(pooled.sum())
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        x: torch.Tensor | object = maps
        for block in chain:
            x = block(x, query, LENGTHS)
    assert counter.get_total_flops() == wanted
