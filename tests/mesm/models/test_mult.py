import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from mesm.models import MulT
from mesm.models.cross_modal_encoder import CrossModalEncoder
from tests.oracle.layers import attend, positions


def encode(encoder: CrossModalEncoder, target: Tensor, source: Tensor | None) -> Tensor:
    """The encoder over one clip, nothing padded: target (T, d), source (S, d) or itself."""

    def embed(x: Tensor) -> Tensor:
        return math.sqrt(x.shape[1]) * x + positions(*x.shape)

    x = embed(target)
    seen = None if source is None else embed(source)
    for layer in encoder.layers:
        normed = layer.attention_norm(x)
        keys = normed if seen is None else layer.attention_norm(seen)
        if len(keys):
            x = x + attend(layer.attention, normed, keys)
        wide, _, _, narrow = layer.feedforward
        assert wide.out_features == 4 * x.shape[1]
        x = x + narrow(F.relu(wide(layer.feedforward_norm(x))))
    return encoder.norm(x)


def by_hand(model: MulT, rows: dict[str, Tensor]) -> Tensor:
    streams = {}
    for letter, x in rows.items():
        weight = model.project[letter].weight  # (dim, d, k)
        side = weight.shape[2] // 2
        padded = F.pad(x, (0, 0, side, side))
        streams[letter] = torch.stack(
            [
                torch.einsum("odk,kd->o", weight, padded[at : at + weight.shape[2]])
                for at in range(len(x))
            ]
            or [x.new_zeros(weight.shape[0])]
        )[: len(x)]
    ends = []
    for target, x in streams.items():
        looked = [
            encode(model.cross[target + source], x, other)
            for source, other in streams.items()
            if source != target
        ]
        memory = encode(model.memory[target], torch.cat(looked, dim=1), None)
        ends.append(memory[-1] if len(memory) else x.new_zeros(memory.shape[1]))
    hidden = torch.cat(ends)
    first, _, _, second = model.mlp
    return model.classify(hidden + second(F.relu(first(hidden))))


@pytest.mark.parametrize(("modalities", "kernels"), [("tav", (3, 5, 3)), ("va", (1, 1, 1))])
def test_each_clip_without_padding(modalities, kernels, widths, make_features):
    model = MulT(
        **widths, modalities=modalities, dim=8, heads=2, layers=2, memory_layers=2, kernels=kernels
    ).eval()
    batch = make_features([2, 6, 0], [5, 0, 3], [1, 7, 4])
    logits = model(batch)
    for clip in range(3):
        rows = {m: batch.rows(m).split(batch.lengths(m).tolist())[clip] for m in model.modalities}
        # Six encoders deep; measured at most 1e-6.
        torch.testing.assert_close(logits[clip], by_hand(model, rows), rtol=0, atol=1e-5)


def test_paper_sizes():
    model = MulT(emotions=6)
    assert sorted(model.cross) == ["at", "av", "ta", "tv", "va", "vt"]
    assert {len(encoder.layers) for encoder in model.cross.values()} == {5}
    assert {len(encoder.layers) for encoder in model.memory.values()} == {3}
    assert model.classify.in_features == 6 * 40


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"modalities": "t"}, "needs at least two modalities.*got 't'"),
        ({"dim": 9, "heads": 2}, "dim must be divisible by heads=2, got 9"),
        ({"kernels": (1, 2, 1)}, r"kernels must be three odd widths, got \[1, 2, 1\]"),
        ({"kernels": (1, 1)}, "kernels must be three odd widths"),
    ],
)
def test_refuses(options, message, widths):
    with pytest.raises(ValueError, match=message):
        MulT(**(widths | options))
