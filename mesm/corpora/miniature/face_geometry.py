"""Where the features of a face lie, given its owner, its pose and its action units.

The head is an ellipsoid turned by yaw and pitch, then rolled, scaled and moved in the image plane.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from mesm.corpora.miniature.head_space import Box, Points, Sheet, circle

# From corner to corner of an eye or a mouth.
_X = np.linspace(-1.0, 1.0, 17)
_ARCH = 1 - _X**2
_UPPER_LID, _LOWER_LID = _ARCH**0.75, _ARCH**0.85
_LOWER_LIP = 1.15 * _ARCH**0.6
_UPPER_LIP = 0.85 * _ARCH**0.6 * (1 - 0.25 * np.exp(-((_X / 0.15) ** 2)))
# From the inner end of a brow to the outer one.
_BROW = np.linspace(0.0, 1.0, 9)
_BROW_TAPER = 1 - 0.9 * (_BROW - 0.25) ** 2
_BROW_BEND = 0.07 * np.sin(np.pi * (0.15 + 0.75 * _BROW))
# A parabola through the lifts of the inner end, the middle and the outer end.
_BROW_LIFT = np.stack(
    [(1 - _BROW) * (1 - 2 * _BROW), 4 * _BROW * (1 - _BROW), _BROW * (2 * _BROW - 1)], -1
)
_FURROWS = {1: np.linspace(0.06, 0.5, 7), 2: np.linspace(0.36, 0.66, 7)}
_HEAD, _IRIS, _SMALL_RING = circle(48), circle(16), circle(10)
_CHIN = circle(9, np.pi)

# The face as MTCNN boxes it: from the upper forehead to the chin (measured over drawn faces).
_FACE_BOX = (-0.96, -1.1, 0.96, 1.36)


@dataclass(frozen=True)
class Identity:
    """The proportions of one person's face, in half face widths."""

    height: float
    jaw: float
    eye_distance: float
    eye_width: float
    brow_height: float
    brow_thickness: float
    nose_length: float
    nose_width: float
    mouth_width: float
    lip_thickness: float

    @classmethod
    def draw(cls, rng: np.random.Generator) -> Identity:
        """A person at random."""
        u = rng.uniform
        return cls(
            height=float(u(1.2, 1.32)),
            jaw=float(u(0.74, 0.9)),
            eye_distance=float(u(0.39, 0.44)),
            eye_width=float(u(0.2, 0.235)),
            brow_height=float(u(0.27, 0.31)),
            brow_thickness=float(u(0.055, 0.085)),
            nose_length=float(u(0.38, 0.46)),
            nose_width=float(u(0.17, 0.23)),
            mouth_width=float(u(0.34, 0.4)),
            lip_thickness=float(u(0.06, 0.095)),
        )


@dataclass(frozen=True)
class Pose:
    """Where the head is: centre and scale in pixels, angles in radians."""

    x: float
    y: float
    scale: float
    yaw: float = 0.0
    pitch: float = 0.0
    roll: float = 0.0


@dataclass
class FaceShape:
    """The features of one face, every outline in pixels."""

    outline: Points
    eyes: list[Points] = field(default_factory=list)
    lids: list[Points] = field(default_factory=list)
    irises: list[Points] = field(default_factory=list)
    brows: list[Points] = field(default_factory=list)
    nose: Points = field(default_factory=lambda: np.zeros((0, 2)))
    nostrils: list[Points] = field(default_factory=list)
    lips: Points = field(default_factory=lambda: np.zeros((0, 2)))
    mouth: Points = field(default_factory=lambda: np.zeros((0, 2)))
    teeth: list[Points] = field(default_factory=list)
    lip_line: Points = field(default_factory=lambda: np.zeros((0, 2)))
    # Lines and soft patches that an action unit presses into the skin, each with its strength.
    folds: list[tuple[Points, float]] = field(default_factory=list)
    patches: list[tuple[Points, float]] = field(default_factory=list)
    face_box: Box = (0.0, 0.0, 0.0, 0.0)
    regions: dict[int, list[Box]] = field(default_factory=dict)


class _Projection:
    """Head space to pixels."""

    def __init__(self, pose: Pose, height: float) -> None:
        self._flatness = height**-2
        self._yaw = np.cos(pose.yaw), np.sin(pose.yaw)
        self._pitch = np.cos(pose.pitch), np.sin(pose.pitch)
        c, s = np.cos(pose.roll), np.sin(pose.roll)
        self._rotation = pose.scale * np.array([[c, s], [-s, c]])
        self._centre = np.array([pose.x, pose.y])

    def __call__(self, points: Points) -> Points:
        u, v = points.T
        z = np.sqrt(np.maximum(0.0, 1 - u * u - v * v * self._flatness))
        turned = np.empty_like(points)
        turned[:, 0] = u * self._yaw[0] + z * self._yaw[1]
        turned[:, 1] = v * self._pitch[0] + z * self._pitch[1]
        return turned @ self._rotation + self._centre

    def boxes(self, boxes: Sequence[Box]) -> list[Box]:
        """The smallest boxes around the projected corners of boxes."""
        corners = np.array([[(a, b), (c, b), (c, d), (a, d)] for a, b, c, d in boxes])
        places = self(corners.reshape(-1, 2)).reshape(-1, 4, 2)
        ends = np.concatenate([places.min(1), places.max(1)], -1).tolist()
        return [(x0, y0, x1, y1) for x0, y0, x1, y1 in ends]


def face_shape(
    identity: Identity,
    pose: Pose,
    action_units: Mapping[int, float],
    *,
    blink: float = 0.0,
    talk: float = 0.0,
    gaze: tuple[float, float] = (0.0, 0.0),
) -> FaceShape:
    """Lay out a face.

    Args:
        identity: proportions.
        pose: place and angles of the head.
        action_units: intensity (0 to 1) per action unit number.
        blink: 0 (no) to 1 (eyes shut).
        talk: 0 to 1, how far speech opens the mouth.
        gaze: shift of the irises, in iris widths.

    Returns:
        Outlines in pixels, and per action unit in motion the boxes of what it moves.
    """
    au = {unit: action_units.get(unit, 0.0) for unit in _ALL_UNITS}
    sheet = Sheet()
    jaw_drop = 0.16 * au[26] + 0.3 * au[27] + 0.05 * talk
    shape = FaceShape(outline=_outline(sheet, identity, jaw_drop))
    _brows(shape, sheet, identity, au)
    _eyes(shape, sheet, identity, au, blink, gaze)
    _nose(shape, sheet, identity, au)
    _mouth(shape, sheet, identity, au, talk)
    projection = _Projection(pose, identity.height)
    sheet.project(projection)
    moving = [(unit, box) for unit, box in sheet.regions if au[unit] > 0]
    face = (*_FACE_BOX[:3], _FACE_BOX[3] + 0.6 * jaw_drop)
    shape.face_box, *boxes = projection.boxes([face, *(box for _, box in moving)])
    for (unit, _), box in zip(moving, boxes, strict=True):
        shape.regions.setdefault(unit, []).append(box)
    return shape


_ALL_UNITS = (1, 2, 4, 5, 6, 7, 9, 10, 12, 14, 15, 17, 20, 22, 24, 25, 26, 27, 43)


def _outline(sheet: Sheet, identity: Identity, jaw_drop: float) -> Points:
    u, v = _HEAD.T
    lower = np.maximum(v, 0)
    jaw = 1 - (1 - identity.jaw) * lower**2.2
    return sheet.line(u * jaw, v * identity.height + lower * jaw_drop)


def _brows(shape: FaceShape, sheet: Sheet, identity: Identity, au: dict[int, float]) -> None:
    inner_lift = 0.2 * au[1] - 0.15 * au[4] - 0.06 * au[9]
    outer_lift = 0.2 * au[2] - 0.03 * au[4] - 0.07 * (au[1] if au[2] < 0.2 else 0.0)
    middle_lift = 0.5 * inner_lift + 0.5 * outer_lift - 0.03 * au[4]
    inner_u = identity.eye_distance - 0.23 - 0.06 * au[4]
    outer_u = identity.eye_distance + 0.27
    base = -0.14 - identity.brow_height
    half = identity.brow_thickness * _BROW_TAPER / 2
    u = inner_u + (outer_u - inner_u) * _BROW
    v = base - _BROW_BEND - _BROW_LIFT @ np.array([inner_lift, middle_lift, outer_lift])
    mid = (inner_u + outer_u) / 2
    highest = float(v.min())
    for side in (-1, 1):
        shape.brows.append(sheet.between(side * u, v - half, v + half))
        for unit, u0, u1, part in (
            (1, inner_u - 0.04, mid, v[:5]),
            (2, mid, outer_u + 0.04, v[4:]),
        ):
            sheet.region(
                unit, side * u0, float(part.min()) - 0.05, side * u1, float(part.max()) + 0.05
            )
            if au[unit] > 0.05:
                furrow = _FURROWS[unit]
                for k in (0, 1):
                    level = highest - 0.11 - 0.1 * k + 0.05 * (furrow - 0.3) ** 2
                    shape.folds.append((sheet.line(side * furrow, level), 0.5 * au[unit]))
    if au[4] > 0.05:
        for side in (-1, 1):
            u_line = (side * 0.09, side * 0.065, side * 0.075)
            shape.folds.append((sheet.line(u_line, (base - 0.12, base, base + 0.16)), au[4]))
        above, below = base - 0.14, base + 0.16
        glabella = sheet.line((-0.14, 0.14, 0.1, -0.1), (above, above, below, below))
        shape.patches.append((glabella, 0.6 * au[4]))
    reach = inner_u + 0.17
    sheet.region(4, -reach, float(v[:4].min()) - 0.08, reach, base + 0.18)


def _eyes(
    shape: FaceShape,
    sheet: Sheet,
    identity: Identity,
    au: dict[int, float],
    blink: float,
    gaze: tuple[float, float],
) -> None:
    shut = 1 - max(blink, 0.75 * au[43])
    upper = (0.1 + 0.075 * au[5] - 0.03 * au[7] - 0.02 * au[6]) * shut
    lower = 0.075 + 0.025 * au[5] - 0.055 * au[7] - 0.12 * au[6] - 0.03 * au[9]
    lower = max(lower * (0.4 + 0.6 * shut), -upper + 0.012)
    width = identity.eye_width
    for side in (-1, 1):
        centre = side * identity.eye_distance
        u = centre + width * _X
        tilt = 0.015 * side * _X
        top, bottom = -0.1 - upper * _UPPER_LID - tilt, -0.1 + lower * _LOWER_LID - tilt
        eye = sheet.between(u, top, bottom)
        shape.eyes.append(eye)
        shape.lids.append(eye[: len(u)])
        iris_u, iris_v = centre + 0.09 * gaze[0], -0.11 + 0.06 * gaze[1]
        shape.irises.append(sheet.ring(iris_u, iris_v, 0.09, 0.09, _IRIS))
        sheet.region(5, centre - width, -0.16 - upper, centre + width, -0.1 + 0.02)
        sheet.region(43, centre - width, -0.22, centre + width, -0.02)
        sheet.region(7, centre - width, -0.12 - upper, centre + width, 0.06)
        sheet.region(6, centre - 1.3 * width, -0.1, centre + 1.3 * width, 0.16)
        crease = sheet.line(u, top - 0.05 - 0.015 * _ARCH)
        shape.folds.append((crease, 0.35 + 0.2 * au[43]))
        pouch = max(au[6], 0.7 * au[7])
        if pouch > 0.05:
            line = bottom + 0.06 + 0.02 * _ARCH
            shape.folds.append((sheet.line(u, line), 0.8 * pouch))
        if au[6] > 0.05:
            for k in (-1, 0, 1):
                foot = ((0.05, 0.02 * k), (0.17, 0.07 * k))
                outer = centre + side * width
                shape.folds.append((sheet.stroke(outer, -0.1, *foot, side=side), au[6]))
            shape.patches.append((sheet.ring(centre, 0.2, 0.24, 0.05, _IRIS), 0.35 * au[6]))


def _nose(shape: FaceShape, sheet: Sheet, identity: Identity, au: dict[int, float]) -> None:
    lift = 0.06 * au[9] + 0.02 * au[10]
    tip = identity.nose_length - lift
    width = identity.nose_width * (1 + 0.18 * au[9] + 0.08 * au[12])
    shape.nose = sheet.line(
        (-0.07, 0.07, 0.1, width, 0.5 * width, -0.5 * width, -width, -0.1),
        (-0.15, -0.15, 0.2, tip - 0.04, tip + 0.03, tip + 0.03, tip - 0.04, 0.2),
    )
    for side in (-1, 1):
        wing = side * width
        shape.nostrils.append(sheet.ring(0.55 * wing, tip + 0.01, 0.05, 0.022, _SMALL_RING))
        edge = sheet.stroke(wing, tip, (-0.03, -0.11), (0.02, -0.05), (0.0, 0.0), side=side)
        shape.folds.append((edge, 0.35 + 0.4 * au[9]))
        deep = max(0.9 * au[10], 0.75 * au[12], 0.8 * au[9])
        if deep > 0.05:
            out = 0.1 * au[12]
            steps = ((0.03, -0.04), (0.12 + 0.4 * out, 0.08), (0.19 + out, 0.22))
            shape.folds.append((sheet.stroke(wing, tip, *steps, side=side), deep))
        if au[9] > 0.05:
            for k in range(3):
                v_line = -0.08 + 0.075 * k
                wrinkle = ((0.0, 0.0), (0.08, -0.02), (0.17, -0.07))
                shape.folds.append((sheet.stroke(0.0, v_line, *wrinkle, side=side), au[9]))
    if au[9] > 0.05:
        root = sheet.line((-0.2, 0.2, 0.16, -0.16), (-0.16, -0.16, 0.16, 0.16))
        shape.patches.append((root, 0.55 * au[9]))
    sheet.region(9, -0.2, -0.18, 0.2, 0.18)


def _mouth(
    shape: FaceShape,
    sheet: Sheet,
    identity: Identity,
    au: dict[int, float],
    talk: float,
) -> None:
    talk *= 1 - 0.85 * au[24]
    press = au[24]
    half = identity.mouth_width * (
        1
        + 0.28 * au[12]
        + 0.35 * au[20]
        - 0.12 * au[22]
        - 0.3 * au[27]
        - 0.12 * press
        + 0.06 * au[14]
    )
    centre = 0.72 + 0.04 * au[26] + 0.1 * au[27] - 0.04 * au[17] - 0.03 * au[9] - 0.02 * au[10]
    corner = -0.2 * au[12] + 0.17 * au[15] + 0.06 * au[17] + 0.03 * au[20] + 0.03 * press
    middle = 0.05 * au[12] - 0.05 * au[15] - 0.03 * au[17]
    opening = 0.11 * au[25] + 0.26 * au[26] + 0.42 * au[27] + 0.09 * talk + 0.03 * au[22]
    raised = 0.13 * au[10]
    square = 2.0 + 4.0 * max(0.6 * au[10], au[22], 0.7 * au[20])
    arch = 1 - np.abs(_X) ** square
    u = half * _X
    line = centre + corner * np.abs(_X) ** 1.7 + middle * _ARCH
    gap_top = line - (0.35 * opening + 0.5 * raised) * arch
    gap_bottom = line + (0.65 * opening + 0.25 * raised) * arch
    thick = (
        identity.lip_thickness
        * (1 + 0.35 * au[22])
        * (1 - 0.72 * press - 0.2 * au[12] * (1 - au[26]))
    )
    lip_top, lip_bottom = gap_top - thick * _UPPER_LIP, gap_bottom + thick * _LOWER_LIP
    shape.lips = sheet.between(u, lip_top, lip_bottom)
    shape.mouth = sheet.between(u, gap_top, gap_bottom)
    shape.lip_line = sheet.line(u, (gap_top + gap_bottom) / 2)
    gap = gap_bottom - gap_top
    if gap.max() > 0.04:
        clenched = max(au[22], 0.6 * au[10]) > 0.25
        depth = gap * 0.95 if clenched else np.minimum(gap * 0.8, 0.09)
        inside = slice(1, -1)
        edge = gap_top + depth
        shape.teeth.append(sheet.between(u[inside], gap_top[inside], edge[inside]))
        if au[20] > 0.3:
            edge = gap_bottom - np.minimum(0.3 * gap, 0.05)
            shape.teeth.append(sheet.between(u[inside], edge[inside], gap_bottom[inside]))
    corner_v = float(line[0])
    for side in (-1, 1):
        end = side * half
        for unit, steps in (
            (12, ((0.0, 0.05), (0.07, -0.01), (0.08, -0.1))),
            (15, ((-0.01, 0.0), (0.05, 0.08), (0.07, 0.18))),
            (14, ((0.05, -0.1), (0.085, 0.0), (0.05, 0.1))),
        ):
            if au[unit] > 0.05:
                shape.folds.append((sheet.stroke(end, corner_v, *steps, side=side), au[unit]))
        if au[14] > 0.05:
            dimple = sheet.ring(end + side * 0.07, corner_v, 0.06, 0.1, _SMALL_RING)
            shape.patches.append((dimple, 0.7 * au[14]))
        for unit, above, below in ((12, 0.12, 0.1), (14, 0.12, 0.12), (15, 0.06, 0.18)):
            sheet.region(
                unit, end - side * 0.1, corner_v - above, end + side * 0.12, corner_v + below
            )
        sheet.region(20, end - side * 0.16, corner_v - 0.08, end + side * 0.1, corner_v + 0.08)
    top, bottom = float(lip_top.min()), float(lip_bottom.max())
    chin = bottom + 0.19
    if au[17] > 0.05:
        shape.folds.append((sheet.ring(0.0, chin, 0.2, -0.09, _CHIN), au[17]))
        for u_dot, v_dot in ((-0.09, 0.06), (0.0, 0.1), (0.09, 0.06), (0.0, 0.02)):
            dot = sheet.stroke(u_dot, chin + v_dot, (-0.025, 0.0), (0.025, 0.01))
            shape.folds.append((dot, 0.9 * au[17]))
        ball = sheet.stroke(0.0, chin, (-0.22, -0.07), (0.22, -0.07), (0.18, 0.14), (-0.18, 0.14))
        shape.patches.append((ball, 0.4))
    shade = sheet.stroke(0.0, bottom, (-0.24, 0.02), (0.24, 0.02), (0.18, 0.1), (-0.18, 0.1))
    shape.patches.append((shade, 0.3))
    sheet.region(17, -0.24, chin - 0.14, 0.24, chin + 0.14)
    sheet.region(10, -0.8 * half, top - 0.06, 0.8 * half, float(gap_top.min()) + 0.05)
    for unit in (22, 24, 25, 26, 27):
        sheet.region(unit, -half - 0.02, top - 0.02, half + 0.02, bottom + 0.02)
