import torch

from mesm.data.feature_batch import STREAMS
from mesm.models import LFLSTM
from tests.oracle.layers import lstm


def test_each_clip_unrolled_by_hand(widths, make_features):
    model = LFLSTM(**widths).eval()
    with torch.no_grad():
        model.fuse.weight.copy_(torch.tensor([0.5, 2.0, -1.0]))
    batch = make_features([2, 4], [5, 1], [3, 7])
    logits = model(batch)
    for clip in range(2):
        expected = torch.zeros(3)
        for weight, letter in zip(model.fuse.weight, STREAMS, strict=True):
            x = batch.rows(letter).split(batch.lengths(letter).tolist())[clip]
            cells, head = model.lstms[letter].lstm, model.heads[letter]
            assert cells.hidden_size == x.shape[1]
            # Each direction's state after all steps: the last forwards, the first backwards.
            ends = torch.cat((lstm(cells, x)[-1], lstm(cells, x, backward=True)[0]))
            hidden = (head[0].weight @ ends + head[0].bias).clamp(min=0)
            assert len(hidden) == x.shape[1]
            expected = expected + weight * (head[2].weight @ hidden + head[2].bias)
        torch.testing.assert_close(logits[clip], expected, rtol=0, atol=1e-5)
