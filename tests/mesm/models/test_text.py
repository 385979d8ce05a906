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


@pytest.mark.parametrize(
    "change",
    [
        *({"pad_token_id": 40}, {"type_vocab_size": -1}, {"num_hidden_groups": 3}),
        *({"vocab_size": 0}, {"num_hidden_layers": 2**40}, {"inner_group_num": 1001}),
    ],
)
def test_refuses_sizes_that_make_no_albert(small, change):
    with pytest.raises(ValueError, match="TextEncoder: "):
        TextEncoder(small["albert"] | change)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
def test_weights_of_other_precision_become_float32(folder, dtype):
    file, config = folder / "model.safetensors", folder / "config.json"
    save_file({name: value.to(dtype) for name, value in load_file(file).items()}, file)
    config.write_text(json.dumps(json.loads(config.read_text()) | {"dtype": str(dtype)[6:]}))
    encoder = TextEncoder(read_albert_config(folder))
    encoder.load(folder)
    assert {value.dtype for value in encoder.state_dict().values()} <= {torch.float32, torch.int64}


def test_faults_of_our_own_are_not_taken_for_damage(folder, monkeypatch):
    encoder = TextEncoder(read_albert_config(folder))
    monkeypatch.setattr(AlbertModel, "from_pretrained", lambda *_, **__: encoder.no_such_thing)
    with pytest.raises(AttributeError):
        encoder.load(folder)


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
    for key, value in {
        "hidden_size": "wide",
        "hidden_act": "NaN",
        "layer_norm_eps": None,
        "rope_parameters": [1],
        "initializer_range": float("nan"),
    }.items():
        config.write_text(json.dumps(json.loads(settings) | {key: value}))
        with pytest.raises(ValueError, match=r"config\.json: not (JSON|an ALBERT's settings)"):
            read_albert_config(folder)
    for text in ("{", "[]", "null", "{}", settings.replace('"albert"', '"bert"')):
        config.write_text(text)
        with pytest.raises(
            ValueError, match=r"config\.json: (not JSON|wanted model_type 'albert')"
        ):
            read_albert_config(folder)
