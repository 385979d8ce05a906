"""The whole MESM experiment: corpora, preparation, models, training, evaluation, pictures."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mesm.data.batch import Batch
    from mesm.inference.pipeline import Pipeline

__all__ = ["Batch", "Pipeline"]


def __getattr__(name: str) -> Any:
    # Late, so that the command line answers without waiting for torch.
    try:
        if name == "Batch":
            from mesm.data.batch import Batch

            return Batch
        if name == "Pipeline":
            from mesm.inference.pipeline import Pipeline

            return Pipeline
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] in ("", "mesm", "mesm_ops"):
            raise
        from mesm.runs.extras import missing

        raise ModuleNotFoundError(f"mesm.{name}: {missing(error)}", name=error.name) from None
    raise AttributeError(f"module 'mesm' has no attribute {name!r}")
