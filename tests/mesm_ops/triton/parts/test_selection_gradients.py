"""From kept rows in any order to candidates; test_score_gradients.py goes on from there."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from mesm_ops.triton.parts.selection_gradients import grad_attention, scatter_kept_rows
from tests.mesm_ops.cases import assert_close
from tests.mesm_ops.triton.parts.selections import DEVICE, Selection, draw_selection

CASES = {
    "nothing is a power of two": ((4, 17, 5, 7), 0.5, [1, 0, 3], 5, 7),
    "more rows than a block": ((2, 3, 30, 25), 0.9, None, 2, 3),
    "more channels than a block": ((2, 300, 3, 3), 0.7, [2], 2, 3),
    "frames without candidates": ((6, 8, 2, 2), 0.2, None, 2, 3),
    "all sites": ((3, 64, 4, 5), 1.0, None, 2, 3),
    "one site": ((1, 2, 1, 1), 1.0, None, 2, 3),
    "no site": ((2, 2, 1, 1), 0.0, None, 2, 3),
    "no frame": ((0, 3, 2, 2), 1.0, None, 2, 3),
}


def given(case: Selection) -> list[Tensor]:
    """Return the tensors that map a candidate to its gradient."""
    return [t.to(DEVICE) for t in (case.rows, case.kept_offsets, case.place)]


def moved(case: Selection) -> Tensor:
    """Return the gradient of the kept rows at their candidates."""
    grad = torch.zeros(len(case.features), case.features.shape[1], dtype=case.grad_x.dtype)
    grad[case.kept] = case.grad_x[case.place[: len(case.kept)].long()]
    return grad


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("name", CASES)
def test_kept_rows_are_scattered(name: str, share: float, dtype: torch.dtype) -> None:
    case = draw_selection(*CASES[name], dtype, share=share)
    position_of = torch.full((len(case.rows),), 10**6, dtype=torch.int32, device=DEVICE)
    grad_features = torch.full_like(case.features, torch.nan, device=DEVICE)
    scatter_kept_rows(
        case.grad_x.to(DEVICE), case.offsets.to(DEVICE), *given(case), position_of, grad_features
    )
    assert torch.equal(grad_features.cpu(), moved(case))


def test_few_frames_are_split() -> None:
    case = draw_selection((1, 8, 60, 50), 0.9, None, 2, 3, torch.float32)
    position_of = torch.empty(len(case.rows), dtype=torch.int32, device=DEVICE)
    grad_features = torch.full_like(case.features, torch.nan, device=DEVICE)
    scatter_kept_rows(
        case.grad_x.to(DEVICE), case.offsets.to(DEVICE), *given(case), position_of, grad_features
    )
    assert torch.equal(grad_features.cpu(), moved(case))


@pytest.mark.parametrize("weighted", [True, False])
@pytest.mark.parametrize("parts", [None, 1, 3])
@pytest.mark.parametrize("name", CASES)
def test_gradient_through_the_softmax(name: str, parts: int | None, weighted: bool) -> None:
    case = draw_selection(*CASES[name], torch.float32)
    attention = torch.rand(len(case.features))
    candidates, real = case.offsets.diff(), case.real
    scale = torch.zeros(real, dtype=torch.float64)
    scale[case.kept] = 1.0
    if weighted:
        scale *= candidates[case.frame] * attention[:real].double()
    grad, features = moved(case)[:real].double(), case.features[:real].double()
    moment = (grad * features).sum(1) * scale
    pull = torch.zeros(len(candidates), dtype=torch.float64).index_add(0, case.frame, moment)
    wanted = moment - attention[:real] * pull[case.frame]

    moments = None
    if parts is not None:
        moments = torch.full((parts, len(case.grad_x)), torch.nan)
        share = torch.rand(parts, len(case.kept))
        share /= share.sum(0)
        moments[:, case.place[: len(case.kept)].long()] = share * moment[case.kept].float()
    made = [torch.full((len(attention),), value, device=DEVICE) for value in (torch.nan, 10**6)]
    grad_logits, position_of = made[0], made[1].int()
    factor = torch.full_like(grad_logits, torch.nan) if weighted else None
    features = case.features if moments is None else torch.full_like(case.features, torch.nan)
    grad_attention(
        *(case.grad_x.to(DEVICE), features.to(DEVICE), case.offsets.to(DEVICE), *given(case)),
        *(attention.to(DEVICE), grad_logits, position_of, factor),
        None if moments is None else moments.to(DEVICE),
    )
    assert_close(grad_logits[:real].cpu(), wanted, "grad of logits")
    positions = torch.full((real,), -1, dtype=torch.int32)
    positions[case.kept] = case.place[: len(case.kept)]
    assert torch.equal(position_of[:real].cpu(), positions)
    if factor is not None:
        assert_close(factor[:real].cpu(), scale, "factor")
