import torch

from mesm.models.cross_modal_encoder import CrossModalEncoder


def test_padding_of_the_source_is_never_seen():
    encoder = CrossModalEncoder(8, 2, 2).eval()
    target, source, lengths = torch.randn(2, 3, 8), torch.randn(2, 5, 8), torch.tensor([2, 5])
    before = encoder(target, lengths, source)
    source[0, 2:] = 100
    torch.testing.assert_close(encoder(target, lengths, source), before, rtol=0, atol=1e-6)
    source[0, 1] = 100
    assert not torch.allclose(encoder(target, lengths, source)[0], before[0])


def test_an_empty_source_adds_nothing():
    encoder = CrossModalEncoder(8, 2, 1).eval()
    target, lengths = torch.randn(1, 3, 8), torch.tensor([0])
    found = encoder(target, lengths, torch.randn(1, 4, 8))
    torch.testing.assert_close(encoder(target, lengths, torch.randn(1, 4, 8)), found)
    with torch.no_grad():
        encoder.layers[0].attention.out_proj.bias.fill_(3)  # nor does the attention's bias
    torch.testing.assert_close(encoder(target, lengths, torch.randn(1, 4, 8)), found)


def test_places_are_told_and_the_future_is_seen():
    encoder = CrossModalEncoder(8, 2, 1).eval()
    target, source, lengths = torch.randn(1, 3, 8), torch.randn(1, 4, 8), torch.tensor([4])
    before = encoder(target, lengths, source)
    assert not torch.allclose(encoder(target, lengths, source.flip(1)), before)
    source[0, 3] = torch.randn(8)
    assert not torch.allclose(encoder(target, lengths, source)[0, 0], before[0, 0])
