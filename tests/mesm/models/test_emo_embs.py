import pytest
import torch
from safetensors.torch import load_file

from mesm.models import EmoEmbs
from tests.oracle.layers import lstm


def test_scores_are_dot_products(widths, make_features):
    model = EmoEmbs(**widths, audio_hidden=7, video_hidden=6).eval()
    vectors = torch.randn(3, 12)
    model.set_emotion_vectors(vectors)
    with torch.no_grad():
        model.fuse.weight.copy_(torch.tensor([0.5, 2.0, -1.0]))
    batch = make_features([2, 4], [5, 0], [3, 7])
    logits = model(batch)
    spaces = {"t": vectors}
    spaces |= {m: vectors @ model.maps[m].weight.T + model.maps[m].bias for m in "av"}
    for clip in range(2):
        for emotion in range(3):
            score = torch.tensor(0.0)
            for weight, letter in zip(model.fuse.weight, "tav", strict=True):
                x = batch.rows(letter).split(batch.lengths(letter).tolist())[clip]
                if not len(x):
                    continue
                cells = model.lstms[letter].lstm
                for layer in range(2):
                    ahead, back = lstm(cells, x, layer), lstm(cells, x, layer, backward=True)
                    x = torch.cat((ahead, back), dim=1)
                summed = ahead[-1] + back[-1]
                score = score + weight * sum(summed * spaces[letter][emotion])
            torch.testing.assert_close(logits[clip, emotion], score, rtol=0, atol=1e-5)


def test_starts_as_the_mean_of_the_modalities_with_frozen_vectors(widths):
    model = EmoEmbs(**widths)
    assert model.fuse.weight.tolist() == pytest.approx([1 / 3] * 3)
    assert "emotion_vectors" not in dict(model.named_parameters())
    assert model.lstms["t"].lstm.dropout == 0.15


def test_paper_sizes():
    model = EmoEmbs(emotions=6)
    assert [model.lstms[m].lstm.hidden_size for m in "tav"] == [300, 200, 100]


def test_vectors_are_saved_with_the_weights(widths, tmp_path):
    model = EmoEmbs(**widths)
    vectors = torch.randn(3, 12)
    model.set_emotion_vectors(vectors)
    model.save_pretrained(tmp_path)
    assert torch.equal(load_file(tmp_path / "model.safetensors")["emotion_vectors"], vectors)
    assert torch.equal(EmoEmbs.from_pretrained(tmp_path).emotion_vectors, vectors)


def test_without_vectors_nothing_is_learnt_unnoticed(widths, make_features):
    model = EmoEmbs(**widths)
    assert model(make_features([2], [2], [2])).isnan().all()
    with pytest.raises(ValueError, match=r"must be finite and \(3, 12\), got \(2, 12\)"):
        model.set_emotion_vectors(torch.zeros(2, 12))
    with pytest.raises(ValueError, match="must be finite"):
        model.set_emotion_vectors(torch.full((3, 12), torch.nan))
