import pytest
import torch

from mesm.models import FE2E, MESM
from mesm.models.text import ALBERT_BASE, TextEncoder, text_settings, text_width
from tests.mesm.tiny_text import KINDS


def test_base_sizes_are_not_the_defaults():
    with torch.device("meta"):
        encoder = TextEncoder(ALBERT_BASE)
    assert encoder.dim == 768
    assert round(sum(p.numel() for p in encoder.parameters()) / 1e6) == 11


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


def test_one_argument_says_what_the_encoder_is(small):
    bert = KINDS["bert"] | {"model_type": "bert"}
    assert text_settings(None, None) is ALBERT_BASE
    assert text_settings(None, bert) is bert
    for both in ((small["albert"], bert), ("albert", None), (None, [])):
        with pytest.raises(ValueError, match=r"one text encoder|are keys and values"):
            text_settings(*both)
    assert text_width(KINDS["distilbert"] | {"model_type": "distilbert"}) == 12


def test_its_name_in_the_weights(small):
    """An ALBERT has the name that earlier runs have kept."""
    plain = {name: value for name, value in small.items() if name != "albert"}
    for albert, encoder, name in (
        (small["albert"], None, "text.albert."),
        (None, KINDS["bert"] | {"model_type": "bert"}, "text.encoder."),
    ):
        model = MESM(**plain, albert=albert, encoder=encoder)
        names = [key for key in model.state_dict() if key.startswith("text.")]
        assert names
        assert all(key.startswith(name) for key in names)


def test_a_frozen_text_leaves_the_rest_to_learn(small, make_batch):
    batch = make_batch(faces=[3, 1], chunks=[1, 2], words=[5, 9])
    for kind in (FE2E, MESM):
        model = kind(**small, freeze_text=True).train()
        model(batch).sum().backward()
        for name, parameter in model.named_parameters():
            assert (parameter.grad is None) == name.startswith("text."), name
    with pytest.raises(ValueError, match="freeze_text must be true or false, got 1"):
        FE2E(**small, freeze_text=1)
