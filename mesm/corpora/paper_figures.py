"""The figures of the paper's Tables 1 to 5 (Dai et al., NAACL 2021), to stand beside ours.

Scores are percent; per emotion (accuracy or weighted accuracy, F1), in the corpus' order of
emotions. FLOPs as the paper counts them: one per multiply–accumulate, in 10^9. Everything stands
as printed, also where the paper does not agree with itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class PaperSplit:
    """One line of the paper's Table 1 or 2: average lengths, and clips per split.

    `words` is what the paper's column "Avg. word length" holds.
    """

    words: float
    seconds: float
    train: int
    valid: int
    test: int


@dataclass(frozen=True)
class PaperRow:
    """One line of the paper's Table 3 or 4.

    Attributes:
        system: the model's name in a config, e.g. "lf_lstm".
        model: the name as we spell it, with its p.
        gflops: None where the paper has a dash.
        emotions: per emotion (accuracy or weighted accuracy, F1).
        average: the same over the emotions.
    """

    system: str
    model: str
    gflops: float | None
    emotions: tuple[tuple[float, float], ...]
    average: tuple[float, float]


@dataclass(frozen=True)
class PaperFigures:
    """All that the paper prints of one corpus.

    Attributes:
        splits_table: number of the table of `splits`.
        splits: per emotion average lengths and clips per split.
        splits_note: what a reader of them must know.
        results_table: number of the table of `results`.
        results: a row per system.
        ablation: of its Table 5, (average accuracy, average F1) per system and modalities, which
            are spelt in our order: "av" is its VA. Empty: the corpus is not in it.
    """

    splits_table: int
    splits: Mapping[str, PaperSplit]
    results_table: int
    results: tuple[PaperRow, ...]
    splits_note: str = ""
    ablation: Mapping[tuple[str, str], tuple[float, float]] = field(default_factory=dict)


# Table 1.
IEMOCAP_SPLITS = {
    "angry": PaperSplit(15.96, 4.51, 757, 112, 234),
    "excited": PaperSplit(16.79, 4.78, 736, 92, 213),
    "frustrated": PaperSplit(17.14, 4.71, 1298, 180, 371),
    "happy": PaperSplit(13.58, 4.34, 398, 62, 135),
    "neutral": PaperSplit(13.08, 3.90, 1214, 173, 321),
    "sad": PaperSplit(14.82, 5.50, 759, 118, 207),
}

# Table 2.
MOSEI_SPLITS = {
    "angry": PaperSplit(7.75, 23.24, 3267, 318, 1015),
    "disgusted": PaperSplit(7.57, 23.54, 2738, 273, 744),
    "fear": PaperSplit(10.04, 28.82, 1263, 169, 371),
    "happy": PaperSplit(8.14, 24.12, 7587, 945, 2220),
    "sad": PaperSplit(8.12, 24.07, 4026, 509, 1066),
    "surprised": PaperSplit(8.40, 25.95, 1465, 197, 393),
}

# Table 3.
IEMOCAP_RESULTS = (
    PaperRow(
        "lf_lstm",
        "LF-LSTM",
        None,
        ((71.2, 49.4), (79.3, 57.2), (68.2, 51.5), (67.2, 37.6), (66.5, 47.0), (78.2, 54.0)),
        (71.8, 49.5),
    ),
    PaperRow(
        "lf_transformer",
        "LF-TRANS",
        None,
        ((81.9, 50.7), (85.3, 57.3), (60.5, 49.3), (85.2, 37.6), (72.4, 49.7), (87.4, 57.4)),
        (78.8, 50.3),
    ),
    PaperRow(
        "emo_embs",
        "EmoEmbs",
        None,
        ((65.9, 48.9), (73.5, 58.3), (68.5, 52.0), (69.6, 38.3), (73.6, 48.7), (80.8, 53.0)),
        (72.0, 49.8),
    ),
    PaperRow(
        "mult",
        "MulT",
        None,
        ((77.9, 60.7), (76.9, 58.0), (72.4, 57.0), (80.0, 46.8), (74.9, 53.7), (83.5, 65.4)),
        (77.6, 56.9),
    ),
    PaperRow(
        "fe2e",
        "FE2E",
        8.65,
        ((88.7, 63.9), (89.1, 61.9), (71.2, 57.8), (90.0, 44.8), (79.1, 58.4), (89.1, 65.7)),
        (84.5, 58.8),
    ),
    PaperRow(
        "mesm",
        "MESM (p = 0.7)",
        5.18,
        ((88.2, 62.8), (88.3, 61.2), (74.9, 58.4), (89.5, 47.3), (77.0, 52.0), (88.6, 62.2)),
        (84.4, 57.4),
    ),
)

# Table 4.
MOSEI_RESULTS = (
    PaperRow(
        "lf_lstm",
        "LF-LSTM",
        None,
        ((64.5, 47.1), (70.5, 49.8), (61.7, 22.2), (61.3, 73.2), (63.4, 47.2), (57.1, 20.6)),
        (63.1, 43.3),
    ),
    PaperRow(
        "lf_transformer",
        "LF-TRANS",
        None,
        ((65.3, 47.7), (74.4, 51.9), (62.1, 24.0), (60.6, 72.9), (60.1, 45.5), (62.1, 24.2)),
        (64.1, 44.4),
    ),
    PaperRow(
        "emo_embs",
        "EmoEmbs",
        None,
        ((66.8, 49.4), (69.6, 48.7), (63.8, 23.4), (61.2, 71.9), (60.5, 47.5), (63.3, 24.0)),
        (64.2, 44.2),
    ),
    PaperRow(
        "mult",
        "MulT",
        None,
        ((64.9, 47.5), (71.6, 49.3), (62.9, 25.3), (67.2, 75.4), (64.0, 48.3), (61.4, 25.6)),
        (65.4, 45.2),
    ),
    PaperRow(
        "fe2e",
        "FE2E",
        8.65,
        ((67.0, 49.6), (77.7, 57.1), (63.8, 26.8), (65.4, 72.6), (65.2, 49.0), (66.7, 29.1)),
        (67.6, 47.4),
    ),
    PaperRow(
        "mesm",
        "MESM (p = 0.5)",
        4.34,
        ((66.8, 49.3), (75.6, 56.4), (65.8, 28.9), (64.1, 72.3), (63.0, 46.6), (65.7, 27.2)),
        (66.8, 46.8),
    ),
)

# Table 5. Its TAV lines have another F1 than Table 3: 58.5 and 57.3, there 58.8 and 57.4.
IEMOCAP_ABLATION = {
    ("fe2e", "tav"): (84.5, 58.5),
    ("fe2e", "ta"): (83.7, 54.0),
    ("fe2e", "tv"): (82.8, 55.7),
    ("fe2e", "av"): (81.2, 54.4),
    ("fe2e", "t"): (80.8, 50.0),
    ("fe2e", "a"): (73.3, 44.9),
    ("fe2e", "v"): (78.2, 49.8),
    ("mesm", "tav"): (84.4, 57.3),
    ("mesm", "ta"): (83.6, 56.7),
    ("mesm", "tv"): (82.1, 56.0),
}

IEMOCAP = PaperFigures(
    splits_table=1,
    splits=IEMOCAP_SPLITS,
    results_table=3,
    results=IEMOCAP_RESULTS,
    ablation=IEMOCAP_ABLATION,
)

MOSEI = PaperFigures(
    splits_table=2,
    splits=MOSEI_SPLITS,
    splits_note=(
        "The paper prints words and seconds of Table 2 under each other's name, as it seems: eight "
        "words do not last 23 seconds. They stand here as printed."
    ),
    results_table=4,
    results=MOSEI_RESULTS,
)
