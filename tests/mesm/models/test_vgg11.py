import logging

import pytest
import torch
from safetensors.torch import save_file

from mesm.models import FE2E, MESM
from mesm.models.vgg11 import load_vgg11

# VGG-11's features by their numbers in torchvision, scaled down by 8: (out, in) channels.
LAYERS = {0: (8, 3), 3: (16, 8), 6: (32, 16), 8: (32, 32), 11: (64, 32), 13: (64, 64)}
LAYERS |= {16: (64, 64), 18: (64, 64)}


@pytest.fixture
def weights():
    generator = torch.Generator().manual_seed(0)
    state = {"classifier.0.weight": torch.zeros(5, 5)}
    for number, (after, before) in LAYERS.items():
        state[f"features.{number}.weight"] = torch.randn(after, before, 3, 3, generator=generator)
        state[f"features.{number}.bias"] = torch.zeros(after)
    return state


@pytest.fixture
def narrow(small):
    return small | {"channels": (8, 16, 32, 64)}


@pytest.mark.parametrize("model", [FE2E, MESM])
@pytest.mark.parametrize("name", ["vgg11.safetensors", "vgg11.pth"])
def test_loads_what_fits_and_says_so(model, name, narrow, weights, tmp_path, caplog):
    file = tmp_path / name
    if file.suffix == ".pth":
        torch.save(weights, file)
    else:
        save_file(weights, file)
    network = model(**narrow)
    with caplog.at_level(logging.INFO, logger="mesm.models.vgg11"):
        loaded = load_vgg11(network, file)
    wanted = {
        "stage.conv.weight": None,  # 5x5 here, 3x3 there
        "stage.pair1.conv1.weight": None,
        "stage.pair1.conv2.weight": None,
        "stage.pair2.conv1.weight": None,
        "stage.pair2.conv2.weight": None,
        "blocks.0.conv1.weight": "features.3.weight",
        "blocks.0.conv2.weight": None,
        "blocks.1.conv1.weight": "features.6.weight",
        "blocks.1.conv2.weight": "features.8.weight",
        "blocks.2.conv1.weight": "features.11.weight",
        "blocks.2.conv2.weight": "features.13.weight",
    }
    for branch in ("face", "audio"):
        for layer, source in wanted.items():
            assert loaded[f"{branch}.{layer}"] == source
            weight = network.feature_extractors[branch].get_parameter(layer)
            if source is not None:
                assert torch.equal(weight, weights[source])
    assert len(loaded) == 2 * len(wanted)
    messages = [record.getMessage() for record in caplog.records]
    assert "VGG-11: face.blocks.0.conv1.weight from features.3.weight" in messages
    assert "VGG-11: audio.stage.conv.weight left as it was" in messages


def test_refuses_files_that_hold_no_vgg(narrow, tmp_path):
    model = FE2E(**narrow)
    with pytest.raises(ValueError, match=r"none\.pth is not there; vgg11 wants"):
        load_vgg11(model, tmp_path / "none.pth")
    file = tmp_path / "other.safetensors"
    save_file({"conv.weight": torch.zeros(1, 1, 3, 3)}, file)
    with pytest.raises(
        ValueError, match=r"no features\.N\.weight there; .* got \['conv\.weight'\]"
    ):
        load_vgg11(model, file)
    save_file({"features.0.weight": torch.zeros(7, 7, 3, 3)}, file)
    with pytest.raises(ValueError, match="no layer fits"):
        load_vgg11(model, file)
    file = tmp_path / "text.pth"
    file.write_text("not weights")
    with pytest.raises(ValueError, match="not a file of torch weights"):
        load_vgg11(model, file)
