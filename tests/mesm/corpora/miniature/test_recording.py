"""A recording follows its plan: who is heard where and when, and who is seen."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest

from mesm.corpora.miniature.action_units import EXPRESSIONS
from mesm.corpora.miniature.media import VideoFormat
from mesm.corpora.miniature.plan import ClipPlan, DialogPlan
from mesm.corpora.miniature.recording import stage
from mesm.corpora.miniature.speech import SAMPLE_RATE

VIDEO = VideoFormat(128, 96, 2, Fraction(30), "mpeg4", None, {})


def clip(name, speaker, start, end, emotion="happy", **shown):
    shows = {"text": (emotion,), "face": (emotion,), "sound": (emotion,)} | shown
    hints = dict.fromkeys(shows, "true")
    return ClipPlan(name, "dialog", speaker, start, end, (emotion,), hints, shows, "words")


PLAN = DialogPlan(
    name="dialog",
    index=3,
    speakers=(2, 5),
    high=(True, False),
    duration=4.0,
    clips=[clip("first", 0, 0.5, 1.5), clip("second", 1, 2.0, 3.0, "sad")],
)


def dialog(*clips, **facts):
    return replace(PLAN, **({"clips": list(clips)} if clips else {}), **facts)


def heard(recording, start, end):
    """(samples, speakers) between two times."""
    return recording.sound[round(start * SAMPLE_RATE) : round(end * SAMPLE_RATE)]


@pytest.fixture(scope="module")
def staged():
    return stage(PLAN, 0, VIDEO)


def test_everyone_has_a_channel_of_the_dialogs_length_and_a_panel(staged):
    assert staged.sound.shape == (4 * SAMPLE_RATE, 2)
    assert np.abs(staged.sound).max() <= 1
    assert len(staged.performances) == 2
    for performance in staged.performances:
        assert (performance.scene.width, performance.scene.height) == (64, 96)
        assert performance.duration == 4.0


def test_speakers_are_heard_on_their_own_channel_while_they_speak(staged):
    for own, (start, end) in enumerate([(0.5, 1.5), (2.0, 3.0)]):
        level = heard(staged, start, end).std(0)
        assert level[own] > 10 * level[1 - own]
        # The other microphone hears a twentieth of it: -26 dB.
        one, other = heard(staged, start, end)[:, [own, 1 - own]].T
        assert one @ other / (one @ one) == pytest.approx(0.05, rel=0.05)


def test_between_turns_there_is_the_room_far_under_a_voice(staged):
    for pause in ((0.0, 0.48), (1.55, 1.98), (3.05, 4.0)):
        room = heard(staged, *pause).std(0)
        assert (room > 0.0004).all()
        assert (room < 0.1 * heard(staged, 0.5, 1.5)[:, 0].std()).all()


def test_the_room_hums_at_50_hertz():
    silence = stage(dialog(clip("gone", 0, 0.5, 0.5)), 0, VIDEO).sound
    power = np.abs(np.fft.rfft(silence, axis=0)) ** 2
    frequencies = np.fft.rfftfreq(len(silence), 1 / SAMPLE_RATE)
    assert (frequencies[power.argmax(0)] == 50).all()


def test_a_clip_without_length_is_neither_heard_nor_shown():
    recording = stage(dialog(clip("gone", 0, 0.5, 0.5), PLAN.clips[1]), 0, VIDEO)
    assert recording.cues["gone"] == []
    assert recording.cues["second"]
    assert recording.performances[0].turns == []


def test_cues_are_in_seconds_of_the_dialog_and_lie_in_their_clip(staged):
    assert list(staged.cues) == ["first", "second"]
    for planned in PLAN.clips:
        cues = staged.cues[planned.clip_id]
        assert cues
        for cue in cues:
            assert planned.start <= cue.start < cue.end <= planned.end


def test_cues_are_where_the_sound_is():
    """The voice is louder in cues than in pauses, for an utterance later in the dialog too."""
    angry = stage(dialog(clip("angry", 0, 2.0, 3.8, "angry")), 0, VIDEO)
    envelope = np.abs(angry.sound[:, 0])
    inside = np.zeros(len(envelope), bool)
    for cue in angry.cues["angry"]:
        inside[round(cue.start * SAMPLE_RATE) : round(cue.end * SAMPLE_RATE)] = True
    assert envelope[inside].mean() > 1.5 * np.abs(heard(angry, 2.0, 3.8)[:, 0]).mean()


def test_turns_carry_the_clips_times_and_syllables_in_seconds_of_the_dialog(staged):
    for performance, planned in zip(staged.performances, PLAN.clips, strict=True):
        (turn,) = performance.turns
        assert (turn.start, turn.end) == (planned.start, planned.end)
        assert turn.syllables
        for start, end, loudness in turn.syllables:
            assert planned.start <= start < end <= planned.end
            assert 0 < loudness <= 1


def test_the_face_shows_what_it_is_to_show_and_the_voice_what_it_is():
    """The modalities of one clip may disagree: here the face is sad, the voice neutral."""
    recording = stage(dialog(clip("odd", 0, 0.5, 2.0, face=("sad",), sound=("neutral",))), 0, VIDEO)
    assert set(recording.performances[0].at(1.2)[2]) == set(EXPRESSIONS["sad"])
    assert recording.cues["odd"] == []


def test_a_neutral_face_leaves_its_time_to_the_other_emotion():
    one, both = (
        stage(dialog(clip("clip", 0, 0.5, 2.0, face=face)), 0, VIDEO).performances[0]
        for face in (("happy",), ("neutral", "happy"))
    )
    for time in (0.8, 1.2, 1.8):
        assert set(both.at(time)[2]) == set(one.at(time)[2]) == set(EXPRESSIONS["happy"])


def test_absences_are_the_planned_ones():
    recording = stage(dialog(absences={1: [(2.1, 2.9)]}), 0, VIDEO)
    left, right = recording.performances
    assert right.at(2.5) is None
    assert right.at(2.0) is not None
    assert left.at(2.5) is not None


def test_all_speech_fits_in_a_dialog_that_ends_with_it():
    recording = stage(dialog(clip("last", 0, 3.0, 4.0), duration=4.0), 0, VIDEO)
    assert len(recording.sound) == 4 * SAMPLE_RATE
    assert heard(recording, 3.0, 4.0)[:, 0].std() > 0.02
    cut = stage(dialog(clip("cut", 0, 3.0, 4.0), duration=3.5), 0, VIDEO)
    assert len(cut.sound) == 3.5 * SAMPLE_RATE


def test_plan_and_seed_fix_everything(staged):
    again = stage(PLAN, 0, VIDEO)
    np.testing.assert_array_equal(again.sound, staged.sound)
    assert again.cues == staged.cues
    for one, other in zip(again.performances, staged.performances, strict=True):
        np.testing.assert_array_equal(one.picture(1.0), other.picture(1.0))


def test_sounds_do_not_depend_on_the_size_of_pictures():
    small, large = (
        stage(PLAN, 0, replace(VIDEO, width=width, height=height, sensor=(96, 96)))
        for width, height in ((96, 64), (192, 96))
    )
    np.testing.assert_array_equal(small.sound, large.sound)


@pytest.mark.parametrize(("index", "seed"), [(4, 0), (3, 1)])
def test_another_recording_or_seed_is_another_scene(staged, index, seed):
    other = stage(replace(PLAN, index=index), seed, VIDEO)
    assert not np.array_equal(other.sound, staged.sound)
    one, two = (recording.performances[0].scene for recording in (staged, other))
    assert (one.empty() != two.empty()).mean() > 0.5


def identities(recording):
    return [performance.scene.looks.identity for performance in recording.performances]


def test_a_number_is_the_same_person_in_every_recording_of_a_corpus(staged):
    swapped = stage(replace(PLAN, index=9, speakers=(5, 2), high=(False, True)), 0, VIDEO)
    assert identities(swapped) == identities(staged)[::-1]
    assert len(set(identities(staged))) == 2
    assert not set(identities(stage(PLAN, 1, VIDEO))) & set(identities(staged))


def test_high_voices_come_with_long_hair(staged):
    assert [p.scene.looks.long_hair for p in staged.performances] == [True, False]
    # F0 of the neutral voice: the strongest lag between 70 and 500 Hz.
    pitches = []
    for high in (True, False):
        talk = clip("talk", 0, 0.5, 2.5, "neutral")
        recording = stage(dialog(talk, speakers=(2,), high=(high,)), 0, VIDEO)
        found = []
        for start, end, _ in recording.performances[0].turns[0].syllables:
            middle = (start + end) / 2
            part = heard(recording, middle - 0.025, middle + 0.025)[:, 0]
            correlation = np.correlate(part, part, "full")[len(part) - 1 :]
            found.append(SAMPLE_RATE / (32 + int(correlation[32:228].argmax())))
        pitches.append(np.median(found))
    assert pitches[0] > 150 > pitches[1]


def test_plans_with_too_few_voices_are_refused():
    with pytest.raises(ValueError, match="shorter"):
        stage(replace(PLAN, high=(True,)), 0, VIDEO)
