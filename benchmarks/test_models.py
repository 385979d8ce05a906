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
import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.dense import masked_block, pooled_mask
from benchmarks.gate import GRADIENT_TOLERANCE, VALUE_TOLERANCE, RedGate, autocast, relative_error
from benchmarks.measure import Run, count_flops, peak_memory
from benchmarks.shapes import (
    CHUNKS_PER_CLIP,
    CLIPS,
    FACES_PER_CLIP,
    HEADLINE_P,
    TOKENS_PER_CLIP,
)

EMOTIONS = 6
# A small text encoder shows the convolutions; ALBERT-base is the paper's.
SMALL_TEXT = {
    "vocab_size": 2000,
    "embedding_size": 64,
    "hidden_size": 128,
    "num_attention_heads": 4,
    "num_hidden_layers": 2,
    "intermediate_size": 512,
}
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
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
def test_models(measure: Callable[..., None], text: str, p: float, dtype: str, train: bool) -> None:
    from mesm.models import FE2E, MESM

    torch.manual_seed(4)
    albert = SMALL_TEXT if text == "small text" else None
    sparse = MESM(emotions=EMOTIONS, p=p, albert=albert).train(train)
    dense = FE2E(emotions=EMOTIONS, albert=albert).train(train)
    batch = _batch()
    ours, rival = (_run(model, batch, DTYPES[dtype], train) for model in (sparse, dense))
    what = "MESM training step" if train else "MESM inference"
    facts: dict[str, Any] = {
        "group": f"{what} against FE2E, {dtype}, 8 clips of 9 faces and 11 chunks",
        "what": what,
        "shape": text,
        "frames": CLIPS * (FACES_PER_CLIP + CHUNKS_PER_CLIP),
        "p": p,
        "dtype": dtype,
        **_densities(sparse, batch, DTYPES[dtype]),
        "flops": count_flops(ours),
        "dense_flops": count_flops(rival),
    }
    if train:
        facts |= {"peak_mib": peak_memory(ours), "dense_peak_mib": peak_memory(rival)}
    measure(facts, lambda: _gate(sparse, batch, train), ours, rival, weight=6.0)


def _batch() -> Any:
    from mesm.batch import CHUNK_SHAPE, FACE_SHAPE, Batch

    generator = torch.Generator().manual_seed(5)

    def frames(count: int, shape: tuple[int, int, int]) -> Tensor:
        channels, height, width = shape
        grid = torch.randn(count, channels, height // 8, width // 8, generator=generator)
        fields = F.interpolate(grid, size=(height, width), mode="bicubic", align_corners=True)
        return fields + 0.1 * torch.randn(fields.shape, generator=generator)

    return Batch(
        clip_ids=[f"clip{number}" for number in range(CLIPS)],
        text_ids=torch.randint(5, 2000, (CLIPS, TOKENS_PER_CLIP), generator=generator),
        text_mask=torch.ones(CLIPS, TOKENS_PER_CLIP, dtype=torch.bool),
        faces=frames(CLIPS * FACES_PER_CLIP, FACE_SHAPE),
        face_lengths=torch.full((CLIPS,), FACES_PER_CLIP),
        spectrograms=frames(CLIPS * CHUNKS_PER_CLIP, CHUNK_SHAPE),
        spectrogram_lengths=torch.full((CLIPS,), CHUNKS_PER_CLIP),
        labels=torch.randint(0, 2, (CLIPS, EMOTIONS), generator=generator).float(),
    )


def _run(model: torch.nn.Module, batch: Any, dtype: torch.dtype, train: bool) -> Run:
    @torch.no_grad()
    def forward() -> Tensor:
        with autocast(dtype):
            logits: Tensor = model(batch)
        return logits

    def step() -> None:
        model.zero_grad(set_to_none=True)
        with autocast(dtype):
            logits = model(batch)
        F.binary_cross_entropy_with_logits(logits.float(), batch.labels).backward()

    return step if train else forward


@torch.no_grad()
def _densities(model: Any, batch: Any, dtype: torch.dtype) -> dict[str, Any]:
    """The kept share of each block's map, and their mean weighted by the maps' sites."""
    with autocast(dtype):
        kept = model.kept_sites(batch)
    masks = {name: [block.mask() for block in blocks] for name, blocks in kept.items()}
    every = [mask for blocks in masks.values() for mask in blocks]
    return {
        "density": sum(int(mask.sum()) for mask in every) / sum(mask.numel() for mask in every),
        "block_densities": {
            name: [float(mask.float().mean()) for mask in blocks] for name, blocks in masks.items()
        },
    }


def _gate(model: Any, batch: Any, train: bool) -> float:
    """Compare both feature extractors in float32 with whole maps and masks."""
    with torch.no_grad():
        query = model.text(batch.text_ids, batch.text_mask)
    frames = {
        "face": (batch.faces, batch.face_lengths),
        "audio": (batch.spectrograms, batch.spectrogram_lengths),
    }
    worst = 0.0
    for name, extractor in model.feature_extractors.items():
        pixels, lengths = frames[name]
        ours = extractor(pixels, query, lengths)
        truth = _masked_extractor(extractor, pixels, query, lengths)
        errors = {f"{name} maps": (relative_error(ours, truth), VALUE_TOLERANCE)}
        if train:
            upstream = torch.randn(ours.shape, generator=torch.Generator().manual_seed(6))
            weights = dict(extractor.named_parameters())
            weights = {n: w for n, w in weights.items() if not n.endswith("score.bias")}
            pairs = zip(
                torch.autograd.grad(ours, list(weights.values()), upstream),
                torch.autograd.grad(truth, list(weights.values()), upstream),
                strict=True,
            )
            for weight, pair in zip(weights, pairs, strict=True):
                errors[f"{name} {weight}"] = (relative_error(*pair), GRADIENT_TOLERANCE)
        for what, (error, allowed) in errors.items():
            if error > allowed:
                raise RedGate(f"{what} is off by {error:.1e}, allowed {allowed:.1e}")
            worst = max(worst, error)
    return worst


def _masked_extractor(extractor: Any, frames: Tensor, query: Tensor, lengths: Tensor) -> Tensor:
    with torch.no_grad():
        kept = [sites.mask() for sites in extractor.kept_sites(frames, query, lengths)]
    maps: Tensor = extractor.stage(frames)
    candidates = None
    for block, mask in zip(extractor.blocks, kept, strict=True):
        maps = masked_block(block, maps, query, lengths, mask, candidates)
        candidates = pooled_mask(mask)
    return maps
