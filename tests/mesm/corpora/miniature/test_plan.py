from __future__ import annotations

from collections import Counter

import pytest

from mesm.corpora.miniature.emotions import EMOTIONS, LAYOUTS, MODALITIES
from mesm.corpora.miniature.layouts import FILES
from mesm.corpora.miniature.plan import Planner, fill


def planned(clips, seed, layout):
    return fill(Planner(layout, seed), clips)


@pytest.fixture(scope="module")
def clips():
    return [clip for dialog in planned(3000, 1, "iemocap") for clip in dialog.clips]


def posterior_vote(clips, modalities):
    """The best guess from what the modalities show, learnt by counting over all clips."""
    tables = {m: Counter((c.shown[m], c.emotions) for c in clips) for m in modalities}
    totals = Counter(c.emotions for c in clips)

    def guess(clip):
        def score(emotions):
            value = totals[emotions]
            for m in modalities:
                value *= (tables[m][clip.shown[m], emotions] + 0.1) / totals[emotions]
            return value

        return max(totals, key=score)

    return sum(guess(c) == c.emotions for c in clips) / len(clips)


@pytest.mark.parametrize("modality", MODALITIES)
def test_one_modality_does_not_suffice(clips, modality):
    assert 0.6 <= posterior_vote(clips, [modality]) <= 0.8


def test_three_modalities_nearly_do(clips):
    assert posterior_vote(clips, MODALITIES) >= 0.9


def test_two_modalities_lie_between(clips):
    three = posterior_vote(clips, MODALITIES)
    for left_out in MODALITIES:
        rest = [m for m in MODALITIES if m != left_out]
        assert 0.78 <= posterior_vote(clips, rest) < three


@pytest.mark.parametrize("modality", MODALITIES)
def test_hints_are_true_in_about_three_quarters(clips, modality):
    hints = Counter(c.hints[modality] for c in clips)
    assert 0.7 <= hints["true"] / len(clips) <= 0.78
    assert hints["missing"] > 1.5 * hints["misleading"] > 0


def test_no_clip_has_three_wrong_hints(clips):
    assert all("true" in clip.hints.values() for clip in clips)


def test_hints_are_drawn_independently(clips):
    share = {m: sum(c.hints[m] == "true" for c in clips) / len(clips) for m in MODALITIES}
    both = sum(c.hints["text"] == c.hints["face"] == "true" for c in clips) / len(clips)
    assert both == pytest.approx(share["text"] * share["face"], abs=0.05)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_emotions_are_balanced(layout):
    plan = FILES[layout].plan(Planner(layout, 2), 1200, False)
    counts = Counter(e for dialog in plan for clip in dialog.clips for e in clip.emotions)
    assert set(counts) == set(EMOTIONS[layout])
    assert max(counts.values()) < 1.3 * min(counts.values())


@pytest.mark.parametrize("count", [*range(1, 30), 200])
@pytest.mark.parametrize("layout", ["iemocap", "mosei"])
def test_any_number_of_clips_in_recordings_of_four_to_eight(layout, count):
    plan = planned(count, 0, layout)
    sizes = [len(dialog.clips) for dialog in plan]
    assert sum(sizes) == count
    assert count < 4 or all(4 <= size <= 8 for size in sizes)
    assert len({dialog.name for dialog in plan}) == len(plan)
    assert len({clip.clip_id for dialog in plan for clip in dialog.clips}) == count


def test_clips_do_not_overlap():
    for dialog in planned(100, 0, "iemocap"):
        times = [t for clip in dialog.clips for t in (clip.start, clip.end)]
        assert times == sorted(times)
        assert times[-1] < dialog.duration


def test_seeds_give_different_corpora():
    texts = [[c.text for d in planned(20, s, "iemocap") for c in d.clips] for s in (0, 0, 1)]
    assert texts[0] == texts[1] != texts[2]
