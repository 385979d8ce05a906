"""Rulebooks for tests of the products, in NumPy, and the products' expected results."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from mesm_ops.triton.parts.rulebook import place_rows
from mesm_ops.triton.parts.tiles import TILE


@dataclass(frozen=True)
class Rules:
    """The rows of random masks in sorted order; an empty tile follows the rows."""

    rows: int
    lists: np.ndarray  # (T, 9, TILE) int32; senseless in the last tile
    masks: np.ndarray  # (T,)

    @property
    def tiles(self) -> int:
        """Tiles that have rows."""
        return -(-self.rows // TILE)

    def filled(self, channels: int, rng: np.random.Generator) -> np.ndarray:
        """(T * TILE, channels) of random values, zero where no row is, NaN in tiles of none."""
        out = np.full((len(self.masks) * TILE, channels), np.nan, np.float32)
        out[: self.tiles * TILE] = 0
        out[: self.rows] = rng.standard_normal((self.rows, channels))
        return out

    def neighbours(self, tap: int) -> np.ndarray:
        """The position of each row's neighbour at a tap; -1 if there is none."""
        return self.lists[:, tap].reshape(-1)[: self.rows]


def make_rules(
    frames: int, height: int, width: int, density: float, rng: np.random.Generator
) -> Rules:
    """Draw the rules of frames whose sites are active independently of each other."""
    mask = torch.from_numpy(rng.random((frames, height, width)) < density)
    sites = mask.flatten(1).nonzero()[:, 1].int()
    offsets = torch.cat([torch.zeros(1, dtype=torch.int64), mask.sum((1, 2)).cumsum(0)]).int()
    _, lists, masks = place_rows(sites, offsets, height, width)
    return Rules(
        rows=len(sites),
        lists=np.concatenate([lists.numpy(), np.full((1, 9, TILE), 2**30, np.int32)]),
        masks=np.concatenate([masks.numpy(), np.full(1, -1, np.int32)]),
    )


def convolved(rules: Rules, x: np.ndarray, weight: np.ndarray, transposed: bool) -> np.ndarray:
    """The convolution of the rows x (T * TILE, Cin), (rows, Cout) float64."""
    out = np.zeros((rules.rows, weight.shape[1 if transposed else 2]))
    for tap in range(9):
        near = rules.neighbours(tap)
        matrix = weight[8 - tap].T if transposed else weight[tap]
        out[near >= 0] += x[near[near >= 0]].astype(np.float64) @ matrix.astype(np.float64)
    return out


def weight_gradient(rules: Rules, x: np.ndarray, grad: np.ndarray) -> np.ndarray:
    """The gradient of the weight, (Cout, Cin, 9) float64."""
    taps = []
    for tap in range(9):
        near = rules.neighbours(tap)
        has = near >= 0
        taps.append(grad[: rules.rows][has].T.astype(np.float64) @ x[near[has]].astype(np.float64))
    return np.stack(taps, axis=2)
