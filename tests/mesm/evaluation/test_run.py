"""A run's batches come in corpus order, each with its clips."""

from pathlib import Path

import pytest
import torch

from mesm.analysis.sparse_run import SparseRun
from tests.mesm.conftest import SIZES


@pytest.mark.parametrize("size", [1, 3, 100])
def test_batches_are_the_split_in_order(tiny_mesm: Path, size: int) -> None:
    run = SparseRun.load(tiny_mesm)
    dataset = run.loaded.dataset("test")
    wanted = [dataset.clip(place).clip_id for place in range(SIZES["test"])]
    found, batches = [], run.batches("test", size)
    for clips, batch in batches:
        assert len(clips) <= size
        labels = torch.stack([dataset[len(found) + i].labels for i in range(len(clips))])
        assert torch.equal(batch.labels, labels)
        found += [clip.clip_id for clip in clips]
    assert found == wanted
    assert len(batches) == sum(1 for _ in batches) == -(-len(wanted) // size)


def test_p_is_the_trained_one_unless_chosen(tiny_mesm: Path) -> None:
    trained = SparseRun.load(tiny_mesm)
    assert trained.p == trained.loaded.config.model.p
    chosen = SparseRun.load(tiny_mesm, 0.3)
    assert chosen.p == 0.3
    for run in (trained, chosen):
        for tower in (run.model.face, run.model.audio):
            assert {block.p for block in tower.extractor.blocks} == {run.p}
