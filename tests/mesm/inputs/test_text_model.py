"""Which folders hold an encoder of texts, told before anything of them is loaded."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from mesm.inputs.text_model import encoder_config, read_text_model
from tests.mesm.tiny_text import KINDS


def write(folder: Path, **values: Any) -> Path:
    (folder / "config.json").write_text(json.dumps(values))
    return folder


@pytest.mark.parametrize("kind", KINDS)
def test_settings_of_the_promised_kinds(kind: str, tmp_path: Path) -> None:
    settings = read_text_model(write(tmp_path, model_type=kind, **KINDS[kind]))
    assert KINDS[kind].items() <= settings.items()
    assert encoder_config(settings).hidden_size == 12
    assert encoder_config(KINDS["albert"]).model_type == "albert"


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"model_type": "gpt2"}, "'gpt2' is a decoder"),
        ({"model_type": "llama"}, "'llama' is a decoder"),
        ({"model_type": "t5"}, "'t5' has a decoder after its encoder"),
        ({"model_type": "bart"}, "'bart' has a decoder after its encoder"),
        ({"model_type": "bert", "is_encoder_decoder": True}, "has a decoder after its encoder"),
        ({"model_type": "bert", "is_decoder": True}, r"is a decoder \(is_decoder is true\)"),
        ({"model_type": "roberta", "add_cross_attention": True}, "is a decoder"),
        ({"model_type": "vit"}, "'vit' is no encoder of texts"),
        ({"model_type": "clip"}, "'clip' is no encoder of texts"),
        ({"model_type": "wav2vec2"}, "'wav2vec2' is no encoder of texts"),
        ({"model_type": "my_bert"}, "transformers knows no model_type 'my_bert'"),
        ({"model_type": ["bert"]}, r"transformers knows no model_type \['bert'\]"),
        ({"hidden_size": 12}, "names no model_type"),
        (
            {"model_type": "bert", "auto_map": {"AutoModel": "code.Model"}},
            "auto_map wants code of the model's own, which is never run",
        ),
        ({"model_type": "bert", "quantization_config": {}}, "its weights are quantized"),
        ({"model_type": "bert", "hidden_size": "wide"}, "not the settings of a bert"),
        ({"model_type": "bert", "layer_norm_eps": float("nan")}, "not JSON"),
        (
            {"model_type": "bert", "initializer_range": -1.0},
            "initializer_range must be a number of at least 0, got -1.0",
        ),
    ],
)
def test_no_encoder_is_named(values: Any, message: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=rf"config\.json: .*{message}") as told:
        read_text_model(write(tmp_path, **values))
    assert "\n" not in str(told.value)


def test_what_a_head_told_apart_is_no_matter(tmp_path: Path) -> None:
    # A name for each of so many labels would fill the memory.
    write(tmp_path, model_type="bert", num_labels=10**12, **KINDS["bert"])
    assert "num_labels" not in read_text_model(tmp_path)


def test_folders_that_hold_no_model(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"no text model at .*nowhere"):
        read_text_model(tmp_path / "nowhere")
    with pytest.raises(ValueError, match=r"no config\.json there; model\.text\.path wants"):
        read_text_model(tmp_path)
    for text in ("{", "[]", "null", "\xff"):
        (tmp_path / "config.json").write_bytes(text.encode("latin-1"))
        with pytest.raises(ValueError, match=r"config\.json: not JSON .*copy the model's folder"):
            read_text_model(tmp_path)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        (
            "modeling_bert.py",
            "raise SystemExit",
            "code in a model's folder, which is never run; if ",
        ),
        ("tokenizer_config.json", '{"auto_map": {}}', "auto_map wants code"),
        ("adapter_config.json", "{}", "an adapter to another model"),
    ],
)
def test_what_lies_beside_it(name: str, content: str, message: str, tmp_path: Path) -> None:
    write(tmp_path, model_type="bert", **KINDS["bert"])
    (tmp_path / name).write_text(content)
    with pytest.raises(ValueError, match=f"{name}: {message}"):
        read_text_model(tmp_path)
