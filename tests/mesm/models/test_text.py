import json

import pytest
import torch
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
