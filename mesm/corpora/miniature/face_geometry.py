"""Where the features of a face lie, given its owner, its pose and its action units.

Head space: u to the right and v down, both in half face widths, the origin between eyes and nose.
The head is an ellipsoid turned by yaw and pitch, then rolled, scaled and moved in the image plane.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

Points: TypeAlias = npt.NDArray[np.float64]  # (n, 2)
Box: TypeAlias = tuple[float, float, float, float]

_X = np.linspace(-1.0, 1.0, 17)
_ARCH = 1 - _X**2
_BROW = np.linspace(0.0, 1.0, 9)

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

    def __call__(self, u: npt.ArrayLike, v: npt.ArrayLike) -> Points:
        u, v = np.asarray(u, float), np.asarray(v, float)
        z = np.sqrt(np.maximum(0.0, 1 - u * u - v * v * self._flatness))
        turned = np.empty((z.size, 2))
        turned[:, 0] = u * self._yaw[0] + z * self._yaw[1]
        turned[:, 1] = v * self._pitch[0] + z * self._pitch[1]
        return turned @ self._rotation + self._centre

    def box(self, u0: float, v0: float, u1: float, v1: float) -> Box:
        corners = self([u0, u1, u1, u0], [v0, v0, v1, v1])
        (x0, y0), (x1, y1) = corners.min(0), corners.max(0)
        return float(x0), float(y0), float(x1), float(y1)


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
    project = _Projection(pose, identity.height)
    jaw_drop = 0.16 * au[26] + 0.3 * au[27] + 0.05 * talk
    shape = FaceShape(outline=_outline(project, identity, jaw_drop))
    shape.face_box = project.box(*_FACE_BOX[:3], _FACE_BOX[3] + 0.6 * jaw_drop)
    _brows(shape, project, identity, au)
    _eyes(shape, project, identity, au, blink, gaze)
    _nose(shape, project, identity, au)
    _mouth(shape, project, identity, au, talk)
    shape.regions = {unit: boxes for unit, boxes in shape.regions.items() if au[unit] > 0}
    return shape


_ALL_UNITS = (1, 2, 4, 5, 6, 7, 9, 10, 12, 14, 15, 17, 20, 22, 24, 25, 26, 27, 43)


def _outline(project: _Projection, identity: Identity, jaw_drop: float) -> Points:
    angle = np.linspace(0, 2 * np.pi, 49)[:-1]
    u, v = np.cos(angle), np.sin(angle)
    lower = np.maximum(v, 0)
    u = u * (1 - (1 - identity.jaw) * lower**2.2)
    v = np.where(v > 0, v * (identity.height + jaw_drop), v * identity.height)
    return project(u, v)


def _brows(
    shape: FaceShape, project: _Projection, identity: Identity, au: dict[int, float]
) -> None:
    inner_lift = 0.2 * au[1] - 0.15 * au[4] - 0.06 * au[9]
    outer_lift = 0.2 * au[2] - 0.03 * au[4] - 0.07 * (au[1] if au[2] < 0.2 else 0.0)
    middle_lift = 0.5 * inner_lift + 0.5 * outer_lift - 0.03 * au[4]
    inner_u = identity.eye_distance - 0.23 - 0.06 * au[4]
    outer_u = identity.eye_distance + 0.27
    base = -0.14 - identity.brow_height
    thickness = identity.brow_thickness * (1 - 0.9 * (_BROW - 0.25) ** 2)
    u = inner_u + (outer_u - inner_u) * _BROW
    weights = np.stack(
        [(1 - _BROW) * (1 - 2 * _BROW), 4 * _BROW * (1 - _BROW), _BROW * (2 * _BROW - 1)]
    )
    lift = weights.T @ np.array([inner_lift, middle_lift, outer_lift])
    v = base - 0.07 * np.sin(np.pi * (0.15 + 0.75 * _BROW)) - lift
    for side in (-1, 1):
        upper, lower = project(side * u, v - thickness / 2), project(side * u, v + thickness / 2)
        shape.brows.append(np.concatenate([upper, lower[::-1]]))
        mid = (inner_u + outer_u) / 2
        for unit, u0, u1, part in (
            (1, inner_u - 0.04, mid, v[:5]),
            (2, mid, outer_u + 0.04, v[4:]),
        ):
            box = project.box(side * u0, part.min() - 0.05, side * u1, part.max() + 0.05)
            shape.regions.setdefault(unit, []).append(box)
        for unit, strength in ((1, au[1]), (2, au[2])):
            if strength > 0.05:
                lines = np.linspace(0.06, 0.5, 7) if unit == 1 else np.linspace(0.36, 0.66, 7)
                for k in (0, 1):
                    level = v.min() - 0.11 - 0.1 * k + 0.05 * (lines - 0.3) ** 2
                    shape.folds.append((project(side * lines, level), 0.5 * strength))
    if au[4] > 0.05:
        for side in (-1, 1):
            u_line = side * np.array([0.09, 0.065, 0.075])
            shape.folds.append((project(u_line, [base - 0.12, base, base + 0.16]), au[4]))
        glabella = np.array([(-0.14, -0.14), (0.14, -0.14), (0.1, 0.16), (-0.1, 0.16)])
        shape.patches.append((project(glabella[:, 0], base + glabella[:, 1]), 0.6 * au[4]))
    reach = inner_u + 0.17
    shape.regions[4] = [project.box(-reach, float(v[:4].min()) - 0.08, reach, base + 0.18)]


def _eyes(
    shape: FaceShape,
    project: _Projection,
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
        top, bottom = -0.1 - upper * _ARCH**0.75 - tilt, -0.1 + lower * _ARCH**0.85 - tilt
        eye = np.concatenate([project(u, top), project(u, bottom)[::-1]])
        shape.eyes.append(eye)
        shape.lids.append(project(u, top))
        ring = np.linspace(0, 2 * np.pi, 17)[:-1]
        iris_u, iris_v = centre + 0.09 * gaze[0], -0.11 + 0.06 * gaze[1]
        shape.irises.append(project(iris_u + 0.09 * np.cos(ring), iris_v + 0.09 * np.sin(ring)))
        lid_box = project.box(centre - width, -0.16 - upper, centre + width, -0.1 + 0.02)
        shape.regions.setdefault(5, []).append(lid_box)
        shape.regions.setdefault(43, []).append(
            project.box(centre - width, -0.22, centre + width, -0.02)
        )
        shape.regions.setdefault(7, []).append(
            project.box(centre - width, -0.12 - upper, centre + width, 0.06)
        )
        shape.regions.setdefault(6, []).append(
            project.box(centre - 1.3 * width, -0.1, centre + 1.3 * width, 0.16)
        )
        crease = project(u, top - 0.05 - 0.015 * _ARCH)
        shape.folds.append((crease, 0.35 + 0.2 * au[43]))
        pouch = max(au[6], 0.7 * au[7])
        if pouch > 0.05:
            line = bottom + 0.06 + 0.02 * _ARCH
            shape.folds.append((project(u, line), 0.8 * pouch))
        if au[6] > 0.05:
            for k in (-1, 0, 1):
                foot_u = centre + side * (width + np.array([0.05, 0.17]))
                shape.folds.append((project(foot_u, [-0.1 + 0.02 * k, -0.1 + 0.07 * k]), au[6]))
            cheek = np.stack([centre + 0.24 * np.cos(ring), 0.2 + 0.05 * np.sin(ring)], -1)
            shape.patches.append((project(cheek[:, 0], cheek[:, 1]), 0.35 * au[6]))


def _nose(shape: FaceShape, project: _Projection, identity: Identity, au: dict[int, float]) -> None:
    lift = 0.06 * au[9] + 0.02 * au[10]
    tip = identity.nose_length - lift
    width = identity.nose_width * (1 + 0.18 * au[9] + 0.08 * au[12])
    shape.nose = project(
        [-0.07, 0.07, 0.1, width, 0.5 * width, -0.5 * width, -width, -0.1],
        [-0.15, -0.15, 0.2, tip - 0.04, tip + 0.03, tip + 0.03, tip - 0.04, 0.2],
    )
    ring = np.linspace(0, 2 * np.pi, 11)[:-1]
    for side in (-1, 1):
        u = side * 0.55 * width + 0.05 * np.cos(ring)
        shape.nostrils.append(project(u, tip + 0.01 + 0.022 * np.sin(ring)))
        wing = side * (width + np.array([-0.03, 0.02, 0.0]))
        strength = 0.35 + 0.4 * au[9]
        shape.folds.append((project(wing, tip + np.array([-0.11, -0.05, 0.0])), strength))
        deep = max(0.9 * au[10], 0.75 * au[12], 0.8 * au[9])
        if deep > 0.05:
            out = 0.1 * au[12]
            fold_u = side * (width + np.array([0.03, 0.12 + 0.4 * out, 0.19 + out]))
            shape.folds.append((project(fold_u, tip + np.array([-0.04, 0.08, 0.22])), deep))
        if au[9] > 0.05:
            for k in range(3):
                u_line = side * np.array([0.0, 0.08, 0.17])
                v_line = -0.08 + 0.075 * k + np.array([0.0, -0.02, -0.07])
                shape.folds.append((project(u_line, v_line), au[9]))
    if au[9] > 0.05:
        root = project([-0.2, 0.2, 0.16, -0.16], [-0.16, -0.16, 0.16, 0.16])
        shape.patches.append((root, 0.55 * au[9]))
    shape.regions[9] = [project.box(-0.2, -0.18, 0.2, 0.18)]


def _mouth(
    shape: FaceShape,
    project: _Projection,
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
    bow = 1 - 0.25 * np.exp(-((_X / 0.15) ** 2))
    lip_top = gap_top - 0.85 * thick * _ARCH**0.6 * bow
    lip_bottom = gap_bottom + 1.15 * thick * _ARCH**0.6
    shape.lips = np.concatenate([project(u, lip_top), project(u, lip_bottom)[::-1]])
    shape.mouth = np.concatenate([project(u, gap_top), project(u, gap_bottom)[::-1]])
    shape.lip_line = project(u, (gap_top + gap_bottom) / 2)
    gap = gap_bottom - gap_top
    if gap.max() > 0.04:
        clenched = max(au[22], 0.6 * au[10]) > 0.25
        depth = gap * 0.95 if clenched else np.minimum(gap * 0.8, 0.09)
        inside = slice(1, -1)
        upper = np.concatenate([project(u, gap_top)[inside], project(u, gap_top + depth)[-2:0:-1]])
        shape.teeth.append(upper)
        if au[20] > 0.3:
            lower = gap_bottom - np.minimum(0.3 * gap, 0.05)
            shape.teeth.append(
                np.concatenate([project(u, lower)[inside], project(u, gap_bottom)[-2:0:-1]])
            )
    corner_v = float(line[0])
    for side in (-1, 1):
        end = side * half
        if au[12] > 0.05:
            fold = end + side * np.array([0.0, 0.07, 0.08])
            shape.folds.append((project(fold, corner_v + np.array([0.05, -0.01, -0.1])), au[12]))
        if au[15] > 0.05:
            fold = end + side * np.array([-0.01, 0.05, 0.07])
            shape.folds.append((project(fold, corner_v + np.array([0.0, 0.08, 0.18])), au[15]))
        if au[14] > 0.05:
            fold = end + side * np.array([0.05, 0.085, 0.05])
            shape.folds.append((project(fold, corner_v + np.array([-0.1, 0.0, 0.1])), au[14]))
            ring = np.linspace(0, 2 * np.pi, 11)[:-1]
            dimple = project(end + side * 0.07 + 0.06 * np.cos(ring), corner_v + 0.1 * np.sin(ring))
            shape.patches.append((dimple, 0.7 * au[14]))
        for unit, above, below in ((12, 0.12, 0.1), (14, 0.12, 0.12), (15, 0.06, 0.18)):
            box = project.box(
                end - side * 0.1, corner_v - above, end + side * 0.12, corner_v + below
            )
            shape.regions.setdefault(unit, []).append(box)
        box = project.box(end - side * 0.16, corner_v - 0.08, end + side * 0.1, corner_v + 0.08)
        shape.regions.setdefault(20, []).append(box)
    top, bottom = float(lip_top.min()), float(lip_bottom.max())
    chin = bottom + 0.19
    if au[17] > 0.05:
        ring = np.linspace(0, np.pi, 9)
        shape.folds.append((project(0.2 * np.cos(ring), chin - 0.09 * np.sin(ring)), au[17]))
        for u_dot, v_dot in ((-0.09, 0.06), (0.0, 0.1), (0.09, 0.06), (0.0, 0.02)):
            dot = project(u_dot + np.array([-0.025, 0.025]), [chin + v_dot, chin + v_dot + 0.01])
            shape.folds.append((dot, 0.9 * au[17]))
        shape.patches.append(
            (project([-0.22, 0.22, 0.18, -0.18], chin + np.array([-0.07, -0.07, 0.14, 0.14])), 0.4)
        )
    shade = project([-0.24, 0.24, 0.18, -0.18], bottom + np.array([0.02, 0.02, 0.1, 0.1]))
    shape.patches.append((shade, 0.3))
    shape.regions[17] = [project.box(-0.24, chin - 0.14, 0.24, chin + 0.14)]
    upper_lip = project.box(-0.8 * half, top - 0.06, 0.8 * half, float(gap_top.min()) + 0.05)
    lips = project.box(-half - 0.02, top - 0.02, half + 0.02, bottom + 0.02)
    shape.regions.update({10: [upper_lip], 22: [lips], 24: [lips], 25: [lips], 26: [lips]})
    shape.regions[27] = [lips]
