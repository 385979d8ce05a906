"""MESM and FE2E on a batch of clips, as the end-to-end benchmarks time and check both."""

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
from benchmarks.kept import KeptSites
from benchmarks.measure import Run
from benchmarks.shapes import CHUNK, FACE, PAPER_BATCH, Clips

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

# Errors of all low-precision gradients together may be so many times those of whole maps. Both are
# rounding, drawn apart: in 24 draws at a rehearsal's size (six seeds, two p, two layouts) the
# quotient was 0.8 to 2.4.
LOW_GRADIENTS = 3


def draw_batch(clips: Clips = PAPER_BATCH) -> Any:
    """Clips of smooth faces and smooth spectrogram chunks, as a `mesm.Batch`."""
    from mesm import Batch

    generator = torch.Generator().manual_seed(5)

    def frames(count: int, shape: tuple[int, int, int]) -> Tensor:
        channels, height, width = shape
        grid = torch.randn(count, channels, height // 8, width // 8, generator=generator)
        fields = F.interpolate(grid, size=(height, width), mode="bicubic", align_corners=True)
        return fields + 0.1 * torch.randn(fields.shape, generator=generator)

    count = clips.count
    return Batch(
        clip_ids=[f"clip{number}" for number in range(count)],
        text_ids=torch.randint(5, 2000, (count, clips.tokens), generator=generator),
        text_mask=torch.ones(count, clips.tokens, dtype=torch.bool),
        faces=frames(count * clips.faces, FACE),
        face_lengths=torch.full((count,), clips.faces),
        spectrograms=frames(count * clips.chunks, CHUNK),
        spectrogram_lengths=torch.full((count,), clips.chunks),
        labels=torch.randint(0, 2, (count, EMOTIONS), generator=generator).float(),
    )


def make_model(name: str, channels: tuple[int, ...] | None = None, **arguments: Any) -> Any:
    """MESM or FE2E with a small text encoder and seeded weights.

    Args:
        name: "MESM" or "FE2E".
        channels: widths of the model's convolutions; None: the paper's.
        arguments: further arguments of the model's class.
    """
    from mesm import models

    torch.manual_seed(4)
    shared: dict[str, Any] = {"emotions": EMOTIONS, "albert": SMALL_TEXT} | arguments
    if channels:
        shared["channels"] = channels
    return getattr(models, name)(**shared)


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
    masks = {}
    with autocast(dtype, batch.faces.device.type):
        query = model.text(batch.text_ids, batch.text_mask)
        for name, (pixels, lengths) in _frames(batch).items():
            with KeptSites() as kept:
                model.feature_extractors[name](pixels, query, lengths)
            masks[name] = kept.masks
    every = [mask for blocks in masks.values() for mask in blocks]
    return {
        "density": sum(int(mask.sum()) for mask in every) / sum(mask.numel() for mask in every),
        "block_densities": {
            name: [float(mask.float().mean()) for mask in blocks] for name, blocks in masks.items()
        },
    }


def _frames(batch: Any) -> dict[str, tuple[Tensor, Tensor]]:
    """Frames and their number per clip, by the name of the extractor that takes the frames."""
    return {
        "face": (batch.faces, batch.face_lengths),
        "audio": (batch.spectrograms, batch.spectrogram_lengths),
    }


def check_model(model: Any, batch: Any, dtype: torch.dtype, train: bool) -> float:
    """Compare both feature extractors with whole maps and masks; returns the largest error.

    In float32 each gradient has to agree; in low precision, in which some gradients are mostly
    rounding, all gradients together, within the tolerance of `benchmarks.gate`.

    Raises:
        RedGate: the extractors and whole maps do not agree.
    """
    with torch.no_grad():
        query = model.text(batch.text_ids, batch.text_mask)
    worst = 0.0
    with torch.set_grad_enabled(train):
        for name, (pixels, lengths) in _frames(batch).items():
            for precision in {torch.float32, dtype}:
                inputs = (model.feature_extractors[name], pixels, query, lengths)
                errors = _extractor_errors(*inputs, precision, train)
                for what, (error, allowed) in errors.items():
                    if error > allowed:
                        said = f"{name} {what} is off by {error:.1e}, allowed {allowed:.1e}"
                        raise RedGate(said)
                    worst = max(worst, error)
    return worst


def _extractor_errors(
    extractor: Any,
    pixels: Tensor,
    query: Tensor,
    lengths: Tensor,
    dtype: torch.dtype,
    train: bool,
) -> dict[str, tuple[float, float]]:
    """Error and tolerance of each compared value, by its name."""
    device, together = pixels.device.type, dtype != torch.float32
    sites = KeptSites()
    with full_float32(), sites, autocast(dtype, device):
        ours = _outputs(extractor, extractor(pixels, query, lengths), train, together)
    with full_float32():
        dense = _masked_extractor(extractor, pixels, query, lengths, sites.masks)
        truth = _outputs(extractor, dense, train, together)
    low: dict[str, Tensor] = {}
    if together:
        with autocast(dtype, device):
            dense = _masked_extractor(extractor, pixels, query, lengths, sites.masks)
        low = _outputs(extractor, dense, train, together)
    found = {}
    for what, value in ours.items():
        allowed = VALUE_TOLERANCE if what == "maps" else GRADIENT_TOLERANCE
        if low:
            times = 2 if what == "maps" else LOW_GRADIENTS
            allowed += times * relative_error(low[what], truth[what])
        found[what] = (relative_error(value, truth[what]), allowed)
    return found


def _outputs(extractor: Any, maps: Tensor, train: bool, together: bool) -> dict[str, Tensor]:
    """The maps and, in training, the gradients that one random upstream gives the weights."""
    if not train:
        return {"maps": maps}
    upstream = torch.randn(maps.shape, generator=torch.Generator().manual_seed(6)).to(maps)
    # The softmax does not see the score's bias: its gradient is rounding and nothing else.
    weights = {n: w for n, w in extractor.named_parameters() if not n.endswith("score.bias")}
    gradients = dict(
        zip(weights, torch.autograd.grad(maps, list(weights.values()), upstream), strict=True)
    )
    if together:
        gradients = {"gradient": torch.cat([g.flatten().double() for g in gradients.values()])}
    return {"maps": maps.detach(), **gradients}


def _masked_extractor(
    extractor: Any, frames: Tensor, query: Tensor, lengths: Tensor, kept: list[Tensor]
) -> Tensor:
    maps: Tensor = extractor.stage(frames)
    candidates = None
    for block, mask in zip(extractor.blocks, kept, strict=True):
        maps = masked_block(block, maps, query, lengths, mask, candidates)
        candidates = pooled_mask(mask)
    return maps
