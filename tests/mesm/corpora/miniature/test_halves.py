"""Two emotions on a face: neither text nor face tells the label, both together do."""

from __future__ import annotations

from collections import Counter
from itertools import combinations, product

import numpy as np
import pytest

from mesm.corpora.miniature.action_units import NAMES, VISIBLE
from mesm.corpora.miniature.emotions import EMOTIONS, LAYOUTS, RECITED, mood
from mesm.corpora.miniature.face_geometry import Pose, face_shape
from mesm.corpora.miniature.face_painter import Looks, Scene
from mesm.corpora.miniature.halves import (
    EXPRESSIONS_OF_HALVES,
    HALVES,
    half_of,
    sentence_about,
    words_about_halves,
)
from mesm.corpora.miniature.layouts import FILES
from mesm.corpora.miniature.plan import Planner
from mesm.corpora.miniature.sentences import emotions_of_words
from mesm.inputs.words import split_words

FREE = [layout for layout in LAYOUTS if layout not in RECITED]
POSE = Pose(180, 222, 78)


def planned(layout, clips=None, seed=2):
    clips = clips or 200 * len(EMOTIONS[layout])
    plans = FILES[layout].plan(Planner(layout, seed, "where"), clips, False)
    return [clip for dialog in plans for clip in dialog.clips]


@pytest.mark.parametrize("layout", FREE)
def test_the_named_half_shows_the_label_and_the_other_half_another_emotion(layout):
    for clip in planned(layout):
        face = clip.halves
        shown = {"upper": face.upper, "lower": face.lower}
        assert clip.emotions == clip.shown["face"] == (shown[face.named],)
        assert face.upper != face.lower
        assert set(shown.values()) <= set(EMOTIONS[layout])
        assert clip.shown["text"] == clip.shown["sound"] == ("neutral",)
        assert clip.hints == {"text": "missing", "face": "true", "sound": "missing"}
        (expression,) = clip.expressions
        for half, emotion in shown.items():
            own = {unit: peak for unit, peak in expression.items() if half_of(unit) == half}
            assert own == EXPRESSIONS_OF_HALVES[half][mood(emotion)]


@pytest.mark.parametrize("layout", FREE)
def test_every_emotion_is_as_often_the_label_on_either_half(layout):
    clips = planned(layout)
    labels = Counter(clip.emotions for clip in clips)
    assert set(labels.values()) == {200}
    uppers = Counter(clip.emotions for clip in clips if clip.halves.named == "upper")
    # A binomial share of 200 has a deviation of 0.035.
    assert all(abs(count / 200 - 0.5) < 0.14 for count in uppers.values())


@pytest.mark.parametrize("layout", FREE)
def test_face_or_text_alone_do_not_tell(layout):
    clips = planned(layout, 6000)
    faces = Counter((clip.halves.upper, clip.halves.lower) for clip in clips)
    wholes = Counter((clip.halves.upper, clip.halves.lower, clip.halves.named) for clip in clips)
    best = sum(max(wholes[*face, half] for half in HALVES) for face in faces)
    # 30 faces of 200 clips: the more frequent half is named in 0.5 + 0.028 of them on average.
    assert 0.5 <= best / len(clips) < 0.57
    texts = Counter((clip.halves.named, clip.emotions) for clip in clips)
    best = sum(max(n for (named, _), n in texts.items() if named == half) for half in HALVES)
    assert best / len(clips) < 0.2


def test_a_sum_of_what_face_and_text_say_gets_three_of_four_right():
    """Counts whether an emotion that a face shows anywhere is the label."""
    clips = planned("iemocap", 6000)
    cells: Counter[tuple[bool, bool, bool]] = Counter()
    for clip in clips:
        for emotion in {clip.halves.upper, clip.halves.lower}:
            above, asked = clip.halves.upper == emotion, clip.halves.named == "upper"
            cells[above, asked, clip.emotions == (emotion,)] += 1
    # A logit of face plus one of text: these weights reach every pattern that any weights reach.
    grid = (-3, -1, 1, 3)
    best = max(
        sum(
            count
            for (above, asked, label), count in cells.items()
            if (faces[above] + texts[asked] > 0) == label
        )
        for faces in product(grid, repeat=2)
        for texts in product((-2, 0, 2), repeat=2)
    )
    assert best / sum(cells.values()) == pytest.approx(0.75, abs=0.02)
    assert all(label == (above == asked) for above, asked, label in cells)


def test_units_lie_in_the_half_they_are_counted_to():
    looks = Looks.draw(np.random.default_rng(0), long_hair=False)
    shape = face_shape(looks.identity, POSE, dict.fromkeys(NAMES, 0.5))
    for unit, boxes in shape.regions.items():
        middle = np.mean([(top + bottom) / 2 for _, top, _, bottom in boxes])
        # The root of the nose is 0.2 of half the face's width below the origin at most.
        assert (middle < POSE.y + 0.2 * POSE.scale) == (half_of(unit) == "upper"), unit


@pytest.mark.parametrize("layout", FREE)
@pytest.mark.parametrize("half", HALVES)
def test_no_two_emotions_share_their_half(layout, half):
    shown = EXPRESSIONS_OF_HALVES[half]
    emotions = [mood(emotion) for emotion in EMOTIONS[layout]]
    for emotion in emotions:
        assert all(half_of(unit) == half for unit in shown[emotion])
        if emotion != "neutral":
            assert max(shown[emotion].values()) * 0.88 >= VISIBLE
    for a, b in combinations(emotions, 2):
        assert shown[a] != shown[b]


def drawn(units, seed):
    """The 48x48 crop less that of the same person's neutral face, upper and lower half."""
    from PIL import Image

    def crop(expression):
        rng = np.random.default_rng(seed)
        looks = Looks.draw(rng, long_hair=bool(rng.integers(2)))
        scene = Scene(looks, 360, 480, rng)
        picture = Image.fromarray(scene.paint(face_shape(looks.identity, POSE, expression), POSE))
        box = [round(value) for value in face_shape(looks.identity, POSE, {}).face_box]
        resized = picture.crop(box).resize((48, 48), Image.Resampling.BILINEAR)
        return np.asarray(resized, float).mean(2)

    change = crop(units) - crop({})
    return {"upper": change[:26], "lower": change[26:]}


@pytest.mark.parametrize("layout", FREE)
def test_each_half_alone_can_be_read_at_48_pixels_whatever_the_other_shows(layout):
    rng = np.random.default_rng(1)
    emotions = [mood(name) for name in EMOTIONS[layout] if name != "neutral"]
    right = []
    for half, other in (HALVES, HALVES[::-1]):
        shown, decoys = EXPRESSIONS_OF_HALVES[half], EXPRESSIONS_OF_HALVES[other]

        def change(emotion, half=half, shown=shown, decoys=decoys):
            decoy = decoys[emotions[rng.integers(len(emotions))]]
            return drawn(shown[emotion] | decoy, int(rng.integers(1 << 30)))[half]

        templates = {e: np.mean([change(e) for _ in range(3)], 0) for e in emotions}
        for emotion in emotions:
            for picture in (change(emotion), change(emotion)):
                scores = {
                    e: float((picture * t).sum() / np.linalg.norm(t)) for e, t in templates.items()
                }
                right.append(max(scores, key=scores.get) == emotion)
    assert np.mean(right) >= 0.9


def test_sentences_name_their_half_and_have_no_word_of_feeling():
    rng = np.random.default_rng(0)
    words = {
        half: [set(split_words(sentence_about(half, rng).lower())) for _ in range(600)]
        for half in HALVES
    }
    for half, other in (HALVES, HALVES[::-1]):
        elsewhere = set.union(*words[other])
        assert all(sentence - elsewhere for sentence in words[half])
    used = {word.lower() for word in words_about_halves()}
    assert set.union(*words["upper"], *words["lower"]) <= used
    moods = {word.lower(): moods for word, moods in emotions_of_words().items()}
    assert {word for word in used if moods.get(word, set()) - {"neutral"}} <= FUNCTION_WORDS
    assert len({sentence_about("upper", rng) for _ in range(600)}) > 300


# They stand in phrases of some mood, and tell none.
FUNCTION_WORDS = {
    "about", "and", "at", "away", "but", "by", "for", "how", "i", "if", "is", "it", "my", "nothing",
    "of", "only", "over", "that", "the", "to", "up", "we", "when", "will", "with", "you", "your",
}  # fmt: skip


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_default_variant_has_no_halves(layout):
    plans = FILES[layout].plan(Planner(layout, 2), 60, False)
    assert all(clip.halves is None for plan in plans for clip in plan.clips)
