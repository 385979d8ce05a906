import json

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AlbertConfig, AlbertModel

from mesm.models.text import ALBERT_BASE, TextEncoder, read_albert_config


@pytest.fixture
def folder(tmp_path, small):
    torch.manual_seed(5)
    AlbertModel(AlbertConfig(**small["albert"])).save_pretrained(tmp_path)
    return tmp_path


def test_takes_the_weights_of_a_local_albert(folder):
    encoder = TextEncoder(read_albert_config(folder)).eval()
    encoder.load(folder)
    ids = torch.tensor([[2, 7, 9, 3]])
    mask = torch.ones(1, 4, dtype=torch.bool)
    with torch.no_grad():
        wanted = AlbertModel.from_pretrained(folder).eval()(ids).last_hidden_state[:, 0]
        torch.testing.assert_close(encoder(ids, mask), wanted)
    assert (encoder.dim, encoder.vocabulary) == (12, 40)


def test_base_sizes_are_not_the_defaults():
    with torch.device("meta"):
        encoder = TextEncoder(ALBERT_BASE)
    assert encoder.dim == 768
    assert round(sum(p.numel() for p in encoder.parameters()) / 1e6) == 11


def test_refuses_another_albert(folder, small):
    with pytest.raises(ValueError, match="does not fit the text encoder"):
        TextEncoder(small["albert"] | {"hidden_size": 16}).load(folder)


def test_refuses_folders_without_an_albert(tmp_path):
    with pytest.raises(ValueError, match=r"no config\.json there"):
        read_albert_config(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "bert"}))
    with pytest.raises(ValueError, match="wanted model_type 'albert', got 'bert'"):
        read_albert_config(tmp_path)


def test_damaged_alberts_are_refused(folder):
    encoder = TextEncoder(read_albert_config(folder))
    file, config = folder / "model.safetensors", folder / "config.json"
    weights, settings = load_file(file), config.read_text()
    save_file({f"other.{name}": value for name, value in weights.items()}, file)
    with pytest.raises(ValueError, match=r"model\.safetensors is not its ALBERT's: .* missing"):
        encoder.load(folder)
    name = next(iter(weights))
    save_file(weights | {name: weights[name] * torch.nan}, file, {"format": "pt"})
    with pytest.raises(ValueError, match="holds values that are not finite"):
        encoder.load(folder)
    for content in (b"", b"nonsense", b"\0" * 100):
        file.write_bytes(content)
        with pytest.raises(ValueError, match=r"its weights cannot be read .*text.path wants"):
            encoder.load(folder)
    file.unlink()
    with pytest.raises(ValueError, match="its weights cannot be read"):
        encoder.load(folder)
    for text in ("{", "[]", "null", "{}", settings.replace('"albert"', '"bert"')):
        config.write_text(text)
        with pytest.raises(
            ValueError, match=r"config\.json: (not JSON|wanted model_type 'albert')"
        ):
            read_albert_config(folder)
