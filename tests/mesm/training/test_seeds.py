"""Numbers fix all that torch, numpy and random draw."""

from __future__ import annotations

import random

import numpy as np
import torch

from mesm.training.seeds import seed_everything


def drawn(*entropy: int) -> tuple[float, float, float]:
    seed_everything(*entropy)
    return float(torch.rand(())), float(np.random.rand()), random.random()


def test_the_same_numbers_draw_the_same_and_others_others() -> None:
    assert drawn(1, 2) == drawn(1, 2)
    others = [drawn(1, 2), drawn(2, 1), drawn(1), drawn(1, 2, 3)]
    for values in zip(*others, strict=True):
        assert len(set(values)) == len(others)
