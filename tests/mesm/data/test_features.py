import numpy as np
import pytest
import torch

from mesm.data.features import FeatureDataset, Limits, collate_features, spread_rows
from mesm.features.store import ClipFeatures


class Store:
    """Clip n has n words, 2n audio and 3n video rows, which hold their own numbers."""

    def clip(self, clip_id):
        number = int(clip_id)

        def rows(count, width):
            return np.repeat(np.arange(count, dtype=np.float32)[:, None], width, axis=1)

        words = ["word"] * number
        return ClipFeatures(
            clip_id, words, rows(number, 6), rows(2 * number, 5), rows(3 * number, 4)
        )


LABELS = np.array([[1, 0], [0, 1], [1, 1]], np.int8)


def dataset(**limits):
    return FeatureDataset(Store(), ["2", "4", "1"], LABELS, Limits(**limits))


def test_samples_hold_a_clips_features():
    sample = dataset()[1]
    assert sample.clip_id == "4"
    assert [rows.shape for rows in (sample.text, sample.audio, sample.video)] == [
        (4, 6),
        (8, 5),
        (12, 4),
    ]
    assert sample.labels.tolist() == [0, 1]
    assert {rows.dtype for rows in (sample.text, sample.audio, sample.labels)} == {torch.float32}
    assert dataset().labels().tolist() == LABELS.tolist()
    assert len(dataset()) == 3


def test_limits():
    sample = dataset(words=3, audio=2, video=4)[1]
    assert sample.text[:, 0].tolist() == [0, 1, 2]
    # The middles of two halves of 8 rows, and of four quarters of 12.
    assert sample.audio[:, 0].tolist() == [2, 6]
    assert sample.video[:, 0].tolist() == [1, 4, 7, 10]


@pytest.mark.parametrize(("count", "most"), [(0, 3), (3, 3), (3, None), (7, 3), (100, 99)])
def test_spread_rows_are_in_order_and_within(count, most):
    rows = np.arange(count, dtype=np.float32)[:, None]
    kept = spread_rows(rows, most)[:, 0]
    assert len(kept) == (count if most is None else min(count, most))
    assert (np.diff(kept) >= 1).all()
    assert set(kept) <= set(range(count))


def test_collates_ragged():
    items = dataset()
    batch = collate_features([items[0], items[2]])
    assert batch.clip_ids == ["2", "1"]
    assert batch.text_lengths.tolist() == [2, 1]
    assert batch.video[:, 0].tolist() == [0, 1, 2, 3, 4, 5, 0, 1, 2]
    assert batch.labels.tolist() == [[1, 0], [1, 1]]
