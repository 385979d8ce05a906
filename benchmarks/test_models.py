"""MESM against FE2E from end to end: one training batch of the paper.

8 clips of 9 faces and 11 spectrogram chunks each. Both models are whole: text encoder,
Transformers and fusion included. FE2E runs channels-last. MESM's attention has its initial
weights. A training step is forward, loss and backward; the optimizer, alike for both, is left
out.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from benchmarks.measure import count_flops, peak_memory
from benchmarks.models import (
    SMALL_TEXT,
    check_model,
    densities,
    draw_batch,
    make_model,
    model_run,
)
from benchmarks.shapes import DTYPES, HEADLINE_P, PAPER_BATCH

CASES = [
    pytest.param("small text", HEADLINE_P, "float32", id="small text"),
    pytest.param("small text", HEADLINE_P, "bfloat16", id="bfloat16", marks=pytest.mark.full),
    pytest.param("ALBERT-base", HEADLINE_P, "float32", id="ALBERT-base", marks=pytest.mark.full),
    *(
        pytest.param("small text", p, "float32", id=f"p={p}", marks=pytest.mark.full)
        for p in (0.1, 0.3, 0.7, 0.9, 1.0)
    ),
]


@pytest.mark.parametrize("train", [False, True], ids=["inference", "training"])
@pytest.mark.parametrize(("text", "p", "dtype"), CASES)
def test_models(
    measure: Callable[..., None], device: str, text: str, p: float, dtype: str, train: bool
) -> None:
    albert = SMALL_TEXT if text == "small text" else None
    sparse = make_model("MESM", albert=albert, p=p).to(device).train(train)
    dense = make_model("FE2E", albert=albert).to(device).train(train)
    batch = draw_batch().to(device)
    ours, rival = (model_run(model, batch, DTYPES[dtype], train) for model in (sparse, dense))
    what = "MESM training step" if train else "MESM inference"
    facts: dict[str, Any] = {
        "group": f"{what} against FE2E, {dtype}, {PAPER_BATCH}",
        "what": what,
        "shape": text,
        "frames": PAPER_BATCH.frames,
        "p": p,
        "dtype": dtype,
        **densities(sparse, batch, DTYPES[dtype]),
        "flops": count_flops(ours),
        "dense_flops": count_flops(rival),
    }
    if train:
        facts |= {
            "peak_mib": peak_memory(ours, device),
            "dense_peak_mib": peak_memory(rival, device),
        }

    def gate() -> float:
        return check_model(sparse, batch, DTYPES[dtype], train)

    measure(facts, gate, ours, rival, weight=6.0)
