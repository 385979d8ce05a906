"""Which epoch is the best, and when a training ends."""

from __future__ import annotations

import pytest

from mesm.runs.checkpoints import Progress
from mesm.training.stopping import count_epoch


def counted(*scores: tuple[float, float], patience: int = 2, epochs: int = 5) -> Progress:
    """The progress after epochs of such F1 and loss."""
    progress = Progress({})
    for number, (f1, loss) in enumerate(scores, start=1):
        assert progress.finished is None
        record = {"epoch": number, "valid_f1": f1, "valid_loss": loss}
        better = count_epoch(progress, record, patience, epochs, "macro F1")
        assert better == (progress.best_epoch == number)
        assert (progress.epoch, len(progress.history)) == (number, number)
    return progress


def test_the_best_has_the_highest_f1_then_the_lowest_loss() -> None:
    assert counted((0.0, 3.0)).best_epoch == 1
    assert counted((0.5, 1.0), (0.6, 2.0)).best_epoch == 2
    assert counted((0.5, 1.0), (0.5, 0.9)).best_epoch == 2
    assert counted((0.5, 1.0), (0.5, 1.0)).best_epoch == 1  # the first of equals


@pytest.mark.parametrize("patience", [1, 2, 3])
def test_it_ends_after_so_many_epochs_without_a_better_one(patience: int) -> None:
    falling = [(0.5, 1.0), *[(0.4, 1.0)] * patience]
    assert counted(*falling[:-1], patience=patience, epochs=9).finished is None
    ended = counted(*falling, patience=patience, epochs=9)
    assert ended.finished == f"no better validation macro F1 for {patience} epochs"
    assert ended.best_epoch == 1


def test_it_ends_with_the_last_epoch() -> None:
    rising = [(0.1 * number, 1.0) for number in range(5)]
    assert counted(*rising).finished == "all 5 epochs done"
    # Patience is told where both end at once.
    both = counted((0.5, 1.0), (0.4, 1.0), patience=1, epochs=2)
    assert both.finished == "no better validation macro F1 for 1 epochs"
