"""Draws docs/assets/block.svg: text to attention to top-p to sparse convolution.

The attention is made up, a bump on each eye and on the mouth of a schematic face; which sites are
kept of it, `mesm_ops.top_p_mask` says.

    python -m benchmarks.studies.block_picture
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import torch

from benchmarks.environment import ROOT
from mesm.runs.files import write_beside
from mesm_ops import top_p_mask

PICTURE = ROOT / "docs/assets/block.svg"
P = 0.5
SIDE, CELL = 12, 13  # sites along a side of the map, and the width of one
BUMPS = ((3.3, 3.8, 1.0), (7.8, 3.9, 0.94), (5.6, 8.5, 1.1))  # x, y, height
TOP = 66
LEFTS = (206, 404, 602, 838)  # of the map, the attention, the bars, the kept sites
STYLE = """
  text { font: 13px system-ui, -apple-system, "Segoe UI", sans-serif; fill: #24292f; }
  .head { font-weight: 600; font-size: 14px; }
  .soft { fill: #57606a; font-size: 12px; }
  .card { fill: #ffffff; stroke: #d0d7de; }
  .cell { fill: #eaeef2; }
  .line { stroke: #57606a; fill: none; stroke-width: 1.5; }
  .tip { fill: #57606a; }
  .face { stroke: #57606a; fill: none; stroke-width: 2; stroke-linecap: round; }
  .query { fill: #8250df; }
  .hot { fill: #d1480a; }
  .kept { fill: #0a7a5c; }
  .tap { stroke: #0969da; fill: none; stroke-width: 2.5; }
  .cut { stroke: #24292f; stroke-dasharray: 4 3; }
  @media (prefers-color-scheme: dark) {
    text { fill: #e6edf3; }
    .soft { fill: #9ea7b3; }
    .card { fill: #161b22; stroke: #3d444d; }
    .cell { fill: #2b323b; }
    .line, .face { stroke: #9ea7b3; }
    .tip { fill: #9ea7b3; }
    .query { fill: #a987f5; }
    .hot { fill: #ff8a4c; }
    .kept { fill: #3fc79a; }
    .tap { stroke: #58a6ff; }
    .cut { stroke: #e6edf3; }
  }
"""


def attention() -> tuple[torch.Tensor, torch.Tensor]:
    """The made-up attention, (SIDE, SIDE), and which of its sites the op keeps."""
    y, x = torch.meshgrid(torch.arange(SIDE), torch.arange(SIDE), indexing="ij")
    logits = torch.zeros(SIDE, SIDE)
    for at_x, at_y, height in BUMPS:
        logits += 3.6 * height * torch.exp(-((x - at_x) ** 2 + (y - at_y) ** 2) / 4.0)
    kept = top_p_mask(logits.reshape(1, -1), P).reshape(SIDE, SIDE)
    return torch.softmax(logits.flatten(), 0).reshape(SIDE, SIDE), kept


def cells(left: float, top: float, shades: Iterable[tuple[int, int, str, float]]) -> str:
    """Squares of a map: x and y of the site, class, opacity."""
    return "".join(
        f'<rect class="{kind}" opacity="{opacity:.2f}" x="{left + x * CELL:g}" '
        f'y="{top + y * CELL:g}" width="{CELL - 1}" height="{CELL - 1}" rx="1.5"/>'
        for x, y, kind, opacity in shades
    )


def words(x: float, y: float, text: str, kind: str = "", anchor: str = "middle") -> str:
    """A line of text."""
    return f'<text class="{kind}" x="{x:g}" y="{y:g}" text-anchor="{anchor}">{text}</text>'


def arrow(x: float, y: float, length: float) -> str:
    """An arrow to the right."""
    tip = x + length
    return (
        f'<path class="line" d="M{x:g} {y:g}H{tip - 6:g}"/>'
        f'<path class="tip" d="M{tip - 8:g} {y - 5:g}L{tip:g} {y:g}L{tip - 8:g} {y + 5:g}Z"/>'
    )


def drawing() -> str:
    """The whole picture as SVG."""
    mass, kept = attention()
    width = SIDE * CELL
    middle, bottom = TOP + width / 2, TOP + width
    every = [(x, y) for y in range(SIDE) for x in range(SIDE)]
    maps, heat, bars, sparse = LEFTS
    parts = [
        *_text_and_query(),
        # The map, with the face on the map.
        cells(maps, TOP, ((x, y, "cell", 1) for x, y in every)),
        _face(maps),
        words(maps + width / 2, TOP - 16, "frames or sound", "head"),
        words(maps + width / 2, bottom + 22, "feature maps (F, C, H, W)", "soft"),
        arrow(maps + width + 8, middle, 26),
        # The attention.
        cells(heat, TOP, ((x, y, "cell", 1) for x, y in every)),
        cells(heat, TOP, ((x, y, "hot", float(mass[y, x] / mass.max())) for x, y in every)),
        words(heat + width / 2, TOP - 16, "attention", "head"),
        words(heat + width / 2, bottom + 22, "softmax of v · tanh(W x + U q)", "soft"),
        arrow(heat + width + 8, middle, 26),
        *_bars(bars, bottom, mass, kept),
        arrow(sparse - 42, middle, 26),
        # The computed sites.
        cells(sparse, TOP, ((x, y, "cell", 0.55) for x, y in every)),
        cells(sparse, TOP, ((x, y, "kept", 1) for x, y in every if kept[y, x])),
        f'<rect class="tap" x="{sparse + 2 * CELL - 1:g}" y="{TOP + 3 * CELL - 1:g}" '
        f'width="{3 * CELL + 1}" height="{3 * CELL + 1}" rx="2"/>',
        words(sparse + width / 2, TOP - 16, "sparse convolution", "head"),
        words(sparse + width / 2, bottom + 22, "2 × (3×3 conv, norm, ReLU)", "soft"),
        words(sparse + width / 2, bottom + 39, "and 2×2 pool, at kept sites only", "soft"),
    ]
    said = (
        "A query from the text scores every site of the feature maps; the top-p share of the "
        "attention is kept; convolutions run at the kept sites only."
    )
    body = "\n".join(parts)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 1030 286" role="img">\n'
        f"<title>{said}</title>\n<style>{STYLE}</style>\n"
        f'<rect class="card" x="0.5" y="0.5" width="1029" height="285" rx="8"/>\n{body}\n</svg>\n'
    )


def _text_and_query() -> list[str]:
    left, below = 24, 270
    bubble = (
        f'<rect class="line" x="{left}" y="{TOP + 12}" width="134" height="42" rx="10"/>'
        f'<path class="line" d="M{left + 20} {TOP + 54}v14l14 -14"/>'
    )
    levels = (0.9, 0.35, 0.6, 1.0, 0.25, 0.75, 0.5)
    vector = "".join(
        f'<rect class="query" opacity="{level}" x="{left + 20 + 14 * i}" y="{TOP + 112}" '
        f'width="12" height="12" rx="2"/>'
        for i, level in enumerate(levels)
    )
    turn = LEFTS[1] + SIDE * CELL / 2
    route = (
        f'<path class="line" d="M{left + 67} {TOP + 150}V{below - 6}H{turn:g}V{TOP + 188}"/>'
        f'<path class="tip" d="M{turn - 5:g} {TOP + 190}h10l-5 -8Z"/>'
    )
    return [
        words(left + 67, TOP - 16, "text", "head"),
        bubble,
        words(left + 67, TOP + 38, "“You did it!”"),
        f'<path class="line" d="M{left + 67} {TOP + 76}v24"/>'
        f'<path class="tip" d="M{left + 62} {TOP + 98}h10l-5 8Z"/>',
        vector,
        words(left + 67, TOP + 143, "query q", "soft"),
        route,
    ]


def _face(left: float) -> str:
    centre = left + SIDE * CELL / 2
    eyes = "".join(
        f'<circle class="face" cx="{left + (x + 0.5) * CELL:g}" cy="{TOP + (y + 0.5) * CELL:g}" '
        f'r="7"/>'
        for x, y, _ in BUMPS[:2]
    )
    mouth = TOP + 8.4 * CELL
    return (
        f'<ellipse class="face" cx="{centre:g}" cy="{TOP + 6 * CELL:g}" rx="62" ry="72"/>{eyes}'
        f'<path class="face" d="M{centre - 24:g} {mouth:g}q24 24 48 0"/>'
    )


def _bars(left: float, bottom: float, mass: torch.Tensor, kept: torch.Tensor) -> list[str]:
    """The largest shares, sorted: those whose sum reaches p, and some more."""
    order = mass.flatten().argsort(descending=True)
    count = int(kept.sum())
    shown = round(2.2 * count)
    step = (SIDE * CELL + 12) / shown
    height = SIDE * CELL - 20
    drawn = "".join(
        f'<rect class="{"kept" if rank < count else "cell"}" x="{left + rank * step:.1f}" '
        f'y="{bottom - height * share:.1f}" width="{step - 1:.1f}" height="{height * share:.1f}"/>'
        for rank, share in enumerate((mass.flatten()[order[:shown]] / mass.max()).tolist())
    )
    cut = left + count * step - 0.5
    middle = left + SIDE * CELL / 2 + 6
    return [
        drawn,
        f'<path class="cut" d="M{cut:.1f} {TOP + 4}V{bottom:g}"/>',
        words(cut + 8, TOP + 16, f"the sum reaches p = {P:g}", "soft", "start"),
        words(middle, TOP - 16, "top-p", "head"),
        words(middle, bottom + 22, f"{count} of {SIDE * SIDE} sites kept", "soft"),
    ]


def main(path: Path = PICTURE) -> None:
    """Write the picture."""
    write_beside(path, drawing())


if __name__ == "__main__":
    main()
