"""A model's costs on one piece: FLOPs of the feature extraction, its kept share, time."""

from __future__ import annotations

from dataclasses import dataclass, field

from mesm.analysis.costs import Stopwatch
from mesm.config.p import BLOCKS, BlockP
from mesm.inference.looking import Attention, flops
from mesm.inference.pieces import Piece
from mesm.inference.pipeline import Pipeline

# Passes whose median is shown; each has one before it that warms up.
PASSES = 3
# The least p of a slider, unless a run's own is less; and the least of all.
USUAL_LEAST_P, LEAST_P = 0.1, 0.01


@dataclass(frozen=True)
class Cost:
    """The costs of a model on a piece.

    Attributes:
        flops: of the feature extraction, two per multiply-accumulate.
        dense_flops: of dense convolutions as wide.
        milliseconds: of the whole model, median.
        kept: by "face" and "audio", the share of sites that each block keeps; none of FE2E.
    """

    flops: float
    dense_flops: float
    milliseconds: float
    kept: dict[str, list[float]] = field(default_factory=dict)


def measure(
    pipeline: Pipeline, piece: Piece, p: BlockP | None = None, attention: Attention | None = None
) -> Cost:
    """Count and time a model on a piece.

    Args:
        pipeline: of FE2E or MESM.
        piece: what it runs on.
        p: another p than a MESM's own.
        attention: of the piece at that p; None: the model keeps no sites.
    """
    counted, dense = flops(pipeline, piece, p)
    watch = Stopwatch()
    with pipeline.at_p(p):
        batch = pipeline.batch([piece])
        for _ in range(PASSES):
            watch.time(pipeline.trained.model, batch)
    kept = {} if attention is None else attention.kept_shares()
    return Cost(counted, dense, watch.medians()["model"], kept)


def p_of_blocks(own: BlockP, block: int, p: float) -> BlockP:
    """A p for one block or for all of them.

    Args:
        own: the run's own p, which the other blocks keep.
        block: 1 to 3; 0: every block.
        p: in (0, 1].
    """
    if not block:
        return p
    if isinstance(own, dict):
        return {name: _with(blocks, block, p) for name, blocks in own.items()}
    return _with(own, block, p)


def p_shown(own: BlockP, block: int) -> float:
    """The p at which a slider for one block, or for all of them (0), begins; means are rounded."""
    values = own.values() if isinstance(own, dict) else [own]
    found = [n for value in values for n in _numbers(value, block)]
    return max(LEAST_P, round(sum(found) / len(found), 2))


def least_p(own: BlockP) -> float:
    """The least p of a slider, at which it can begin for every block of a run."""
    return min(USUAL_LEAST_P, *(p_shown(own, block) for block in range(BLOCKS + 1)))


def _numbers(value: float | list[float], block: int) -> list[float]:
    blocks = list(value) if isinstance(value, list) else [value] * BLOCKS
    return blocks[block - 1 : block] if block else blocks


def _with(blocks: float | list[float], block: int, p: float) -> list[float]:
    found = _numbers(blocks, 0)
    found[block - 1] = p
    return found
