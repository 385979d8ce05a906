"""One person before the camera for a whole dialog: expression, speech, blinks, head motion."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from mesm.corpora.miniature.action_units import LEAD, ExpressionTrack
from mesm.corpora.miniature.face_geometry import FaceShape, Pose, face_shape
from mesm.corpora.miniature.face_painter import Picture, Scene

_BLINK = 0.22


@dataclass(frozen=True)
class Turn:
    """A person's acts while one utterance lasts."""

    start: float
    end: float
    expression: ExpressionTrack
    # (start, end, loudness 0 to 1) of every syllable, in seconds of the dialog.
    syllables: Sequence[tuple[float, float, float]]


@dataclass
class Performance:
    """A person's appearance as a function of time."""

    scene: Scene
    pose: Pose
    turns: list[Turn]
    duration: float
    rng: np.random.Generator
    # Intervals in which the person is out of the picture.
    absences: list[tuple[float, float]] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Draw blinks, head motion and the resting face."""
        rng = self.rng
        self._blinks = np.cumsum(rng.uniform(1.8, 5.0, int(self.duration / 1.8) + 2)) - 1.0
        self._rates = rng.uniform(0.15, 0.6, (2, 5))
        self._phases = rng.uniform(0, 2 * np.pi, (2, 5))
        self._rest = {
            unit: float(rng.uniform(0, most)) for unit, most in ((4, 0.14), (12, 0.12), (15, 0.12))
        }

    def expression_at(self, time: float) -> dict[int, float] | None:
        """The action units of the expression, 0 to 1; None while out of the picture."""
        if any(start <= time < end for start, end in self.absences):
            return None
        expression: dict[int, float] = {}
        for turn in self.turns:
            if turn.start - 2 * LEAD <= time <= turn.end + 2 * LEAD:
                for unit, value in turn.expression.at(time).items():
                    expression[unit] = max(expression.get(unit, 0.0), value)
        return expression

    def blink_at(self, time: float) -> float:
        """How far a blink has shut the eyes, 0 to 1."""
        return float(np.max(1 - np.abs(time - self._blinks) / (_BLINK / 2), initial=0.0))

    def talk_at(self, time: float) -> float:
        """How far speech opens the mouth, 0 to 1."""
        talk = 0.0
        for turn in self.turns:
            if turn.start - 2 * LEAD <= time <= turn.end + 2 * LEAD:
                for start, end, loudness in turn.syllables:
                    if start <= time < end:
                        talk = loudness * float(np.sin(np.pi * (time - start) / (end - start)))
        return talk

    def at(self, time: float) -> tuple[Pose, FaceShape, dict[int, float]] | None:
        """Pose, face and the action units of the expression; None while out of the picture."""
        expression = self.expression_at(time)
        if expression is None:
            return None
        talk = self.talk_at(time)
        units = {**self._rest, **{u: max(v, self._rest.get(u, 0)) for u, v in expression.items()}}
        blink = self.blink_at(time)
        sway = np.sin(2 * np.pi * self._rates * time + self._phases).mean(0).tolist()
        pose = Pose(
            x=self.pose.x + 0.09 * self.pose.scale * sway[0],
            y=self.pose.y + 0.05 * self.pose.scale * sway[1],
            scale=self.pose.scale,
            yaw=self.pose.yaw + 0.08 * sway[2],
            pitch=self.pose.pitch + 0.04 * sway[3] - 0.03 * talk,
            roll=self.pose.roll + 0.05 * sway[4],
        )
        gaze = (0.5 * sway[4], 0.0)
        identity = self.scene.looks.identity
        shape = face_shape(identity, pose, units, blink=blink, talk=talk, gaze=gaze)
        return pose, shape, expression

    def picture(self, time: float) -> Picture:
        """The camera's picture at a time."""
        state = self.at(time)
        if state is None:
            return self.scene.empty()
        return self.scene.paint(state[1], state[0])

    def is_speaking(self, time: float) -> bool:
        """Whether the face may be moving fast: during a turn and just around it."""
        return any(turn.start - LEAD <= time <= turn.end + LEAD for turn in self.turns)


def seat(width: int, height: int, rng: np.random.Generator) -> Pose:
    """A resting pose near the middle of the picture, the head about half of its height."""
    return Pose(
        x=width * float(rng.uniform(0.46, 0.54)),
        y=height * float(rng.uniform(0.44, 0.49)),
        scale=height * float(rng.uniform(0.165, 0.19)),
        yaw=float(rng.uniform(-0.12, 0.12)),
        pitch=float(rng.uniform(-0.07, 0.05)),
        roll=float(rng.uniform(-0.07, 0.07)),
    )
