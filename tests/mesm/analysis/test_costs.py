"""FLOPs by hand for a small model, and hooks that leave nothing behind."""

import pytest
import torch

from mesm.analysis.costs import FlopTally, SiteTally, Stopwatch, dense_flops_per_frame
from mesm.data.batch import Batch
from mesm.models import MESM

ALBERT = {
    "hidden_size": 16,
    "num_attention_heads": 2,
    "intermediate_size": 16,
    "embedding_size": 8,
    "num_hidden_layers": 1,
    "vocab_size": 20,
}


@pytest.fixture(scope="module")
def model() -> MESM:
    torch.manual_seed(0)
    sizes = {"hidden": 8, "dim": 8, "heads": 2, "layers": 1, "feedforward": 8}
    return MESM(emotions=6, modalities="tv", channels=(4, 4, 6, 8), albert=ALBERT, **sizes).eval()


def batch(faces: int) -> Batch:
    generator = torch.Generator().manual_seed(1)
    return Batch(
        clip_ids=["a", "b"],
        text_ids=torch.randint(0, 20, (2, 5), generator=generator),
        text_mask=torch.ones(2, 5, dtype=torch.bool),
        faces=torch.randn(faces, 3, 48, 48, generator=generator),
        face_lengths=torch.tensor([1, faces - 1]),
        spectrograms=torch.zeros(0, 1, 128, 32),
        spectrogram_lengths=torch.tensor([0, 0]),
        labels=torch.zeros(2, 6),
    )


def test_flops_at_p_1_by_hand(model: MESM) -> None:
    """Exact pairs of a full n x n map: (3n - 2)^2 of the 9 n^2 that a padded convolution does."""
    model.set_p(1.0)
    tally = FlopTally()
    logits = tally.count(model, batch(3))
    assert logits.shape == (2, 6)
    ops = tally.per_modality["face"]
    a, b, c, d = model.channels
    pairs = [(i, o, (3 * n - 2) ** 2) for i, o, n in ((a, b, 24), (b, c, 12), (c, d, 6))]
    sparse = 2 * 3 * sum(count * (i * o + o * o) for i, o, count in pairs)
    dense = 2 * 3 * (48 * 48 * 25 * 3 * a + 24 * 24 * 4 * 9 * a * a)
    assert ops["mesm_ops.subm_conv2d"] == sparse
    assert ops["aten.convolution"] == dense
    counted = tally.per_clip(2)
    assert counted["attention"] == ops["mesm_ops.cross_modal_score"] / 2 > 0
    assert counted["total"] == sum(ops.values()) / 2


def test_dense_flops_by_hand(model: MESM) -> None:
    """FLOPs of FE2E's padded convolutions over whole maps, 2 per multiply-accumulate."""
    a, b, c, d = model.channels
    pairs = ((a, b, 24), (b, c, 12), (c, d, 6))
    blocks = sum(9 * n * n * (i * o + o * o) for i, o, n in pairs)
    first = 48 * 48 * 25 * 3 * a + 24 * 24 * 4 * 9 * a * a
    assert dense_flops_per_frame(model) == {"face": 2 * (first + blocks)}


def test_tallies_add_up_over_batches(model: MESM) -> None:
    model.set_p(0.5)
    whole, parts = FlopTally(), FlopTally()
    whole.count(model, batch(3))
    parts.count(model, batch(3))
    parts.count(model, batch(3))
    assert parts.per_clip(4) == whole.per_clip(2)
    sites = SiteTally()
    sites.count(model, batch(3))
    once = sites.mean()
    sites.count(model, batch(3))
    assert sites.mean() == once
    assert sites.frames["face"] == 6


def test_stopwatch_removes_its_hooks(model: MESM) -> None:
    watch = Stopwatch()
    watch.time(model, batch(3))
    watch.time(model, batch(3))
    medians = watch.medians()
    assert 0 < medians["extraction"] <= medians["model"]
    assert len(medians["all"]) == 2
    for extractor in model.feature_extractors.values():
        assert not extractor._forward_hooks
        assert not extractor._forward_pre_hooks
