"""How many of the nine taps a convolution's tiles go through, by the order of their rows.

A tile leaves out a tap at which none of its rows has a neighbour. Taps are counted on the
benchmark's masks, half of the sites in smooth clusters; nothing is timed. As built is the order
into which `mesm_ops.triton.parts.rulebook` and csrc/cuda/place.cuh put rows.

    python -m benchmarks.floors.tile_order          # the table of docs/design/gpu.md
"""

from __future__ import annotations

import argparse

import torch
from torch import Tensor

from benchmarks.inputs import smooth_mask
from benchmarks.shapes import FACE_BLOCKS, HALF, Shape
from mesm_ops.triton.parts.rulebook import place_rows

FRAMES = 512
TILES = (128, 64, 32)  # rows
WINDOWS = (1, 4096, 16384, 65536, 2**31)  # rows that are sorted together; 1: not at all
CORNERS_FIRST = (0, 2, 6, 8, 1, 3, 5, 7, 4)
SIDES_FIRST = (1, 3, 5, 7, 0, 2, 6, 8, 4)
TAPS = 9


def neighbours_of(mask: Tensor) -> Tensor:  # (active sites, 9) bool
    """Which neighbours each active site of masks (F, H, W) has."""
    _, height, width = mask.shape
    padded = torch.nn.functional.pad(mask, (1, 1, 1, 1))
    shifted = [padded[:, o // 3 :, o % 3 :][:, :height, :width] for o in range(TAPS)]
    return torch.stack(shifted, dim=-1)[mask]


def gray_key(known: Tensor, taps: tuple[int, ...]) -> Tensor:
    """Place of each row's neighbours in the Gray code whose first bits are the first taps.

    Counted from the code's end, so that rows of all neighbours come first.
    """
    key = torch.zeros(len(known), dtype=torch.int64)
    bit = torch.zeros(len(known), dtype=torch.int64)
    for tap in taps:
        bit = bit ^ known[:, tap].long()
        key = 2 * key + bit
    return (1 << TAPS) - 1 - key


def count_key(known: Tensor, taps: tuple[int, ...]) -> Tensor:
    """Rows of few neighbours first."""
    return (known.sum(1) << TAPS) + (known[:, list(taps)].long() << torch.arange(TAPS)).sum(1)


def taps_of(known: Tensor, key: Tensor, window: int, tile: int) -> float:
    """Average taps of a tile's rows, sorted by the key inside windows."""
    number = torch.arange(len(key)) // window
    order = torch.argsort(number * (1 << 20) + key, stable=True)
    padding = -len(known) % tile
    rows = torch.cat([known[order], known.new_zeros(padding, TAPS)])
    return float(rows.view(-1, tile, TAPS).any(1).sum(1).double().mean())


def taps_as_built(mask: Tensor) -> float:
    """Average taps of the tiles that the block's own placing makes of masks (F, H, W)."""
    frames, height, width = mask.shape
    flat = mask.view(frames, -1)
    offsets = torch.nn.functional.pad(flat.sum(1).cumsum(0), (1, 0)).int()
    _, _, masks = place_rows(flat.nonzero()[:, 1].int(), offsets, height, width)
    return float((masks[:, None] >> torch.arange(TAPS) & 1).sum(1).double().mean())


def row(shape: Shape, label: str, known: Tensor, key: Tensor, built: str = "") -> str:
    """One line of the table: for each window, the taps of tiles of each size."""
    cells = [
        " / ".join(f"{taps_of(known, key, window, tile):.1f}" for tile in TILES)
        for window in WINDOWS
    ]
    exact = f"{float(known.sum(1).double().mean()):.1f}"
    maps = f"{shape.height}x{shape.width}"
    return "| " + " | ".join([maps, label, *cells, exact, built]) + " |"


def table() -> list[str]:
    """Lines of Markdown."""
    heads = ["as they stand", *(f"{window} rows" for window in WINDOWS[1:-1]), "all rows", "exact"]
    heads += ["as built, tiles of 128"]
    lines = ["| maps | sorted by | " + " | ".join(heads) + " |", "|" + "---|" * (len(heads) + 2)]
    for shape in FACE_BLOCKS:
        mask = smooth_mask(FRAMES, shape, HALF, torch.Generator().manual_seed(3))
        known, built = neighbours_of(mask), f"{taps_as_built(mask):.2f}"
        for label, key, taps in (
            ("Gray code, corners first", gray_key, CORNERS_FIRST),
            ("Gray code, sides first", gray_key, SIDES_FIRST),
            ("number of neighbours", count_key, CORNERS_FIRST),
        ):
            is_built = (key, taps) == (gray_key, CORNERS_FIRST)
            lines.append(row(shape, label, known, key(known, taps), built if is_built else ""))
    return lines


def main() -> None:
    argparse.ArgumentParser(
        prog="python -m benchmarks.floors.tile_order",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    ).parse_args()
    print("\n".join(table()))


if __name__ == "__main__":
    main()
