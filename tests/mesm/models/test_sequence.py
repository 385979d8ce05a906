import torch

from mesm.models.sequence import SequenceEncoder, last_steps, sinusoids


def test_positions_are_sines_and_cosines():
    table = sinusoids(50, 8, torch.device("cpu"))
    assert table.shape == (50, 8)
    torch.testing.assert_close(table[0], torch.tensor([0.0, 1.0] * 4))
    torch.testing.assert_close(table[3, 0], torch.tensor(3.0).sin())
    torch.testing.assert_close(table[3, 3], torch.tensor(3.0 / 10000 ** (2 / 8)).cos())


def test_norm_first_has_a_last_norm():
    def encoder(norm_first: bool) -> SequenceEncoder:
        return SequenceEncoder(8, 2, 1, 16, 0.1, norm_first)

    frames, lengths = torch.randn(5, 8), torch.tensor([2, 3])
    for norm_first in (False, True):
        encoded = encoder(norm_first).eval()(frames, lengths)
        assert encoded.shape == (2, 8)
        torch.testing.assert_close(encoded.mean(1), torch.zeros(2), atol=1e-5, rtol=0)


def test_other_clips_do_not_matter():
    encoder = SequenceEncoder(8, 2, 2, 16, 0.1, False).eval()
    frames = torch.randn(9, 8)
    whole = encoder(frames, torch.tensor([2, 0, 7]))
    torch.testing.assert_close(whole[0], encoder(frames[:2], torch.tensor([2]))[0])
    torch.testing.assert_close(whole[1], encoder(frames[:0], torch.tensor([0]))[0])


def test_last_steps():
    padded = torch.arange(12.0).view(3, 2, 2)
    found = last_steps(padded, torch.tensor([1, 2, 0]))
    assert found.tolist() == [[0, 1], [6, 7], [0, 0]]
