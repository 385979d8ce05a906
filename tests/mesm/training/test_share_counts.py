"""Means of processes, weighted by their shares, are the mean over all clips of a step."""

from __future__ import annotations

from typing import Any, cast
from unittest import mock

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from mesm.data.batch import Batch
from mesm.data.clips import EpochBatches
from mesm.training import share_counts
from mesm.training.share import WHOLE
from mesm.training.share_counts import Shares, stand_in
from mesm.training.teacher import Pair

MODEL = cast(Any, nn.Linear(1, 1))  # as a baseline, of which clips alone are counted


@given(
    clips=st.integers(1, 30),
    per_process=st.integers(1, 5),
    processes=st.integers(2, 5),
    seed=st.none() | st.integers(0, 9),
)
def test_clips_weigh_alike_whoever_has_them(
    clips: int, per_process: int, processes: int, seed: int | None
) -> None:
    losses = [float(7 * clip % 11) for clip in range(clips)]
    ranks = [
        EpochBatches(clips, per_process * processes, seed, rank, processes)
        for rank in range(processes)
    ]
    whole = EpochBatches(clips, per_process * processes, seed)
    with mock.patch.object(share_counts.dist, "new_group", return_value=None):
        shares = [Shares(MODEL, batches) for batches in ranks]
    for step, (every, *parts) in enumerate(zip(whole, *ranks, strict=True)):
        mean = counted = 0.0
        for part, share in zip(parts, shares, strict=True):
            batch, found = share(part, step)
            own = sum(losses[clip] for clip in batch) / len(batch)
            assert found.clips is not None
            counted += found.clips[0]
            mean += own * found.of_clips / processes
        assert counted == len(every)
        assert mean == pytest.approx(sum(losses[clip] for clip in every) / len(every))


def test_one_process_has_the_whole() -> None:
    batch = object()
    assert Shares(MODEL, EpochBatches(5, 2, None))(batch, 0) == (batch, WHOLE)


def test_what_stands_in_has_no_frames() -> None:
    batch = Batch(
        *(["a"], torch.ones(1, 2, dtype=torch.int64), torch.ones(1, 2, dtype=torch.bool)),
        *(torch.ones(2, 3, 48, 48), torch.tensor([2])),
        *(torch.ones(1, 1, 128, 32), torch.tensor([1]), torch.ones(1, 4)),
    )
    for found in (stand_in(batch), stand_in(Pair(batch, cast(Any, None))).own):
        assert isinstance(found, Batch)
        assert found.faces.shape[0] == found.spectrograms.shape[0] == 0
        assert found.face_lengths.tolist() == found.spectrogram_lengths.tolist() == [0]
        assert found.labels is batch.labels
    assert stand_in("features") == "features"
