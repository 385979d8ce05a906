"""MESM against FE2E from end to end on a GPU, per p; both whole, in one batch of clips."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import torch

from benchmarks.gate import error_line
from benchmarks.gpu_rivals import Rivals, dense_rivals
from benchmarks.measure import Run, count_flops
from benchmarks.models import (
    EMOTIONS,
    SMALL_TEXT,
    check_model,
    densities,
    draw_batch,
    model_run,
)

if TYPE_CHECKING:
    from benchmarks.gpu import Plan, Row

_rivals: dict[tuple[str, str, bool], tuple[Rivals, int]] = {}


def model_rows(plan: Plan, dtype: str, p_values: list[float]) -> Iterator[Row]:
    """Inference and training step at each p, FE2E's made once."""
    from benchmarks.gpu import DTYPES
    from mesm.models import FE2E, MESM

    shared: dict[str, Any] = {"emotions": EMOTIONS, "albert": SMALL_TEXT}
    if plan.channels:
        shared["channels"] = plan.channels
    torch.manual_seed(4)
    sparse = MESM(**shared).to(plan.device)
    dense = FE2E(**shared).to(plan.device)
    batch = draw_batch(plan.clips).to(plan.device)
    for train in (False, True):
        for p in p_values:
            sparse.set_p(p)
            sparse.train(train)
            row = _facts(plan, dtype, train, p)
            try:
                key = (plan.device, dtype, train)
                if key not in _rivals:
                    _rivals[key] = _make_rivals(plan, dense.train(train), batch, DTYPES[dtype])
                rivals, dense_flops = _rivals[key]
                row |= densities(sparse, batch, DTYPES[dtype])
                row["gate_error"] = check_model(sparse, batch, train)
                ours = model_run(sparse, batch, DTYPES[dtype], train)
                row |= {"flops": _flops(sparse, batch), "dense_flops": dense_flops}
                row |= _timed(plan, ours, rivals)
            except Exception as error:  # one row less, not the rest of them
                row["error"] = error_line(error)
            yield row


def _facts(plan: Plan, dtype: str, train: bool, p: float) -> Row:
    what = "MESM training step" if train else "MESM inference"
    return {
        "group": f"{what} against FE2E, {dtype}, {plan.clips} clips of 9 faces and 11 chunks",
        "what": what,
        "shape": "small text",
        "frames": plan.clips * 20,
        "p": p,
        "dtype": dtype,
        "rival": "FE2E",
    }


def _make_rivals(
    plan: Plan, dense: torch.nn.Module, batch: Any, dtype: torch.dtype
) -> tuple[Rivals, int]:
    train = dense.training

    def make(module: Any) -> Run:
        return model_run(module, batch, dtype, train)

    flops = _flops(dense, batch)
    return dense_rivals(make, dense, plan.device, plan.deadline, plan.compiled), flops


def _flops(model: torch.nn.Module, batch: Any) -> int:
    # In float32: torch's fused encoder layer does not run under a counter and autocast together.
    return count_flops(model_run(model, batch, torch.float32, model.training))


def _timed(plan: Plan, ours: Run, rivals: Rivals) -> Row:
    from benchmarks.gpu import timed

    row = timed(plan, ours, rivals)
    return row | {"rival": row["rival"].replace("dense", "FE2E")}
