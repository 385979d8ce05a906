"""FLOPs by hand for a small model, and hooks that leave nothing behind."""

import pytest
import torch

from mesm.analysis.costs import FlopTally, SiteTally, Stopwatch, dense_flops_per_frame
from mesm.corpora.registry import CORPORA
from mesm.data.batch import CHUNK_SHAPE, FACE_SHAPE, Batch
from mesm.inputs.faces import SECONDS_BETWEEN_FACES
from mesm.inputs.spectrograms import CHUNK_COLUMNS, HOP, SAMPLE_RATE
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


def test_the_papers_flops_and_the_clip_they_stand_for() -> None:
    """Tables 3 and 4: 8.65 G for FE2E, 5.18 G at p = 0.7, 4.34 G at p = 0.5, one per multiply-add.

    Everything that docs/tables.md says about these figures.
    """
    papers = [corpus.paper for corpus in CORPORA.values() if corpus.paper is not None]
    assert len(papers) == 2
    paper = {row.gflops for found in papers for row in found.results}
    assert paper == {None, 8.65, 5.18, 4.34}
    torch.manual_seed(0)
    model = MESM(emotions=6, modalities="tav", albert=ALBERT).eval()
    dense = {name: flops / 2e9 for name, flops in dense_flops_per_frame(model).items()}
    assert dense == pytest.approx({"face": 0.478, "audio": 0.837}, abs=5e-4)
    a_second = dense["face"] / SECONDS_BETWEEN_FACES + dense["audio"] * SAMPLE_RATE / (
        CHUNK_COLUMNS * HOP
    )
    assert a_second == pytest.approx(3.05, abs=5e-3)
    assert 8.65 / a_second == pytest.approx(2.84, abs=5e-3)
    assert 6 * dense["face"] + 7 * dense["audio"] == pytest.approx(8.73, abs=5e-3)
    for extractor in model.sparse_extractors.values():
        for block in extractor.blocks:  # all sites alike: the lowest are kept
            torch.nn.init.zeros_(block.attention.score.weight)
    frames = Batch(
        clip_ids=["a"],
        text_ids=torch.ones(1, 5, dtype=torch.long),
        text_mask=torch.ones(1, 5, dtype=torch.bool),
        faces=torch.randn(2, *FACE_SHAPE),
        face_lengths=torch.tensor([2]),
        spectrograms=torch.randn(2, *CHUNK_SHAPE),
        spectrogram_lengths=torch.tensor([2]),
        labels=torch.zeros(1, 6),
    )
    for p, share, theirs in ((0.7, 0.57, 5.18), (0.5, 0.40, 4.34)):
        model.set_p(p)
        tally = FlopTally()
        tally.count(model, frames)
        found = tally.per_clip(1)["total"] / 2e9 / (2 * sum(dense.values()))
        assert found == pytest.approx(share, abs=6e-3)
        assert found < theirs / 8.65


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
