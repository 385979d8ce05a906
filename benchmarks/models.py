"""MESM and FE2E on a batch of the paper's clips: what the end-to-end benchmarks time and check."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.dense import masked_block, pooled_mask
from benchmarks.gate import (
    GRADIENT_TOLERANCE,
    VALUE_TOLERANCE,
    RedGate,
    autocast,
    full_float32,
    relative_error,
)
from benchmarks.measure import Run
from benchmarks.shapes import CHUNKS_PER_CLIP, CLIPS, FACES_PER_CLIP, TOKENS_PER_CLIP

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


def draw_batch(clips: int = CLIPS) -> Any:
    """So many clips of 9 smooth faces and 11 smooth spectrogram chunks each."""
    from mesm.batch import CHUNK_SHAPE, FACE_SHAPE, Batch

    generator = torch.Generator().manual_seed(5)

    def frames(count: int, shape: tuple[int, int, int]) -> Tensor:
        channels, height, width = shape
        grid = torch.randn(count, channels, height // 8, width // 8, generator=generator)
        fields = F.interpolate(grid, size=(height, width), mode="bicubic", align_corners=True)
        return fields + 0.1 * torch.randn(fields.shape, generator=generator)

    return Batch(
        clip_ids=[f"clip{number}" for number in range(clips)],
        text_ids=torch.randint(5, 2000, (clips, TOKENS_PER_CLIP), generator=generator),
        text_mask=torch.ones(clips, TOKENS_PER_CLIP, dtype=torch.bool),
        faces=frames(clips * FACES_PER_CLIP, FACE_SHAPE),
        face_lengths=torch.full((clips,), FACES_PER_CLIP),
        spectrograms=frames(clips * CHUNKS_PER_CLIP, CHUNK_SHAPE),
        spectrogram_lengths=torch.full((clips,), CHUNKS_PER_CLIP),
        labels=torch.randint(0, 2, (clips, EMOTIONS), generator=generator).float(),
    )


def model_run(model: torch.nn.Module, batch: Any, dtype: torch.dtype, train: bool) -> Run:
    """One forward pass, or one training step without the optimizer."""
    device = batch.faces.device.type

    @torch.no_grad()
    def forward() -> Tensor:
        with autocast(dtype, device):
            logits: Tensor = model(batch)
        return logits

    def step() -> None:
        model.zero_grad(set_to_none=True)
        with autocast(dtype, device):
            logits = model(batch)
        F.binary_cross_entropy_with_logits(logits.float(), batch.labels).backward()

    return step if train else forward


@torch.no_grad()
def densities(model: Any, batch: Any, dtype: torch.dtype) -> dict[str, Any]:
    """The kept share of each block's map, and their mean weighted by the maps' sites."""
    with autocast(dtype, batch.faces.device.type):
        kept = model.kept_sites(batch)
    masks = {name: [block.mask() for block in blocks] for name, blocks in kept.items()}
    every = [mask for blocks in masks.values() for mask in blocks]
    return {
        "density": sum(int(mask.sum()) for mask in every) / sum(mask.numel() for mask in every),
        "block_densities": {
            name: [float(mask.float().mean()) for mask in blocks] for name, blocks in masks.items()
        },
    }


def check_model(model: Any, batch: Any, train: bool) -> float:
    """Compare both feature extractors in float32 with whole maps and masks.

    Raises:
        RedGate: they do not agree.
    """
    with full_float32():
        return _check_model(model, batch, train)


def _check_model(model: Any, batch: Any, train: bool) -> float:
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
            generator = torch.Generator().manual_seed(6)
            upstream = torch.randn(ours.shape, generator=generator).to(ours)
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
        staged = extractor.first_look(frames)
        kept = [sites.mask() for sites in extractor.kept_sites(staged, query, lengths)]
    maps: Tensor = extractor.stage(frames)
    candidates = None
    for block, mask in zip(extractor.blocks, kept, strict=True):
        maps = masked_block(block, maps, query, lengths, mask, candidates)
        candidates = pooled_mask(mask)
    return maps
