"""Nonsense is refused with what was wanted and what came."""

from dataclasses import replace

import pytest
import torch

from mesm.models import FE2E, LFLSTM, MESM, EmoEmbs, LFTransformer, MulT


@pytest.mark.parametrize("kind", [FE2E, MESM])
@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"emotions": 0}, "emotions must be a positive whole number, got 0"),
        ({"emotions": True}, "emotions must be a positive whole number, got True"),
        ({"hidden": 2.5}, "hidden must be a positive whole number, got 2.5"),
        ({"layers": None}, "layers must be a positive whole number, got None"),
        ({"heads": -1}, "heads must be a positive whole number, got -1"),
        ({"dropout": float("nan")}, r"dropout must be in \[0, 1\], got nan"),
        ({"dropout": "0.1"}, r"dropout must be in \[0, 1\], got '0.1'"),
        ({"channels": "four"}, "channels must be four positive widths, got 'four'"),
        ({"channels": 4}, "channels must be four positive widths, got 4"),
        ({"channels": [4, 4, 4, 0]}, "width 3 must be a positive whole number, got 0"),
    ],
)
def test_arguments(small, kind, change, message):
    with pytest.raises(ValueError, match=message):
        kind(**small | change)


@pytest.mark.parametrize(
    ("kind", "change", "message"),
    [
        (MESM, {"attention_dims": [4, 4, 0]}, "attention_dims: width 2 must be"),
        (MESM, {"query_shuffle": 2}, "query_shuffle must be in"),
        (MESM, {"local_start": ["nose"]}, "local_start must name face or audio"),
        (LFTransformer, {"layers": 0}, "layers must be"),
        (LFTransformer, {"text_heads": 0}, "text_heads must be"),
        (EmoEmbs, {"audio_hidden": -2}, "audio_hidden must be"),
        (MulT, {"memory_layers": 0}, "memory_layers must be"),
        (MulT, {"relu_dropout": -1}, "relu_dropout must be"),
        (LFLSTM, {"text_dim": 0}, "text_dim must be"),
    ],
)
def test_arguments_of_one(small, kind, change, message):
    own = small if kind is MESM else {"emotions": 3}
    with pytest.raises(ValueError, match=message):
        kind(**own | change)


@pytest.mark.parametrize("kind", [FE2E, MESM])
def test_batches(small, make_batch, kind):
    model = kind(**small).eval()
    batch = make_batch([2, 1], [1, 2], [5, 3])
    with pytest.raises(ValueError, match="reads a Batch, got dict"):
        model({})
    with pytest.raises(ValueError, match=r"faces must be torch\.float32 .*got torch\.float16"):
        model(replace(batch, faces=batch.faces.half()))
    with pytest.raises(ValueError, match=r"subwords must be 0 to 39, got \d+ to 41"):
        model(replace(batch, text_ids=batch.text_ids + 40 * (batch.text_ids == 0) + 1))
    with pytest.raises(ValueError, match="subwords must be 0 to 39, got -1"):
        model(replace(batch, text_ids=batch.text_ids - 1))
    long = torch.ones(2, 33, dtype=torch.int64)
    with pytest.raises(ValueError, match="texts must have 1 to 32 subwords, got 33"):
        model(replace(batch, text_ids=long, text_mask=long.bool()))
    with pytest.raises(ValueError, match="reads a FeatureBatch, got Batch"):
        LFLSTM(emotions=6)(batch)


def test_heads_of_the_text(small):
    albert = small["albert"] | {"num_attention_heads": 5}
    with pytest.raises(ValueError, match="hidden_size must be divisible by num_attention_heads"):
        FE2E(**small | {"albert": albert})
