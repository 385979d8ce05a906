"""Every layout has its row, whose particulars fit together."""

from __future__ import annotations

import pytest

from mesm.corpora.miniature.emotions import LAYOUTS, RECITED
from mesm.corpora.miniature.layouts import FILES
from mesm.corpora.miniature.plan import Planner


def test_every_layout_has_a_row() -> None:
    assert list(FILES) == list(LAYOUTS)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_plans_have_as_many_clips_as_are_asked_for_and_faults_beside(layout) -> None:
    files = FILES[layout]
    clips = [clip for plan in files.plan(Planner(layout, 0), 30, False) for clip in plan.clips]
    assert len(clips) == 30
    assert not any(clip.fault for clip in clips)
    faulty = files.plan(Planner(layout, 0), 30, True)
    planned = [clip for plan in faulty for clip in plan.clips]
    assert len({clip.clip_id for clip in planned} | {clip.clip_id for clip in clips}) > 30
    assert any(clip.fault for clip in planned)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_speakers_recite_the_texts_of_their_row_alone(layout) -> None:
    texts = FILES[layout].texts
    assert bool(texts) == (layout in RECITED)
    plans = FILES[layout].plan(Planner(layout, 0), 30, False)
    said = {clip.text for plan in plans for clip in plan.clips}
    assert said <= set(texts) if texts else len(said) > 20


@pytest.mark.parametrize("layout", [name for name in LAYOUTS if FILES[name].most_clips])
def test_there_are_takes_for_the_most_clips_and_each_is_another(layout) -> None:
    most = FILES[layout].most_clips
    assert most is not None
    plans = FILES[layout].plan(Planner(layout, 0), most, False)
    assert len({clip.clip_id for plan in plans for clip in plan.clips}) == most
