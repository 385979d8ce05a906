"""A training whose loss or weights are not finite any more, and which settings may be to blame."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from torch import Tensor

from mesm.data.clips import SplitDataset
from mesm.runs.finite import first_not_finite

if TYPE_CHECKING:
    from mesm.config.experiment import ExperimentConfig, TrainingSettings

LARGE = 100.0  # weights of terms of the loss beyond this are no usual ones


class Diverged(ValueError, FloatingPointError):
    """The training cannot go on; the message names the settings that may be to blame."""


def refusal(
    epoch: int, what: str, config: ExperimentConfig, datasets: Iterable[SplitDataset]
) -> ValueError:
    """The refusal to go on, with what is to be mended: the clips if one is not finite.

    Args:
        epoch: in which it was seen.
        what: is not finite, as "the loss is nan".
        config: the training's.
        datasets: whose clips are looked through.

    Returns:
        A `Diverged` where every clip is finite.
    """
    for dataset in datasets:
        for place in range(len(dataset)):
            sample = dataset[place]
            tensors = {name: x for name, x in vars(sample).items() if isinstance(x, Tensor)}
            odd = first_not_finite(tensors)
            if odd is not None:
                return ValueError(
                    f"{config.corpus}: the {odd} of clip {sample.clip_id} hold values "
                    f"that are not finite, so {what}; prepare the corpus again"
                )
    return Diverged(
        f"epoch {epoch}: {what}; {remedy(config.training)}, and start again: the same folder "
        "takes other settings now"
    )


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
