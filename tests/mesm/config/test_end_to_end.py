import pytest

from mesm.config.files import load_config


def test_p_per_block_and_the_query():
    overrides = ["model.p=[0.7, 0.5, 0.3]", "model.query=audio", "model.modalities=va"]
    config = load_config("miniature_mesm", overrides)
    assert config.model.p == [0.7, 0.5, 0.3]
    assert config.model.query == "audio"
    config = load_config("miniature_mesm", ["model.p={face: 0.4}", "model.modalities=tv"])
    assert config.model.p == {"face": 0.4}


def test_a_query_needs_its_modality():
    with pytest.raises(ValueError, match=r"needs the face \(v\) as its query, got 'ta'"):
        load_config("miniature_mesm", ["model.query=face", "model.modalities=ta"])


def test_only_a_pretrained_text_encoder_can_be_frozen():
    with pytest.raises(
        ValueError, match=r"freeze wants a pretrained encoder.*set model\.text\.path"
    ):
        load_config("miniature_mesm", ["model.text.freeze=true"])
    changes = ["model.text.freeze=true", "model.text.path=somewhere"]
    assert load_config("miniature_mesm", changes).model.text.freeze
    assert not load_config("miniature_mesm").model.text.freeze


def test_fe2e_has_no_p():
    with pytest.raises(ValueError, match=r"no key model\.p; "):
        load_config("iemocap_fe2e", ["model.p=0.5"])
