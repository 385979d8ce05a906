"""One launch does what three would."""

from __future__ import annotations

import ast
import inspect

import numpy as np
import pytest
import torch

from mesm_ops.triton.parts import finish as module
from mesm_ops.triton.parts.finish import finish
from mesm_ops.triton.parts.score_gradients import ScoreParts
from mesm_ops.triton.parts.weight_gradient import WeightParts, tap_tiles, weight_gradient
from tests.mesm_ops.triton.parts.rules import make_rules
from tests.mesm_ops.triton.parts.test_convolution import DEVICE, on_device

SAMPLES, K, DEPTH, CHANNELS, WIDTH = 5, 6, 7, 8, 16


def weights(cin: int, cout: int) -> WeightParts:
    rng = np.random.default_rng(cin)
    rules = make_rules(6, 7, 9, 0.5, rng)
    x, grad = (torch.from_numpy(rules.filled(c, rng)).to(DEVICE) for c in (cin, cout))
    book = on_device(rules)
    out = torch.full((cout, cin, 3, 3), torch.nan, device=DEVICE)
    parts = weight_gradient(x, grad, book, tap_tiles(book), out)
    assert parts is not None
    return parts


def scores() -> ScoreParts:
    generator = torch.Generator().manual_seed(0)
    shapes = ((2, K * CHANNELS), (SAMPLES, WIDTH), (SAMPLES, DEPTH), (K, DEPTH))
    parts, of_sample, query, query_weight = (
        torch.randn(shape, generator=generator).to(DEVICE) for shape in shapes
    )
    written = ((K, CHANNELS), (SAMPLES, DEPTH), (K,), (K, DEPTH), (1, K), (1,))
    out = [torch.full(shape, torch.nan, device=DEVICE) for shape in written]
    features = torch.empty(0, CHANNELS, device=DEVICE)
    sizes = (2, K * CHANNELS, SAMPLES, WIDTH, K, DEPTH)
    return ScoreParts(features, parts, of_sample, query, query_weight, *out, *sizes, 1, 1, 1, 1)


def test_writes_what_each_would_alone() -> None:
    alone = weights(20, 12), weights(64, 30), scores()
    finish(alone[0])
    finish(weight2=alone[1])
    finish(scores=alone[2])
    together = weights(20, 12), weights(64, 30), scores()
    finish(*together)
    for one, other in zip(alone[:2], together[:2], strict=True):
        assert not torch.isnan(one.out).any()
        assert torch.equal(one.out, other.out)
    for one, other in zip(alone[2][5:11], together[2][5:11], strict=True):
        assert not torch.isnan(one).any()
        assert torch.equal(one, other)


def test_scores_are_sums_and_products() -> None:
    given = scores()
    finish(scores=given)
    assert given.parts is not None
    inside, of_score = given.of_sample[:, :K], given.of_sample[:, K : 2 * K]
    for got, want in (
        (given.of_map_weight, given.parts.sum(0).view(K, CHANNELS)),
        (given.of_query, inside @ given.query_weight),
        (given.of_map_bias, inside.sum(0)),
        (given.of_query_weight, inside.T @ given.query),
        (given.of_score_weight, of_score.sum(0)[None]),
        (given.of_score_bias, given.of_sample[:, 2 * K].sum()[None]),
    ):
        torch.testing.assert_close(got, want, rtol=1e-5, atol=1e-5)


def test_programs_of_the_real_size_write_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    (real,) = (
        line.value.value
        for line in ast.parse(inspect.getsource(module)).body
        if isinstance(line, ast.Assign) and ast.unparse(line.targets[0]) == "_PIECE"
        if isinstance(line.value, ast.Constant)
    )
    first, second = weights(20, 12), weights(20, 12)
    finish(first)
    monkeypatch.setattr(module, "_PIECE", real)
    finish(second)
    assert torch.equal(first.out, second.out)


def test_nothing_left_to_do() -> None:
    finish()
