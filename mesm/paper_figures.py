"""What the paper reports (Dai et al., NAACL 2021), to stand beside one's own figures.

Percent; per emotion (accuracy or weighted accuracy, F1), in the corpus' order of emotions. FLOPs as
the paper counts them: one per multiply–accumulate, in 10^9.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class PaperRow:
    """One line of the paper's Table 3 or 4."""

    model: str
    gflops: float | None
    emotions: tuple[tuple[float, float], ...]
    average: tuple[float, float]


IEMOCAP = (
    PaperRow(
        "FE2E",
        8.65,
        ((88.7, 63.9), (89.1, 61.9), (71.2, 57.8), (90.0, 44.8), (79.1, 58.4), (89.1, 65.7)),
        (84.5, 58.8),
    ),
    PaperRow(
        "MESM, p = 0.7",
        5.18,
        ((88.2, 62.8), (88.3, 61.2), (74.9, 58.4), (89.5, 47.3), (77.0, 52.0), (88.6, 62.2)),
        (84.4, 57.4),
    ),
)

MOSEI = (
    PaperRow(
        "FE2E",
        8.65,
        ((67.0, 49.6), (77.7, 57.1), (63.8, 26.8), (65.4, 72.6), (65.2, 49.0), (66.7, 29.1)),
        (67.6, 47.4),
    ),
    PaperRow(
        "MESM, p = 0.5",
        4.34,
        ((66.8, 49.3), (75.6, 56.4), (65.8, 28.9), (64.1, 72.3), (63.0, 46.6), (65.7, 27.2)),
        (66.8, 46.8),
    ),
)

PAPER_TABLES = {"iemocap": IEMOCAP, "mosei": MOSEI}
