import torch

from mesm.models.recurrent import BidirectionalLSTM
from tests.oracle.layers import lstm


def test_two_layers_of_clips_of_any_length():
    model = BidirectionalLSTM(3, 4, layers=2, dropout=0.5).eval()
    lengths = torch.tensor([2, 0, 5, 1])
    rows = torch.randn(8, 3)
    ends, last = model(rows, lengths, lengths)
    assert ends.shape == last.shape == (4, 8)
    for clip, x in enumerate(rows.split(lengths.tolist())):
        if not len(x):
            assert not ends[clip].any()
            assert not last[clip].any()
            continue
        first = torch.cat((lstm(model.lstm, x), lstm(model.lstm, x, backward=True)), dim=1)
        forward, back = lstm(model.lstm, first, 1), lstm(model.lstm, first, 1, backward=True)
        torch.testing.assert_close(ends[clip], torch.cat((forward[-1], back[0])))
        torch.testing.assert_close(last[clip], torch.cat((forward[-1], back[-1])))
