"""Decides what every clip shows per modality, before anything is drawn or spoken.

Each modality's hint is drawn by itself: true, missing (it looks neutral) or misleading (it shows
another emotion). A clip in which none is true is drawn again, so that the three together tell.
In the variant "where" the face shows two emotions, and the text says which half of it is true.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal

import numpy as np

from mesm.config.modalities import Modality
from mesm.corpora.miniature.action_units import EXPRESSIONS
from mesm.corpora.miniature.emotions import (
    EMOTIONS,
    MODALITIES,
    NEUTRAL,
    Layout,
    Variant,
    mood,
)
from mesm.corpora.miniature.halves import SplitFace, sentence_about
from mesm.corpora.miniature.sentences import sentence

Hint = Literal["true", "missing", "misleading"]

_TRUE: Final = 0.69
_MISSING: Final = 0.23
# A neutral clip cannot miss its hint: a missing one looks neutral.
_MISLEADING_NEUTRAL: Final = 0.08
_TWO_EMOTIONS: Final = 0.2
_NO_EMOTION: Final = 0.1

_SESSIONS: Final = 5
_SCENES: Final = (
    *(f"impro{i:02d}" for i in range(1, 9)),
    *(f"script{i:02d}_{j}" for i, j in ((1, 1), (1, 2), (1, 3), (2, 1), (2, 2), (3, 1), (3, 2))),
)
_SIXTHS: Final = (8, 10, 11, 13, 14)
_ID_LETTERS: Final = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"


@dataclass
class ClipPlan:
    """One utterance.

    Attributes:
        clip_id: as the corpus names it.
        dialog: IEMOCAP dialog or MOSEI video.
        speaker: index into the dialog's speakers.
        start: seconds in the dialog.
        end: seconds in the dialog.
        emotions: the labels; none for a MOSEI clip without emotion.
        hints: what kind of hint each modality gives.
        shown: what each modality shows, "neutral" when its hint is missing.
        text: the sentence.
        halves: of a face that shows two emotions; shown["face"] is the true one.
        labelled: whether the label file knows the clip.
        fault: name of a planted defect.
    """

    clip_id: str
    dialog: str
    speaker: int
    start: float
    end: float
    emotions: tuple[str, ...]
    hints: dict[str, Hint]
    shown: dict[str, tuple[str, ...]]
    text: str
    halves: SplitFace | None = None
    labelled: bool = True
    fault: str | None = None

    def signalled(self, modality: str) -> str | None:
        """A modality's hint: an emotion, two joined by "+", or None for a missing hint."""
        return None if self.hints[modality] == "missing" else "+".join(self.shown[modality])

    @property
    def expressions(self) -> list[Mapping[int, float]]:
        """The face's expressions, one after the other; see `ExpressionTrack`."""
        if self.halves is not None:
            return [self.halves.expression]
        return [EXPRESSIONS[mood(name)] for name in self.shown["face"] if name != NEUTRAL]


@dataclass
class DialogPlan:
    """One recording: an IEMOCAP dialog of two speakers, a MOSEI video of one, or a single clip.

    Attributes:
        name: of the recording's files.
        index: position in the corpus; seeds the recording's random numbers.
        speakers: each one's number, the one on the left first; the same number, the same person.
        high: whether each speaker has a high voice and long hair.
        duration: seconds.
        clips: in order of time.
        absences: per speaker, intervals out of the picture.
        truncated: whether the video file is cut short.
        silent: whether the sound is missing.
        unfilmed: whether the video file is missing.
    """

    name: str
    index: int
    speakers: tuple[int, ...]
    high: tuple[bool, ...]
    duration: float
    clips: list[ClipPlan]
    absences: dict[int, list[tuple[float, float]]] = field(default_factory=dict)
    truncated: bool = False
    silent: bool = False
    unfilmed: bool = False


class Planner:
    """Plans recordings one after another, of one layout, from one seed."""

    def __init__(self, layout: Layout, seed: int, variant: Variant = "hints") -> None:
        """Start with an empty corpus."""
        self.layout = layout
        self.variant = variant
        self.rng = np.random.default_rng([seed, 0])
        self._dialogs = 0
        self._pool: list[str] = []

    def dialog(self, utterances: int) -> DialogPlan:
        """Plan the next recording.

        Args:
            utterances: how many clips it has.
        """
        rng, index = self.rng, self._dialogs
        letters = ""
        speakers: tuple[int, ...]
        high: tuple[bool, ...]
        self._dialogs += 1
        if self.layout == "iemocap":
            # Sessions take turns, so that even a small corpus has speakers of all five.
            session, turn = index % _SESSIONS + 1, index // _SESSIONS
            gender, scene = "FM"[turn % 2], turn // 2
            title = _SCENES[scene] if scene < len(_SCENES) else f"impro{scene - 6:02d}"
            name = f"Ses{session:02d}{gender}_{title}"
            letters = gender + ("M" if gender == "F" else "F")
            speakers = tuple(2 * session + (letter == "M") for letter in letters)
            high = tuple(letter == "F" for letter in letters)
        else:
            name = self._video_id()
            speakers, high = (index,), (bool(rng.integers(2)),)
        clips: list[ClipPlan] = []
        counts = [0, 0]
        time = 0.3
        for number in range(utterances):
            who = number % len(speakers)
            if self.layout == "iemocap":
                clip_id = f"{name}_{letters[who]}{counts[who]:03d}"
            else:
                clip_id = f"{name}_{number}"
            counts[who] += 1
            start = round(time, 4)
            end = round(start + float(rng.uniform(1.5, 2.5)), 4)
            clips.append(self._clip(clip_id, name, who, start, end))
            time = end + float(rng.uniform(0.1, 0.35))
        return DialogPlan(name, index, speakers, high, time + 0.3, clips)

    def single(
        self,
        name: str,
        speaker: int,
        *,
        high: bool,
        emotion: str | None = None,
        text: str | None = None,
        others: Sequence[tuple[int, bool]] = (),
    ) -> DialogPlan:
        """Plan a recording that is one clip, from its beginning to its end.

        Args:
            name: of the recording and the clip.
            speaker: number of the person.
            high: whether that is a high voice with long hair.
            emotion: its label; None: the next one.
            text: what the person was told to say, which hints at nothing; None: a sentence.
            others: number and voice of people who stand beside the speaker and listen.
        """
        index = self._dialogs
        self._dialogs += 1
        # Sixths of a second, as pictures last, and no clip ends when a face is looked at.
        duration = round(_SIXTHS[self.rng.integers(len(_SIXTHS))] / 6, 4)
        clip = self._clip(name, name, 0, 0.0, duration, emotion, text)
        numbers, voices = zip((speaker, high), *others, strict=True)
        return DialogPlan(name, index, numbers, voices, duration, [clip])

    def _video_id(self) -> str:
        """Eleven letters as on YouTube; "___" is what the transcripts separate fields with."""
        while True:
            name = "".join(self.rng.choice(list(_ID_LETTERS), 11))
            if "__" not in name and not name.startswith("_") and not name.endswith("_"):
                return name

    def _clip(
        self,
        clip_id: str,
        dialog: str,
        who: int,
        start: float,
        end: float,
        emotion: str | None = None,
        recited: str | None = None,
    ) -> ClipPlan:
        rng = self.rng
        if self.variant == "where":
            return self._clip_of_two_emotions(clip_id, dialog, who, start, end)
        emotions = self._emotions() if emotion is None else (emotion,)
        hints = self._hints(emotions, recited=recited is not None)
        own = emotions or (NEUTRAL,)
        others = [e for e in EMOTIONS[self.layout] if e not in own]
        shown: dict[str, tuple[str, ...]] = {}
        for modality, hint in hints.items():
            if hint == "true":
                shown[modality] = own
            elif hint == "missing":
                shown[modality] = (NEUTRAL,)
            else:
                shown[modality] = (others[rng.integers(len(others))],)
        text = sentence(shown["text"], rng) if recited is None else recited
        return ClipPlan(clip_id, dialog, who, start, end, emotions, hints, shown, text)

    def _clip_of_two_emotions(
        self, clip_id: str, dialog: str, who: int, start: float, end: float
    ) -> ClipPlan:
        """A clip of the variant "where", whose voice is neutral and whose text names a half."""
        own = (self.next_emotion(),)
        halves = SplitFace.draw(own[0], EMOTIONS[self.layout], self.rng)
        hints: dict[str, Hint] = {"text": "missing", "face": "true", "sound": "missing"}
        shown: dict[str, tuple[str, ...]] = {"text": (NEUTRAL,), "face": own, "sound": (NEUTRAL,)}
        text = sentence_about(halves.named, self.rng)
        return ClipPlan(clip_id, dialog, who, start, end, own, hints, shown, text, halves)

    def next_emotion(self) -> str:
        """Every emotion as often as the others."""
        if not self._pool:
            names = EMOTIONS[self.layout]
            self._pool = [names[i] for i in self.rng.permutation(len(names))]
        return self._pool.pop()

    def _emotions(self) -> tuple[str, ...]:
        """The labels of the next clip."""
        first = (self.next_emotion(),)
        if self.layout != "mosei":
            return first
        if self.rng.random() < _NO_EMOTION:
            return ()
        if self.rng.random() < _TWO_EMOTIONS:
            rest = [name for name in EMOTIONS[self.layout] if name not in first]
            return (*first, rest[self.rng.integers(len(rest))])
        return first

    def _hints(self, emotions: tuple[str, ...], *, recited: bool = False) -> dict[str, Hint]:
        neutral = emotions in ((), (NEUTRAL,))
        told: dict[str, Hint] = {Modality.TEXT.cue: "missing"} if recited else {}
        while True:
            hints = dict(told)
            for modality in MODALITIES:
                if modality in told:
                    continue
                x = float(self.rng.random())
                if neutral:
                    hints[modality] = "misleading" if x < _MISLEADING_NEUTRAL else "true"
                else:
                    missing = x < _TRUE + _MISSING
                    hints[modality] = (
                        "true" if x < _TRUE else "missing" if missing else "misleading"
                    )
            if "true" in hints.values():
                return hints


def mute(plan: DialogPlan) -> None:
    """Let a recording of one clip, and the truth about it, have no sound."""
    plan.silent = True
    _forget(plan.clips[0], Modality.AUDIO.cue, Modality.VIDEO.cue)


def blind(plan: DialogPlan) -> None:
    """Let a recording of one clip, and the truth about it, have no pictures."""
    plan.unfilmed = True
    plan.absences[0] = [(0.0, plan.duration + 1)]
    _forget(plan.clips[0], Modality.VIDEO.cue, Modality.AUDIO.cue)


def _forget(clip: ClipPlan, lost: str, kept: str) -> None:
    clip.hints |= {lost: "missing", kept: "true"}
    clip.shown |= {lost: (NEUTRAL,), kept: clip.emotions}


def fill(planner: Planner, clips: int) -> list[DialogPlan]:
    """Plan recordings of four to eight clips until there are so many, at least 1."""
    dialogs: list[DialogPlan] = []
    while clips > 0:
        # No recording is left with fewer than four, unless there are fewer in all.
        sizes = [n for n in range(4, 9) if clips - n == 0 or clips - n >= 4] or [clips]
        size = sizes[planner.rng.integers(len(sizes))]
        dialogs.append(planner.dialog(size))
        clips -= size
    return dialogs
