"""The baselines' settings refuse what their models could not be made with."""

import pytest
from pydantic import ValidationError

from mesm.config.baselines import (
    EmoEmbsSettings,
    LFLSTMSettings,
    LFTransformerSettings,
    MulTSettings,
)

EVERY = {
    "lf_lstm": LFLSTMSettings,
    "lf_transformer": LFTransformerSettings,
    "emo_embs": EmoEmbsSettings,
    "mult": MulTSettings,
}


@pytest.mark.parametrize("name", EVERY)
def test_all_modalities_and_fifty_words_unless_said(name):
    settings = EVERY[name](name=name)
    assert settings.modalities == "tav"
    assert (settings.max_words, settings.max_audio, settings.max_video) == (50, None, None)


@pytest.mark.parametrize("name", EVERY)
@pytest.mark.parametrize("changes", [{"modalities": "x"}, {"max_words": 0}, {"max_audio": 0}])
def test_every_one_refuses(name, changes):
    with pytest.raises(ValidationError, match=next(iter(changes))):
        EVERY[name](name=name, **changes)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"modalities": "t"}, "at least two modalities"),
        ({"kernels": [1, 2, 1]}, "must be odd"),
        ({"kernels": [1, 1]}, "kernels"),
    ],
)
def test_mult_refuses(changes, message):
    with pytest.raises(ValidationError, match=message):
        MulTSettings(name="mult", **changes)
