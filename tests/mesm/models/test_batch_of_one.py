"""For all six systems: padding is never seen, so a clip's answer does not depend on the others."""

import pytest
import torch

from mesm.models import FE2E, LFLSTM, MESM, EmoEmbs, LFTransformer, MulT

# Float32 sums of other lengths round otherwise; this is far above that and far below a wrong mask.
TOLERANCE = 1e-5


@pytest.mark.parametrize("kind", [FE2E, MESM])
def test_end_to_end(kind, small, make_batch, row_of):
    model = kind(**small).eval()
    batch = make_batch(faces=[3, 0, 2], chunks=[1, 4, 0], words=[5, 3, 9])
    with torch.no_grad():
        whole = model(batch)
        for place in range(3):
            alone = model(row_of(batch, place))
            torch.testing.assert_close(alone[0], whole[place], rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize("kind", [LFLSTM, LFTransformer, EmoEmbs, MulT])
def test_two_phase(kind, widths, make_features, features_of):
    options = {"dim": 8, "heads": 2, "layers": 2, "kernels": (3, 5, 3)} if kind is MulT else {}
    model = kind(**widths, **options).eval()
    if isinstance(model, EmoEmbs):
        model.set_emotion_vectors(torch.randn(3, 12))
    batch = make_features([5, 1, 9, 0], [0, 4, 2, 7], [3, 11, 0, 1])
    with torch.no_grad():
        whole = model(batch)
        for place in range(4):
            alone = model(features_of(batch, place))
            torch.testing.assert_close(alone[0], whole[place], rtol=0, atol=TOLERANCE)
