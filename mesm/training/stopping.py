"""Which epoch's weights are kept, and when a training ends."""

from __future__ import annotations

from typing import Any

from mesm.runs.checkpoints import Progress


def count_epoch(
    progress: Progress, record: dict[str, Any], patience: int, epochs: int, score: str
) -> bool:
    """Count a finished epoch, and say in `progress.finished` whether it was the last.

    Args:
        progress: changed; so far of the epochs before.
        record: the epoch's "epoch", "valid_f1" and "valid_loss", and what else is kept of it.
        patience: epochs without a better one after which the training ends.
        epochs: the most there are.
        score: what "valid_f1" is called.

    Returns:
        Whether the epoch is the best so far.
    """
    best = progress.history[progress.best_epoch - 1] if progress.best_epoch else None
    progress.epoch = record["epoch"]
    progress.history.append(record)
    better = best is None or _merit(record) > _merit(best)
    if better:
        progress.best_epoch = progress.epoch
    if progress.epoch - progress.best_epoch >= patience:
        progress.finished = f"no better validation {score} for {patience} epochs"
    elif progress.epoch == epochs:
        progress.finished = f"all {epochs} epochs done"
    return better


def _merit(record: dict[str, Any]) -> tuple[float, float]:
    """Validation F1; of equal ones (small splits have many), the lower loss wins."""
    return record["valid_f1"], -record["valid_loss"]
