"""From settings to a model that stands ready to be trained."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from transformers import AlbertConfig, AlbertModel

from mesm.config.end_to_end import FE2ESettings, TextSettings
from mesm.config.files import load_config
from mesm.models import build
from mesm.models.build import arguments_of, build_model, initialise
from mesm.models.registry import SYSTEMS
from tests.mesm.tiny_text import make_model

WORDS = {"emotions": 6, "text": 300, "audio": 34, "video": 35}
SUBWORDS = {"emotions": 6, "vocabulary": 70}
SIZES = {"fe2e": SUBWORDS, "mesm": SUBWORDS}


@pytest.mark.parametrize("name", list(SYSTEMS))
def test_every_system_is_built_from_its_shipped_settings(name):
    settings = load_config(f"miniature_{name}").model
    arguments = arguments_of(settings, SIZES.get(name, WORDS))
    assert json.loads(json.dumps(arguments)) == arguments
    assert isinstance(build_model(name, arguments), SYSTEMS[name].model)


def test_a_baselines_model_has_the_features_widths():
    arguments = arguments_of(load_config("iemocap_mult", ["model.layers=2"]).model, WORDS)
    assert (arguments["text_dim"], arguments["audio_dim"], arguments["video_dim"]) == (300, 34, 35)
    assert arguments["layers"] == 2
    assert not {"name", "max_words", "max_audio", "max_video"} & set(arguments)


def test_the_text_encoder_knows_the_tokenizers_subwords(tmp_path):
    settings = load_config("miniature_mesm").model
    albert = arguments_of(settings, SUBWORDS)["albert"]
    assert albert["vocab_size"] == 70
    assert albert["hidden_size"] == settings.text.hidden
    make_model("roberta").save_pretrained(tmp_path)
    pretrained = load_config("miniature_mesm", [f"model.text.path={tmp_path}"]).model
    with pytest.raises(ValueError, match="its tokenizer has 70 subwords, its weights 20; copy"):
        arguments_of(pretrained, SUBWORDS)
    fits = {"emotions": 6, "vocabulary": 20, "padding": 1}
    with pytest.raises(ValueError, match="tokenizer has only 14 subwords, its weights 20; copy"):
        arguments_of(pretrained, fits | {"vocabulary": 14})
    assert arguments_of(pretrained, fits)["encoder"]["model_type"] == "roberta"
    # Its positions are counted by what is no padding.
    with pytest.raises(ValueError, match=r"tokenizer pads with subword 0, .* without subword 1"):
        arguments_of(pretrained, fits | {"padding": 0})


def test_a_frozen_text_is_an_argument(tmp_path):
    make_model("distilbert").save_pretrained(tmp_path)
    sizes = {"emotions": 6, "vocabulary": 20, "padding": 0}
    for freeze in (True, False):
        changes = [f"model.text.path={tmp_path}", f"model.text.freeze={freeze}".lower()]
        arguments = arguments_of(load_config("miniature_mesm", changes).model, sizes)
        assert arguments.get("freeze_text", False) is freeze
        model = build_model("mesm", arguments)
        assert model.text.frozen is freeze
        assert model.text.dim == 12


def test_what_is_not_trained_takes_less_memory(tmp_path, monkeypatch):
    """Weights that are trained come with gradients and two moments."""
    settings = load_config("miniature_mesm").model
    arguments = arguments_of(settings, SUBWORDS) | {"freeze_text": True}
    model = build_model("mesm", arguments)
    frozen = sum(value.numel() for value in model.text.parameters())
    there = sum(value.numel() for value in model.state_dict().values())
    trained = sum(value.numel() for value in model.parameters()) - frozen
    cpu = torch.device("cpu")
    monkeypatch.setattr(build, "memory_there_is", lambda: 4 * (there + 3 * trained))
    build.check_memory("mesm", arguments, cpu)
    with pytest.raises(ValueError, match="make the model smaller"):
        build.check_memory("mesm", arguments | {"freeze_text": False}, cpu)


def test_emo_embs_starts_from_the_vectors_of_the_emotions():
    settings = load_config("miniature_emo_embs").model
    model = build_model("emo_embs", arguments_of(settings, WORDS))
    assert model.emotion_vectors.isnan().all()
    vectors = np.random.default_rng(0).normal(size=(6, 300)).astype(np.float32)
    initialise(model, settings, vectors)
    assert torch.equal(model.emotion_vectors, torch.from_numpy(vectors))


def test_other_models_are_left_as_chance_made_them():
    settings = load_config("miniature_fe2e").model
    model = build_model("fe2e", arguments_of(settings, SUBWORDS))
    before = {name: value.clone() for name, value in model.state_dict().items()}
    initialise(model, settings, None)
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())


def test_convolutions_start_from_vgg11(tmp_path):
    file = tmp_path / "vgg11.pth"
    kernel = torch.randn(16, 16, 3, 3)
    torch.save({"features.0.weight": kernel}, file)
    settings = load_config("miniature_fe2e", [f"model.vgg11={file}"]).model
    model = build_model("fe2e", arguments_of(settings, SUBWORDS))
    initialise(model, settings, None)
    assert torch.equal(model.face.extractor.stage.pair1.conv1.weight, kernel)


def test_texts_longer_than_a_pretrained_encoders_positions(small, tmp_path):
    AlbertModel(AlbertConfig(**small["albert"])).save_pretrained(tmp_path)
    settings = TextSettings(path=tmp_path, max_length=33)
    config = FE2ESettings(name="fe2e", text=settings)
    message = r"know 32 positions, model\.text\.max_length is 33; set model\.text\.max_length=32"
    with pytest.raises(ValueError, match=message):
        arguments_of(config, {"emotions": 6, "vocabulary": 40})
    settings = TextSettings(path=tmp_path, max_length=32)
    arguments_of(FE2ESettings(name="fe2e", text=settings), {"emotions": 6, "vocabulary": 40})
