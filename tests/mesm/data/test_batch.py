import pytest
import torch

from mesm import Batch


def parts(**changes):
    values = {
        "clip_ids": ["a", "b"],
        "text_ids": torch.zeros(2, 5, dtype=torch.int64),
        "text_mask": torch.ones(2, 5, dtype=torch.bool),
        "faces": torch.zeros(3, 3, 48, 48),
        "face_lengths": torch.tensor([3, 0]),
        "spectrograms": torch.zeros(4, 1, 128, 32),
        "spectrogram_lengths": torch.tensor([1, 3]),
        "labels": torch.zeros(2, 6),
    }
    return values | changes


def test_a_clip_without_faces_is_fine():
    assert len(Batch(**parts())) == 2


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"clip_ids": []}, "at least one clip"),
        ({"clip_ids": "ab"}, "clip_ids must be a sequence of names, got str"),
        ({"clip_ids": [1, 2]}, "clip_ids must be names, got one of type int"),
        ({"faces": None}, "faces must be a tensor, got NoneType"),
        ({"labels": [[0.0]]}, "labels must be a tensor, got list"),
        ({"most_faces": 2}, "most_faces must be the largest length, 3, got 2"),
        ({"most_chunks": "3"}, "most_chunks must be the largest length, 3, got '3'"),
        ({"text_ids": torch.zeros(2, 0, dtype=torch.int64)}, "T at least 1"),
        ({"text_ids": torch.zeros(2, 5)}, r"text_ids must be \(2, T\) torch.int64"),
        ({"text_ids": torch.zeros(3, 5, dtype=torch.int64)}, r"got \(3, 5\)"),
        ({"text_mask": torch.ones(2, 4, dtype=torch.bool)}, r"text_mask must be \(2, 5\)"),
        ({"text_mask": torch.ones(2, 5)}, "torch.bool, got"),
        ({"faces": torch.zeros(3, 48, 48, 3)}, r"faces must be \(frames, 3, 48, 48\)"),
        ({"faces": torch.zeros(3, 3, 48, 48, dtype=torch.uint8)}, "torch.uint8"),
        ({"face_lengths": torch.tensor([3, 1])}, r"sum to the 3 faces, got \[3, 1\]"),
        ({"face_lengths": torch.tensor([4, -1])}, "at least 0"),
        ({"face_lengths": torch.tensor([3.0, 0.0])}, "face_lengths must be"),
        ({"spectrogram_lengths": torch.tensor([4])}, r"spectrogram_lengths must be \(2,\)"),
        ({"spectrograms": torch.zeros(4, 128, 32)}, "spectrograms must be"),
        ({"labels": torch.zeros(6)}, r"labels must be \(2, emotions\)"),
        ({"labels": torch.zeros(2, 6, dtype=torch.int64)}, "labels must be floating"),
    ],
)
def test_refuses_what_does_not_fit(change, message):
    with pytest.raises(ValueError, match=message):
        Batch(**parts(**change))


def test_moves_every_tensor():
    moved = Batch(**parts()).to("meta")
    tensors = [value for value in vars(moved).values() if isinstance(value, torch.Tensor)]
    assert len(tensors) == 7
    assert {tensor.device.type for tensor in tensors} == {"meta"}
    assert moved.clip_ids == ["a", "b"]
