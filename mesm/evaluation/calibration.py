"""How far probabilities can be believed, and a temperature per emotion that brings them nearer."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from mesm.runs.documents import TemperatureDocument
from mesm.runs.folder import RunFolder
from mesm.runs.hashes import read_sealed, sealed, sha256

BINS = 15
# Where no temperature is best: logits that separate the classes would be sharpened for ever, and
# logits that tell nothing, or too much of one class, flattened for ever.
LOWEST, HIGHEST = 1 / 32, 32.0
# Halvings of the range of log T, which is then narrower than float64 tells apart.
_HALVINGS = 64


@dataclass(frozen=True)
class Temperatures:
    """One temperature T per emotion: sigmoid(logit / T) is its calibrated probability.

    Every T is positive, so a probability stays on its side of 0.5, and the order of the clips as
    it was.

    Args:
        values: by emotion.
        notes: by emotion, why its value is no minimum; empty: all are.
        split: to whose clips they were fitted.
        clips: how many these were.
    """

    values: dict[str, float]
    notes: dict[str, str]
    split: str
    clips: int

    @classmethod
    def fit(
        cls, logits: Tensor, labels: Tensor, emotions: Sequence[str], split: str = "valid"
    ) -> Temperatures:
        """Per emotion the T with the least binary cross-entropy of sigmoid(logit / T).

        Temperature scaling of Guo et al. (2017), "On calibration of modern neural networks",
        section 4.2, for the two classes of one emotion. The cross-entropy is convex in 1 / T, so
        halving finds its one minimum, in float64, from `LOWEST` to `HIGHEST`. An emotion that all
        or none of the clips have keeps T = 1: its best temperature would only say how rare it is.

        Args:
            logits: (N, E).
            labels: (N, E) of 0 and 1.
            emotions: E names.
            split: whose clips these are.

        Raises:
            ValueError: no clips, other shapes, or logits that are not finite.
        """
        truth = check_shapes(logits, labels)
        scores = logits.double()
        found, bounds = least_at(lambda log_t: _slope(scores, truth, log_t), logits.shape[1])
        values, notes = {}, {}
        for place, emotion in enumerate(emotions):
            value, note = found[place], bounds[place]
            if truth[:, place].all() or not truth[:, place].any():
                value, note = 1.0, f"{'all' if truth[:, place].any() else 'none'} of the clips"
                note += " have the emotion, so T = 1"
            elif not scores[:, place].any():
                value, note = 1.0, "all logits are 0, so T = 1"
            values[emotion] = value
            if note:
                notes[emotion] = note
        return cls(values, notes, split, len(truth))

    def write(self, folder: RunFolder) -> None:
        """Keep them in a run's folder, as those of its present weights."""
        values = {
            "weights": sha256(folder.best),
            "split": self.split,
            "clips": self.clips,
            "temperatures": self.values,
            "notes": self.notes,
        }
        folder.write_json(folder.temperatures, sealed(values))

    @classmethod
    def read(cls, folder: RunFolder, weights: str, emotions: Sequence[str]) -> Temperatures | None:
        """Those that a run keeps; None: there are none, or they are of other weights.

        Args:
            folder: of the run.
            weights: the SHA-256 of its weights.
            emotions: E names.

        Raises:
            ValueError: the file is damaged, or of other emotions; names it.
        """
        file = folder.temperatures
        found = read_sealed(file, TemperatureDocument, "delete it")
        if found is None or found["weights"] != weights:
            return None
        if list(found["temperatures"]) != list(emotions):
            raise ValueError(
                f"{file}: wanted temperatures of {', '.join(emotions)}, got "
                f"{', '.join(found['temperatures'])}; delete it"
            )
        return cls(found["temperatures"], found["notes"], found["split"], found["clips"])

    def probabilities(self, logits: Tensor) -> Tensor:
        """Calibrated probabilities, float64: (N, E) logits, emotions in the order of `values`."""
        return (logits.double() / torch.tensor(list(self.values.values())).double()).sigmoid()

    def fitted(self) -> dict[str, Any]:
        """To what they were fitted, as the calibration of a split says it."""
        return {"split": self.split, "clips": self.clips, "notes": self.notes}


@dataclass(frozen=True)
class FoldTemperatures(Temperatures):
    """Those of a training's folds, each for its own clips; there are no `values` for all.

    Args:
        folds: the temperatures of each.
        sizes: how many clips each is for.
    """

    folds: tuple[Temperatures, ...] = ()
    sizes: tuple[int, ...] = ()

    @classmethod
    def of(cls, folds: Sequence[Temperatures], sizes: Sequence[int]) -> FoldTemperatures:
        """Put temperatures together, which were fitted to splits of one name."""
        clips = sum(one.clips for one in folds)
        return cls({}, {}, folds[0].split, clips, tuple(folds), tuple(sizes))

    def probabilities(self, logits: Tensor) -> Tensor:
        """Calibrated probabilities (N, E), float64, of the folds' logits (N, E) in their order."""
        parts = zip(self.folds, logits.split(list(self.sizes)), strict=True)
        return torch.cat([own.probabilities(part) for own, part in parts])

    def fitted(self) -> dict[str, Any]:
        """As of `Temperatures`, with all folds' clips, and how many folds there are."""
        return {**super().fitted(), "folds": len(self.folds)}


def least_at(slope: Callable[[Tensor], Tensor], count: int) -> tuple[list[float], list[str]]:
    """The temperatures with the least cross-entropies, and why one is a bound.

    Args:
        slope: gives the cross-entropies' derivatives (count,) by 1 / T at log T (count,), float64.
        count: how many temperatures.

    Returns:
        The temperatures, from `LOWEST` to `HIGHEST`, and a note each; empty: it is a minimum.
    """
    low = torch.full((count,), LOWEST, dtype=torch.float64).log()
    high = -low
    # By 1 / T the slope rises, so by T the cross-entropy falls where the slope is positive.
    falls_first, rises_last = slope(low) > 0, slope(high) < 0
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        larger = slope(middle) > 0
        low, high = torch.where(larger, middle, low), torch.where(larger, high, middle)
    values, notes = ((low + high) / 2).exp().tolist(), [""] * count
    for place in range(count):
        if not falls_first[place]:
            values[place], notes[place] = LOWEST, "sharper is better still, so T is the least"
        elif not rises_last[place]:
            values[place], notes[place] = HIGHEST, "flatter is better still, so T is the greatest"
    return values, notes


def _slope(logits: Tensor, truth: Tensor, log_t: Tensor) -> Tensor:
    """The derivative (E,) of the summed cross-entropy by 1 / T."""
    scaled = logits / log_t.exp()
    return (logits * torch.where(truth, -(-scaled).sigmoid(), scaled.sigmoid())).sum(0)


def check_shapes(values: Tensor, labels: Tensor) -> Tensor:
    """The labels (N, E) as bool; ValueError for what cannot be calibrated."""
    if values.ndim != 2 or values.shape != labels.shape:
        raise ValueError(
            "calibration: wanted logits and labels (clips, emotions), got "
            f"{tuple(values.shape)} and {tuple(labels.shape)}"
        )
    if not len(values):
        raise ValueError("calibration: wanted clips, got none")
    if not bool(values.isfinite().all()):
        raise ValueError("calibration: wanted finite logits, got some that are not")
    return labels.bool()


class Reliability(NamedTuple):
    """Clips in `BINS` bins of equal width by the probability of an emotion; (E, BINS) each.

    Attributes:
        clips: how many, int64.
        probability: their mean probability, float64; 0 in an empty bin.
        frequency: the share of them that has the emotion, likewise.
    """

    clips: Tensor
    probability: Tensor
    frequency: Tensor

    @classmethod
    def of(cls, probabilities: Tensor, labels: Tensor) -> Reliability:
        """Count them. A probability p is in bin i (from 0) if i / BINS < p <= (i + 1) / BINS.

        Args:
            probabilities: (N, E) in 0–1; 0 itself is in the first bin.
            labels: (N, E) of 0 and 1.

        Raises:
            ValueError: no clips, other shapes, or probabilities that are not finite.
        """
        truth = check_shapes(probabilities, labels).double()
        values = probabilities.double()
        edges = torch.tensor([i / BINS for i in range(1, BINS)], dtype=torch.float64)
        places = torch.bucketize(values, edges).T
        counts, sums, hits = (
            torch.zeros(len(places), BINS, dtype=torch.float64).scatter_add_(1, places, of.T)
            for of in (torch.ones_like(values), values, truth)
        )
        filled = counts.clamp(min=1)
        return cls(counts.long(), sums / filled, hits / filled)

    def error(self) -> Tensor:
        """The expected calibration error (E,): the mean over clips of their bin's distance.

        Guo et al. (2017), equation 3, for one emotion against the rest: Σ_i n_i / N · |frequency_i
        - probability_i|. The confidence is the probability of the emotion, and the accuracy the
        share of clips that has it.
        """
        distances = (self.frequency - self.probability).abs()
        return (self.clips * distances).sum(1) / self.clips.sum(1)

    def filled(self, emotion: int) -> list[dict[str, float]]:
        """The bins of an emotion that hold clips, as JSON values."""
        return [
            {
                "bin": place,
                "clips": int(self.clips[emotion, place]),
                "probability": float(self.probability[emotion, place]),
                "frequency": float(self.frequency[emotion, place]),
            }
            for place in self.clips[emotion].nonzero().flatten().tolist()
        ]


def calibration_of(
    logits: Tensor, labels: Tensor, emotions: Sequence[str], temperatures: Temperatures | None
) -> Mapping[str, Any]:
    """The calibration of a split, before and after the temperatures, as JSON values.

    Args:
        logits: (N, E).
        labels: (N, E) of 0 and 1.
        emotions: E names.
        temperatures: fitted to other clips; None: there are none.

    Returns:
        {"bins": 15, "emotions": {emotion: {"ece", "reliability": [{"bin", "clips", "probability",
        "frequency"}, ...]}}, "average": {"ece"}}; with temperatures also "ece_calibrated" and
        "reliability_calibrated" beside these, each emotion's "temperature", and "fitted":
        {"split", "clips", "notes"}, which names the "folds" in place of temperatures where these
        are each fold's own.

    Raises:
        ValueError: see `Reliability.of`.
    """
    check_shapes(logits, labels)
    before = Reliability.of(logits.double().sigmoid(), labels)
    errors = {"ece": before.error()}
    shown = {"reliability": before}
    if temperatures is not None:
        after = Reliability.of(temperatures.probabilities(logits), labels)
        errors["ece_calibrated"] = after.error()
        shown["reliability_calibrated"] = after
    found: dict[str, Any] = {"bins": BINS, "emotions": {}}
    for place, emotion in enumerate(emotions):
        values: dict[str, Any] = {name: float(error[place]) for name, error in errors.items()}
        if temperatures is not None and emotion in temperatures.values:
            values["temperature"] = temperatures.values[emotion]
        values |= {name: bins.filled(place) for name, bins in shown.items()}
        found["emotions"][emotion] = values
    found["average"] = {name: float(error.mean()) for name, error in errors.items()}
    if temperatures is not None:
        found["fitted"] = temperatures.fitted()
    return found


def diagrams(calibration: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """The parts of a calibration that are drawn, by name: per emotion, or the most probable one."""
    if "top" in calibration:
        return {"most probable emotion": calibration["top"]}
    return dict(calibration["emotions"])


def errors(calibration: Mapping[str, Any]) -> Mapping[str, Any]:
    """Its "ece" and, where it has one, "ece_calibrated": the average's, or the most probable one's.

    Args:
        calibration: what `calibration_of` gave, or `mesm.evaluation.softmax_calibration`.
    """
    found: Mapping[str, Any] = calibration["top" if "top" in calibration else "average"]
    return found
