import math
from pathlib import Path

import numpy as np
import pytest
import torch

from mesm.corpora.prepared import PreparedCorpus
from mesm.data.clips import (
    ClipDataset,
    Collate,
    EpochBatches,
    make_loader,
    normalise_faces,
    split_dataset,
)
from mesm.inputs.subwords import UnigramSubwords


@pytest.fixture(scope="module")
def corpus(tiny_corpus: Path) -> PreparedCorpus:
    return PreparedCorpus.open(tiny_corpus)


@pytest.fixture(scope="module")
def collate(corpus: PreparedCorpus) -> Collate:
    return Collate(UnigramSubwords.train([clip.text for clip in corpus.split("train")], 60), 12)


def test_faces_are_normalised_per_channel():
    faces = np.empty((1, 48, 48, 3), np.uint8)
    faces[:] = (159, 111 + 33, 102 - 32)
    normal = normalise_faces(faces)
    assert normal.shape == (1, 3, 48, 48)
    for channel, wanted in enumerate((0.0, 1.0, -1.0)):
        torch.testing.assert_close(normal[0, channel], torch.full((48, 48), wanted))


def test_sample_holds_the_clip(corpus):
    dataset = split_dataset(corpus, "train")
    clip, sample = corpus.split("train")[3], dataset[3]
    assert (sample.clip_id, sample.text) == (clip.clip_id, clip.text)
    assert sample.faces.shape == (3, 3, 48, 48)
    # 70 columns are three chunks, the last with 26 columns of zeros.
    assert sample.chunks.shape == (3, 1, 128, 32)
    assert (sample.chunks[2, :, :, 6:] == 0).all()
    wanted = (clip.spectrogram[:, 32:64] - -6.0) / 1.5
    torch.testing.assert_close(sample.chunks[1, 0], torch.from_numpy(wanted))
    assert sample.labels.tolist() == clip.labels.tolist()
    assert dataset.labels().shape == (12, 6)


def test_clips_are_decoded_once_while_they_fit(corpus, monkeypatch):
    class Counting:
        def __init__(self):
            self.asked = []

        def __len__(self):
            return 3

        def __getitem__(self, index):
            self.asked.append(index)
            return corpus.split("train")[index]

    clips = Counting()
    dataset = ClipDataset(clips, 0.0, 1.0)
    for _ in range(3):
        for index in range(3):
            dataset[index]
    assert clips.asked == [0, 1, 2]
    monkeypatch.setattr("mesm.data.clips.CACHE_BYTES", 1)
    clips = Counting()
    dataset = ClipDataset(clips, 0.0, 1.0)
    for _ in range(2):
        dataset[0]
    assert clips.asked == [0, 0]


def test_augmentation_follows_from_seed_epoch_and_clip(corpus):
    def faces(seed: int, epoch: int) -> torch.Tensor:
        dataset = split_dataset(corpus, "train", augment=True, seed=seed)
        dataset.epoch = epoch
        return dataset[0].faces

    assert torch.equal(faces(0, 1), faces(0, 1))
    assert not torch.equal(faces(0, 1), faces(0, 2))
    assert not torch.equal(faces(0, 1), faces(1, 1))


def test_empty_split_is_refused(corpus, monkeypatch):
    monkeypatch.setattr(PreparedCorpus, "split", lambda self, name: [])
    with pytest.raises(ValueError, match="valid split holds no clip"):
        split_dataset(corpus, "valid")


def test_loader_gives_every_clip_once(corpus, collate):
    dataset = split_dataset(corpus, "train")
    loader = make_loader(dataset, EpochBatches(len(dataset), 5, None), collate)
    batches = list(loader)
    assert [len(batch) for batch in batches] == [5, 5, 2]
    ids = [clip_id for batch in batches for clip_id in batch.clip_ids]
    assert ids == corpus.split("train").clip_ids
    assert batches[0].text_ids.shape[1] <= 12
    assert batches[0].faces.shape == (15, 3, 48, 48)


def test_order_follows_from_seed_and_epoch():
    def order(seed: int | None, epoch: int) -> list[int]:
        batches = EpochBatches(20, 3, seed)
        batches.epoch = epoch
        return [index for batch in batches for index in batch]

    assert order(None, 4) == list(range(20))
    assert sorted(order(1, 1)) == list(range(20))
    assert order(1, 1) == order(1, 1)
    assert order(1, 1) != order(1, 2)
    assert order(1, 1) != order(2, 1)


@pytest.mark.parametrize("clips", [1, 2, 7, 8, 9, 16])
@pytest.mark.parametrize("processes", [1, 2, 3])
def test_processes_share_each_epoch(clips, processes):
    alone = EpochBatches(clips, 4, 0)
    every = [EpochBatches(clips, 4, 0, rank, processes) for rank in range(processes)]
    steps = list(zip(*every, strict=True))  # equally many
    assert len(steps) == len(alone)
    seen = []
    for step, (whole, batches) in enumerate(zip(alone, steps, strict=True)):
        own = [one.own(step) for one in every]
        assert sum(own) == alone.of_all(step) == len(whole)
        assert max(own) - min(own) <= 1
        for count, batch in zip(own, batches, strict=True):
            # A stand-in where there is no clip, which is not counted.
            assert len(batch) == max(count, 1)
            seen += batch[:count]
        assert sorted(seen[-len(whole) :]) == sorted(whole)
    assert sorted(seen) == list(range(clips))


@pytest.mark.parametrize(("mean", "std"), [(0.0, 0.0), (0.0, -1.0), (0.0, math.nan), (math.inf, 1)])
def test_statistics_that_normalise_nothing(mean, std):
    with pytest.raises(ValueError, match=r"spectrogram_std more than 0, got .*prepare the corpus"):
        ClipDataset([], mean, std)
