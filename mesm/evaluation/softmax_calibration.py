"""How far the most probable emotion's probability can be believed, and one temperature for all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from mesm.evaluation.calibration import BINS, Reliability, Temperatures, check_shapes, least_at
from mesm.runs.folder import RunFolder

# The name in temperatures.json of the one that it holds.
SOFTMAX = "softmax"


@dataclass(frozen=True)
class SoftmaxTemperature(Temperatures):
    """One temperature T for all emotions: softmax(logits / T) are the calibrated probabilities.

    T is positive, so the most probable emotion stays the same. Its arguments are as of
    `mesm.evaluation.calibration.Temperatures`, with "softmax" as the one name.
    """

    @classmethod
    def fit(
        cls, logits: Tensor, labels: Tensor, emotions: Sequence[str], split: str = "valid"
    ) -> SoftmaxTemperature:
        """The T with the least cross-entropy of softmax(logits / T).

        Guo et al. (2017), "On calibration of modern neural networks", section 4.2. The
        cross-entropy is convex in 1 / T, and found as
        `mesm.evaluation.calibration.Temperatures.fit` does. Where all clips have the same emotion,
        T = 1: the best temperature would only say that the others are rare.

        Args:
            logits: (N, E).
            labels: (N, E) of 0 and 1, exactly one 1 per clip.
            emotions: E names.
            split: whose clips these are.

        Raises:
            ValueError: no clips, other shapes, or logits that are not finite.
        """
        del emotions
        truth = check_shapes(logits, labels)
        scores = logits.double()
        own = scores[truth]

        def slope(log_t: Tensor) -> Tensor:
            shares = (scores / log_t.exp()).softmax(1)
            return ((shares * scores).sum(1) - own).sum().reshape(1)

        values, notes = least_at(slope, 1)
        value, note = float(values[0]), notes[0]
        if int(truth.any(0).sum()) < 2:
            value, note = 1.0, "all of the clips have the same emotion, so T = 1"
        elif bool((scores == scores[:, :1]).all()):
            value, note = 1.0, "all logits of each clip are equal, so T = 1"
        return cls({SOFTMAX: value}, {SOFTMAX: note} if note else {}, split, len(truth))

    @classmethod
    def read(
        cls, folder: RunFolder, weights: str, emotions: Sequence[str]
    ) -> SoftmaxTemperature | None:
        """As of `Temperatures`; the file names no emotions."""
        del emotions
        found = Temperatures.read(folder, weights, [SOFTMAX])
        if found is None:
            return None
        return cls(found.values, found.notes, found.split, found.clips)

    def probabilities(self, logits: Tensor) -> Tensor:
        """Calibrated probabilities, float64: (N, E) logits to (N, E)."""
        return (logits.double() / self.values[SOFTMAX]).softmax(1)


def softmax_calibration_of(
    logits: Tensor, labels: Tensor, temperature: Temperatures | None
) -> Mapping[str, Any]:
    """The calibration of a split, before and after the temperature, as JSON values.

    The confidence is the probability of the most probable emotion, and a bin's accuracy the share
    of its clips that have it (Guo et al., 2017, equation 3).

    Args:
        logits: (N, E).
        labels: (N, E) of 0 and 1, exactly one 1 per clip.
        temperature: fitted to other clips; None: there is none.

    Returns:
        {"bins": 15, "top": {"ece", "reliability": [{"bin", "clips", "probability", "frequency"},
        ...]}}; with a temperature "top" also holds "temperature", "ece_calibrated" and
        "reliability_calibrated", and "fitted" is as of `calibration_of`.

    Raises:
        ValueError: see `mesm.evaluation.calibration.Reliability.of`.
    """
    truth = check_shapes(logits, labels)
    before = _reliability(logits.double().softmax(1), truth)
    top: dict[str, Any] = {"ece": float(before.error()[0])}
    if temperature is None:
        return {"bins": BINS, "top": top | {"reliability": before.filled(0)}}
    after = _reliability(temperature.probabilities(logits), truth)
    top["ece_calibrated"] = float(after.error()[0])
    if SOFTMAX in temperature.values:
        top["temperature"] = temperature.values[SOFTMAX]
    top |= {
        "reliability": before.filled(0),
        "reliability_calibrated": after.filled(0),
    }
    return {"bins": BINS, "top": top, "fitted": temperature.fitted()}


def _reliability(probabilities: Tensor, truth: Tensor) -> Reliability:
    confidence, place = probabilities.max(1, keepdim=True)
    return Reliability.of(confidence, truth.gather(1, place).float())
