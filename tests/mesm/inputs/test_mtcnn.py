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
    mend = r"; .*--mtcnn.*pip install --no-deps facenet-pytorch==2\.5\.3"
    with pytest.raises(ValueError, match=rf"pnet\.pt is not there{mend}"):
        mtcnn.load_networks(tmp_path)
    with pytest.raises(ValueError, match=rf"nowhere is no folder{mend}"):
        mtcnn.load_networks(tmp_path / "nowhere")
    monkeypatch.setattr(mtcnn.importlib.util, "find_spec", lambda name: None)
    wanted = r"no package.*pip install --no-deps facenet-pytorch==2\.5\.3, or name .* --mtcnn DIR"
    with pytest.raises(FileNotFoundError, match=wanted):
        mtcnn.load_networks()


class _Runs:
    def __reduce__(self):
        return (print, ("a pickle was executed",))


def _damaged(path, how):
    whole = (mtcnn.weights_folder() / path.name).read_bytes()
    if how == "truncated":
        path.write_bytes(whole[: len(whole) // 2])
    elif how == "empty":
        path.write_bytes(b"")
    elif how == "text":
        path.write_text("pnet")
    elif how == "code":
        torch.save({"conv1.weight": _Runs()}, path)
    elif how == "link":
        path.symlink_to(path.with_name("nowhere.pt"))
    else:
        path.mkdir()


@pytest.mark.parametrize("how", ["truncated", "empty", "text", "code", "link", "folder"])
def test_a_damaged_file_is_refused_in_one_line(how, tmp_path, capsys):
    _damaged(tmp_path / "pnet.pt", how)
    with pytest.raises(ValueError, match=r"pnet\.pt.*; name with --mtcnn a folder") as refused:
        mtcnn.load_networks(tmp_path)
    assert "\n" not in str(refused.value)
    assert capsys.readouterr().out == ""


def test_weights_are_taken_from_a_folder_and_known_by_their_content(tmp_path):
    for name in mtcnn.FILES:
        (tmp_path / name).write_bytes((mtcnn.weights_folder() / name).read_bytes())
    for ours, theirs in zip(mtcnn.load_networks(), mtcnn.load_networks(tmp_path), strict=True):
        assert all(map(torch.equal, ours.state_dict().values(), theirs.state_dict().values()))
    assert mtcnn.other_weights(None) is mtcnn.other_weights(tmp_path) is None
    weights = torch.load(tmp_path / "rnet.pt", weights_only=True)
    weights["dense4.bias"][0] += 1
    torch.save(weights, tmp_path / "rnet.pt")
    assert mtcnn.load_networks(tmp_path)[1].dense4.bias[0] == weights["dense4.bias"][0]
    assert len(mtcnn.other_weights(tmp_path) or "") == 64


def test_another_networks_weights_are_refused(tmp_path):
    for name in ("pnet.pt", "rnet.pt", "onet.pt"):
        (tmp_path / name).write_bytes((mtcnn.weights_folder() / "pnet.pt").read_bytes())
    with pytest.raises(ValueError, match=r"rnet\.pt does not hold MTCNN's rnet"):
        mtcnn.load_networks(tmp_path)


def test_weights_that_are_not_finite_are_refused(tmp_path, monkeypatch):
    weights = torch.load(mtcnn.weights_folder() / "pnet.pt", weights_only=True)
    weights["conv2.weight"][0] = torch.nan
    torch.save(weights, tmp_path / "pnet.pt")
    again = "name with --mtcnn a folder"
    with pytest.raises(ValueError, match=rf"pnet\.pt: conv2\.weight holds .* not finite.*{again}"):
        mtcnn.load_networks(tmp_path)
    torch.save({name: value.half() for name, value in weights.items()}, tmp_path / "pnet.pt")
    with pytest.raises(ValueError, match=rf"pnet\.pt does not hold MTCNN's pnet; .*{again}"):
        mtcnn.load_networks(tmp_path)
    monkeypatch.setattr(mtcnn, "weights_folder", lambda: tmp_path)
    with pytest.raises(ValueError, match="pip install --force-reinstall --no-deps facenet-pytorch"):
        mtcnn.load_networks()


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
