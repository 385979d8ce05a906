"""p of each epoch, against values worked out by hand."""

import math
from typing import Any

import numpy as np
import pytest

from mesm.config.experiment import TrainingSettings
from mesm.training.p_schedule import p_of_epoch, p_of_step


def values(p: Any, epochs: int = 6, **settings: Any) -> list[Any]:
    training = TrainingSettings(**settings)
    return [p_of_epoch(p, training, epoch) for epoch in range(1, epochs + 1)]


def test_without_a_warm_up_p_stands() -> None:
    assert values(0.4) == [0.4] * 6
    assert values(0.4, p_start=0.9, p_shape="cosine") == [0.4] * 6


def test_falls_linearly_from_1_as_ever() -> None:
    # The formula that trainings have had from the start, to the bit.
    expected = [0.3 + (1 - 0.3) * max(0.0, 1 - epoch / 4) for epoch in range(6)]
    assert values(0.3, p_warmup_epochs=4) == expected
    assert expected[0] == 1.0
    assert expected[4:] == [0.3, 0.3]


def test_rises_where_it_starts_below() -> None:
    assert values(0.9, p_warmup_epochs=4, p_start=0.1) == pytest.approx(
        [0.1, 0.3, 0.5, 0.7, 0.9, 0.9]
    )


def test_is_held_before_it_falls() -> None:
    found = values(0.4, epochs=10, p_hold_epochs=5, p_warmup_epochs=3)
    assert found == pytest.approx([1.0] * 6 + [0.8, 0.6, 0.4, 0.4])
    assert values(0.4, p_hold_epochs=2, p_start=0.9) == [0.9, 0.9, 0.4, 0.4, 0.4, 0.4]
    held = values(0.4, epochs=9, p_hold_epochs=3, p_warmup_epochs=4, p_shape="cosine")
    assert held[:3] == [1.0] * 3
    assert held[3:] == values(0.4, p_warmup_epochs=4, p_shape="cosine")


def test_below_1_both_are_shares_of_all_epochs() -> None:
    found = values(0.5, epochs=10, p_hold_epochs=4, p_warmup_epochs=3)
    training = TrainingSettings(epochs=10, p_hold_epochs=0.4, p_warmup_epochs=0.3)
    assert [p_of_epoch(0.5, training, epoch) for epoch in range(1, 11)] == pytest.approx(found)
    for epochs in (4, 7, 28):
        training = TrainingSettings(epochs=epochs, p_hold_epochs=0.4, p_warmup_epochs=0.3)
        assert [p_of_epoch(0.5, training, epoch) for epoch in (1, epochs)] == [1.0, 0.5]


def test_cosine() -> None:
    found = values(0.5, p_warmup_epochs=4, p_shape="cosine")
    expected = [0.75 + 0.25 * math.cos(math.pi * epoch / 4) for epoch in range(4)] + [0.5, 0.5]
    assert found == pytest.approx(expected)
    assert found[2] == pytest.approx(0.75)  # half-way in both shapes
    assert found[1] > values(0.5, p_warmup_epochs=4)[1]


def test_each_block_goes_its_own_way() -> None:
    found = values({"face": [0.2, 0.6, 1.0], "audio": 0.8}, p_warmup_epochs=2, p_start=0.4)
    assert found[0] == {"face": pytest.approx([0.4, 0.4, 0.4]), "audio": pytest.approx(0.4)}
    assert found[1] == {"face": pytest.approx([0.3, 0.5, 0.7]), "audio": pytest.approx(0.6)}
    assert found[2] == {"face": [0.2, 0.6, 1.0], "audio": 0.8}


def test_after_the_training_p_is_that_of_the_settings() -> None:
    assert p_of_epoch([0.7, 0.5, 0.3], TrainingSettings(p_warmup_epochs=9), None) == [0.7, 0.5, 0.3]


def drawn(p: Any, epoch: int, steps: int = 400, **settings: Any) -> list[Any]:
    training = TrainingSettings(p_hold_epochs=2, p_warmup_epochs=2, **settings)
    random = np.random.default_rng(0)
    return [p_of_step(p, training, epoch, random) for _ in range(steps)]


def test_no_step_draws_unless_asked_for_nor_while_p_is_held() -> None:
    assert set(drawn(0.4, epoch=9)) == {0.4}
    assert set(drawn(0.4, epoch=2, p_drawn=1.0)) == {1.0}


def test_a_share_of_the_steps_draws_between_the_epochs_p_and_where_it_started() -> None:
    found = drawn(0.4, epoch=9, p_drawn=0.25)
    others = [p for p in found if p != 0.4]
    assert 70 < len(others) < 130  # of 400, 25 % ± 3.5 deviations
    assert 0.4 < min(others) < 0.45
    assert 0.95 < max(others) < 1
    assert 0.65 < sum(others) / len(others) < 0.75


def test_blocks_are_drawn_together() -> None:
    for p in drawn([0.2, 0.6, 1.0], epoch=9, steps=20, p_drawn=1.0):
        share = (p[0] - 0.2) / 0.8
        assert p == pytest.approx([p[0], 0.6 + 0.4 * share, 1.0])
