import pytest
import torch

from mesm.data.feature_batch import FeatureBatch


def parts(**changes):
    return {
        "clip_ids": ["a", "b"],
        "text": torch.zeros(3, 6),
        "text_lengths": torch.tensor([1, 2]),
        "audio": torch.zeros(4, 5),
        "audio_lengths": torch.tensor([0, 4]),
        "video": torch.zeros(0, 4),
        "video_lengths": torch.tensor([0, 0]),
        "labels": torch.zeros(2, 3),
    } | changes


def test_streams_by_letter():
    batch = FeatureBatch(**parts())
    assert len(batch) == 2
    assert [batch.rows(letter).shape[1] for letter in "tav"] == [6, 5, 4]
    assert batch.lengths("a") is batch.audio_lengths


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"clip_ids": []}, "at least one clip, got none"),
        ({"clip_ids": "ab"}, "clip_ids must be a sequence of names, got str"),
        ({"clip_ids": [1, 2]}, "clip_ids must be names, got one of type int"),
        ({"text": None}, "text must be a tensor, got NoneType"),
        ({"labels": [[0.0]]}, "labels must be a tensor, got list"),
        ({"host_lengths": {}}, r"host_lengths must hold t, a, v alone, got \[\]"),
        ({"host_lengths": [1]}, "host_lengths must hold t, a, v alone, got list"),
        ({"host_lengths": dict.fromkeys("tav", 3)}, r"host_lengths\['t'\] must be \(2,\) on cpu"),
        (
            {"host_lengths": dict.fromkeys("tav", torch.tensor([1, 2]))},
            r"host_lengths\['a'\] must be \[0, 4\], got \[1, 2\]",
        ),
        ({"text": torch.zeros(3)}, r"text must be \(rows, features\) floating, got \(3,\)"),
        ({"audio": torch.zeros(4, 5, dtype=torch.int64)}, "audio must be .*torch.int64"),
        ({"audio_lengths": torch.tensor([1, 2])}, r"sum to the 4 rows of audio, got \[1, 2\]"),
        ({"text_lengths": torch.tensor([4, -1])}, "at least 0"),
        ({"video_lengths": torch.tensor([0.0, 0.0])}, "video_lengths must be"),
        ({"video_lengths": torch.tensor([0])}, r"video_lengths must be \(2,\)"),
        ({"labels": torch.zeros(3)}, r"labels must be \(2, emotions\)"),
        ({"labels": torch.zeros(2, 3, dtype=torch.int64)}, "labels must be floating"),
    ],
)
def test_refuses_what_does_not_fit(change, message):
    with pytest.raises(ValueError, match=message):
        FeatureBatch(**parts(**change))


def test_moves_every_tensor_and_still_knows_its_lengths():
    moved = FeatureBatch(**parts()).to("meta")
    tensors = [value for value in vars(moved).values() if isinstance(value, torch.Tensor)]
    assert len(tensors) == 7
    assert {tensor.device.type for tensor in tensors} == {"meta"}
    assert moved.clip_ids == ["a", "b"]
    assert moved.known_lengths("a").tolist() == [0, 4]
