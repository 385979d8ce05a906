"""A training whose loss or weights are not finite any more, and which settings may be to blame."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mesm.config.experiment import TrainingSettings

LARGE = 100.0  # weights of terms of the loss beyond this are no usual ones


class Diverged(ValueError, FloatingPointError):
    """The training cannot go on; the message names the settings that may be to blame."""


def remedy(settings: TrainingSettings) -> str:
    """Which settings are to be changed, as "lower training.learning_rate (1e+30)"."""
    rate = settings.learning_rate
    suspects = [("learning_rate", rate)]
    # Each step multiplies a weight by 1 - rate * decay: beyond 2 it grows.
    if rate * settings.weight_decay > 2:
        place = 0 if settings.weight_decay > rate else 1
        suspects.insert(place, ("weight_decay", settings.weight_decay))
    for name in ("text_learning_rate_factor", "attention_learning_rate_factor"):
        if getattr(settings, name) > 1:
            suspects.append((name, getattr(settings, name)))
    for name in ("branch_loss", "concentration"):
        if getattr(settings, name) > LARGE:
            suspects.append((name, getattr(settings, name)))
    text = "lower " + " or ".join(f"training.{name} ({value:g})" for name, value in suspects)
    if settings.gradient_clip is None:
        text += ", or limit training.gradient_clip"
    if settings.mixed_precision == "fp16":
        text += ", or take training.mixed_precision=bf16"
    return text
