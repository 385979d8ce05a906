from importlib.util import find_spec

import pytest
import torch

from mesm.inputs import mtcnn


def test_the_layouts_fit_and_every_window_gets_a_score():
    pnet, rnet, onet = mtcnn.load_networks()
    scores, offsets = pnet(torch.zeros(2, 3, 30, 40))
    # 12x12 windows at stride 2.
    assert scores.shape == (2, 10, 15)
    assert offsets.shape == (2, 4, 10, 15)
    scores, offsets = rnet(torch.zeros(3, 3, 24, 24))
    assert scores.shape == (3,)
    assert offsets.shape == (3, 4)
    scores, offsets, landmarks = onet(torch.zeros(1, 3, 48, 48))
    assert scores.shape == (1,)
    assert offsets.shape == (1, 4)
    assert landmarks.shape == (1, 10)


def test_missing_weights_say_how_to_get_them(tmp_path, monkeypatch):
    with pytest.raises(FileNotFoundError, match=r"pip install --no-deps facenet-pytorch==2\.5\.3"):
        mtcnn.load_networks(tmp_path)
    monkeypatch.setattr(mtcnn.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(FileNotFoundError, match=r"no package.*pip install --no-deps"):
        mtcnn.weights_folder()


def test_another_networks_weights_are_refused(tmp_path):
    for name in ("pnet.pt", "rnet.pt", "onet.pt"):
        (tmp_path / name).write_bytes((mtcnn.weights_folder() / "pnet.pt").read_bytes())
    with pytest.raises(ValueError, match=r"rnet\.pt does not hold MTCNN's rnet"):
        mtcnn.load_networks(tmp_path)


def test_weights_that_are_not_finite_are_refused(tmp_path):
    weights = torch.load(mtcnn.weights_folder() / "pnet.pt", weights_only=True)
    weights["conv2.weight"][0] = torch.nan
    torch.save(weights, tmp_path / "pnet.pt")
    again = "pip install --force-reinstall --no-deps facenet-pytorch"
    with pytest.raises(ValueError, match=rf"pnet\.pt: conv2\.weight holds .* not finite.*{again}"):
        mtcnn.load_networks(tmp_path)
    torch.save({name: value.half() for name, value in weights.items()}, tmp_path / "pnet.pt")
    with pytest.raises(ValueError, match=rf"pnet\.pt does not hold MTCNN's pnet; .*{again}"):
        mtcnn.load_networks(tmp_path)


def test_the_package_itself_is_not_imported():
    import sys

    mtcnn.load_networks()
    assert find_spec("facenet_pytorch") is not None
    assert "facenet_pytorch" not in sys.modules


def test_pooling_in_pairs_is_that_of_pytorch() -> None:
    pnet, _, _ = mtcnn.load_networks()
    for height, width in ((6, 8), (7, 8), (6, 9), (7, 9), (1, 1)):
        maps = torch.randn(2, 10, height, width).contiguous(memory_format=torch.channels_last)
        pooled = mtcnn._pool_in_pairs(maps)
        assert torch.equal(pooled, pnet.pool1(maps))
        assert pooled.is_contiguous(memory_format=torch.channels_last)
