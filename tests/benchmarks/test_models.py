"""A wrong extractor turns the models' gate red."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from benchmarks.gate import RedGate
from benchmarks.models import check_model, densities, draw_batch, make_model
from benchmarks.shapes import Clips

CLIPS = Clips(2, faces=2, chunks=1, tokens=4)
CHANNELS = (4, 8, 8, 8)


@pytest.fixture
def model() -> Any:
    return make_model("MESM", CHANNELS, p=0.5)


@pytest.mark.parametrize("train", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_green_for_the_model_as_it_is(model: Any, dtype: torch.dtype, train: bool) -> None:
    assert check_model(model.train(train), draw_batch(CLIPS), dtype, train) < 1


def test_red_for_wrong_maps(model: Any) -> None:
    extractor = model.feature_extractors["audio"]
    right = extractor.forward
    object.__setattr__(extractor, "forward", lambda *inputs: 1.01 * right(*inputs))
    with pytest.raises(RedGate, match="audio maps is off"):
        check_model(model.eval(), draw_batch(CLIPS), torch.float32, train=False)


def test_red_for_a_wrong_gradient(model: Any) -> None:
    calls = iter([1.0, 1.1, 1.0, 1.0])  # ours of the faces, then the referee's
    weight = model.feature_extractors["face"].blocks[0].conv2.weight
    weight.register_hook(lambda grad: next(calls) * grad)
    with pytest.raises(RedGate, match=r"face blocks\.0\.conv2\.weight is off"):
        check_model(model.train(), draw_batch(CLIPS), torch.float32, train=True)


def test_densities_are_those_of_the_blocks(model: Any) -> None:
    found = densities(model.eval(), draw_batch(CLIPS), torch.float32)
    assert {name: len(shares) for name, shares in found["block_densities"].items()} == {
        "face": 3,
        "audio": 3,
    }
    every = [share for shares in found["block_densities"].values() for share in shares]
    assert min(every) < found["density"] < max(every)


def test_weights_are_always_the_same() -> None:
    first, again = (make_model("FE2E", CHANNELS) for _ in range(2))
    for a, b in zip(first.parameters(), again.parameters(), strict=True):
        assert torch.equal(a, b)
