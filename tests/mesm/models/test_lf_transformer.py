import pytest
import torch
import torch.nn.functional as F

from mesm.data.feature_batch import STREAMS
from mesm.models import LFTransformer
from tests.oracle.layers import attend, positions


@pytest.mark.parametrize("told_places", [False, True])
def test_each_clip_by_hand(told_places, widths, make_features):
    model = LFTransformer(**widths, positions=told_places).eval()
    batch = make_features([2, 4], [5, 0], [3, 7])
    logits = model(batch)
    for clip in range(2):
        expected = torch.zeros(3)
        for weight, letter in zip(model.fuse.weight, STREAMS, strict=True):
            rows = batch.rows(letter).split(batch.lengths(letter).tolist())[clip]
            encoder = model.encoders[letter]
            x = torch.cat((encoder.cls[None], rows))
            if told_places:
                x = x + positions(*x.shape)
            assert len(encoder.encoder.layers) == 2
            for layer in encoder.encoder.layers:  # post-norm, as in Vaswani et al.
                x = layer.norm1(x + attend(layer.self_attn, x, x))
                x = layer.norm2(x + layer.linear2(F.relu(layer.linear1(x))))
            head = model.heads[letter]
            assert head[0].out_features == rows.shape[1] // 2
            expected = expected + weight * head[2](F.relu(head[0](x[0])))
        torch.testing.assert_close(logits[clip], expected, rtol=0, atol=1e-5)


def test_order_counts_only_where_places_are_told(widths, make_features):
    for told_places in (False, True):
        torch.manual_seed(0)
        model = LFTransformer(**widths, positions=told_places).eval()
        batch = make_features([4], [3], [2])
        before = model(batch)
        batch.text = batch.text.flip(0)
        assert torch.allclose(model(batch), before, rtol=0, atol=1e-5) != told_places


def test_refuses_heads_that_do_not_divide(widths):
    with pytest.raises(ValueError, match="divisible by its heads, got 10 and 4 for 'a'"):
        LFTransformer(**widths, audio_heads=4)
    LFTransformer(**widths, audio_heads=4, modalities="tv")
