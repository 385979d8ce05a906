"""No take is given twice, and actors are met again."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from mesm.corpora.miniature.takes import Take, Takes

EMOTIONS = ("sad", "happy")


def takes(clips, actors=range(40), each=4, rare=()):
    def script(_):
        return [Take(emotion, emotion in rare) for emotion in EMOTIONS for _ in range(each)]

    return Takes(actors, script, clips, np.random.default_rng(0))


@pytest.mark.parametrize(("clips", "actors"), [(1, 5), (20, 5), (40, 10), (400, 40)])
def test_actors_take_turns_and_each_is_met_about_four_times(clips, actors):
    given = takes(clips, each=100)
    counts = Counter(given.next(EMOTIONS[i % 2])[0] for i in range(4 * actors))
    assert counts == dict.fromkeys(range(actors), 4)


def test_an_emotion_is_given_while_there_is_one_left_then_another():
    given = takes(1, actors=[7])
    told = [given.next("sad")[1].emotion for _ in range(8)]
    assert told == ["sad"] * 4 + ["happy"] * 4


def test_an_actor_whose_takes_are_all_given_is_passed_over():
    given = takes(8, actors=[7, 8], each=1)
    assert Counter(given.next("sad")[0] for _ in range(4)) == {7: 2, 8: 2}


def test_rare_takes_are_mostly_given_last():
    def script(_):
        return [Take("sad", rare) for rare in (True, False) for _ in range(10)]

    given = Takes(range(5), script, 1, np.random.default_rng(0))
    first = [given.next("sad")[1].rare for _ in range(25)]
    assert 0 < sum(first) < 8
