"""Paints a person, from a FaceShape, into a still scene with its own light, background and camera.

Soft shading is drawn small and enlarged; what has edges is drawn over it. Gain and tint of the
camera go into the colours beforehand, so that a picture costs only its drawing.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageChops, ImageDraw, ImageFilter

from mesm.corpora.miniature.face_geometry import FaceShape, Identity, Pose
from mesm.corpora.miniature.head_space import Points, circle

Colour: TypeAlias = tuple[int, int, int]
Picture: TypeAlias = npt.NDArray[np.uint8]  # (height, width, 3)

_SMALL = 3  # undersampling of what is soft
_BLUSH = (10, -6, -4)
_FULL = 200  # level of unshaded skin; above it is highlight
_GRAIN_LEVEL = 16
_CIRCLE = circle(20)

_SKINS: tuple[Colour, ...] = (
    (236, 200, 178),
    (224, 182, 152),
    (205, 160, 128),
    (180, 134, 102),
    (162, 116, 86),
    (148, 106, 82),
)
_HAIRS: tuple[Colour, ...] = (
    (28, 22, 20),
    (58, 40, 28),
    (96, 64, 38),
    (150, 112, 62),
    (120, 116, 112),
    (112, 50, 26),
)
_IRISES: tuple[Colour, ...] = ((62, 40, 24), (84, 60, 34), (70, 92, 84), (74, 100, 128))


@dataclass(frozen=True)
class Looks:
    """The constant features of a person: proportions, colours, hair."""

    identity: Identity
    skin: Colour
    hair: Colour
    iris: Colour
    clothes: Colour
    long_hair: bool
    fringe: float
    stubble: float

    @classmethod
    def draw(cls, rng: np.random.Generator, *, long_hair: bool) -> Looks:
        """A person at random."""
        skin = np.array(_SKINS[rng.integers(len(_SKINS))]) + rng.integers(-8, 9, 3)
        return cls(
            identity=Identity.draw(rng),
            skin=_colour(skin),
            hair=_colour(np.array(_HAIRS[rng.integers(len(_HAIRS))]) + rng.integers(-6, 7, 3)),
            iris=_IRISES[rng.integers(len(_IRISES))],
            clothes=_colour(rng.uniform(40, 170) + rng.uniform(-40, 40, 3)),
            long_hair=long_hair,
            fringe=float(rng.uniform(0.7, 0.84)),
            stubble=0.0 if long_hair else float(rng.choice([0.0, 0.0, 0.12, 0.25])),
        )


class Scene:
    """One person before one background, under one light, seen by one camera."""

    def __init__(
        self,
        looks: Looks,
        width: int,
        height: int,
        rng: np.random.Generator,
        sensor: tuple[int, int] | None = None,
    ) -> None:
        """Set the scene.

        Args:
            looks: of the person.
            width: of the picture, in pixels.
            height: of the picture, in pixels.
            rng: draws background, light and camera.
            sensor: columns and rows of the camera, not below the picture's; None: the same.
        """
        gain = float(rng.uniform(0.96, 1.12)) * (1 + rng.uniform(-0.04, 0.04, 3))
        self.looks = replace(
            looks,
            skin=_colour(gain * looks.skin),
            hair=_colour(gain * looks.hair),
            clothes=_colour(gain * looks.clothes),
        )
        self.width = width
        self.height = height
        self._light = float(rng.uniform(-0.2, 0.2)), float(rng.uniform(-0.14, 0.02))
        # Numbers for the whole sensor: the room's noise follows in the same stream, and sounds must
        # not change with the size of pictures.
        columns, rows = sensor or (width, height)
        grain = rng.normal(_GRAIN_LEVEL, 2.5, (rows, columns, 1))[:height, :width]
        grain = grain.clip(0, 2 * _GRAIN_LEVEL).astype(np.uint8)
        self._grain = Image.fromarray(grain.repeat(3, axis=2))
        self._background = _background(width, height, gain, rng)

    def empty(self) -> Picture:
        """The scene without the person."""
        return self._develop(self._background)

    def paint(self, shape: FaceShape, pose: Pose) -> Picture:
        """The scene with the person in it.

        Args:
            shape: of the face, in pixels of this picture.
            pose: the one that shape was laid out with.

        Returns:
            (height, width, 3) uint8, RGB.
        """
        picture = self._background.copy()
        draw = ImageDraw.Draw(picture)
        self._body(draw, pose)
        s = pose.scale
        x0, y0 = max(0, int(pose.x - 1.3 * s)), max(0, int(pose.y - 1.75 * s))
        x1, y1 = min(self.width, int(pose.x + 1.3 * s)), min(self.height, int(pose.y + 1.95 * s))
        self._head(picture, draw, shape, pose)
        head = picture.crop((x0, y0, x1, y1)).filter(ImageFilter.BoxBlur(0.7))
        picture.paste(head, (x0, y0))
        return self._develop(picture)

    def _develop(self, picture: Image.Image) -> Picture:
        return np.asarray(ImageChops.add(picture, self._grain, 1, -_GRAIN_LEVEL))

    def _body(self, draw: ImageDraw.ImageDraw, pose: Pose) -> None:
        x, y, s = pose.x, pose.y, pose.scale
        if self.looks.long_hair:
            hair = _shade(self.looks.hair, 0.85)
            draw.ellipse((x - 1.22 * s, y - 1.5 * s, x + 1.22 * s, y + 1.35 * s), fill=hair)
            draw.rectangle((x - 1.22 * s, y, x + 1.22 * s, y + 1.7 * s), fill=hair)
        neck = _shade(self.looks.skin, 0.74)
        draw.rectangle((x - 0.5 * s, y + 0.8 * s, x + 0.5 * s, y + 1.9 * s), fill=neck)
        top = y + 1.62 * s
        draw.ellipse((x - 1.9 * s, top, x + 1.9 * s, top + 3 * s), fill=self.looks.clothes)
        draw.ellipse((x - 0.5 * s, top - 0.3 * s, x + 0.5 * s, top + 0.28 * s), fill=neck)

    def _head(
        self, picture: Image.Image, draw: ImageDraw.ImageDraw, shape: FaceShape, pose: Pose
    ) -> None:
        looks, scale = self.looks, pose.scale
        for side in (-1, 1):
            ear = (pose.x + side * 0.98 * scale, pose.y + 0.06 * scale)
            _fill(draw, _ring(ear, 0.13 * scale, 0.26 * scale), _shade(looks.skin, 0.8))
        crown = shape.outline * 1.1 - [0.1 * pose.x, 0.1 * pose.y + 0.1 * scale]
        _fill(draw, crown[crown[:, 1] < pose.y - 0.05 * scale], looks.hair)
        corner = np.floor(shape.outline.min(0)).astype(int)
        skin = self._skin(shape, pose, corner)
        mask = Image.new("L", skin.size)
        _fill(ImageDraw.Draw(mask), shape.outline - corner, 255)
        picture.paste(skin, _place(corner), mask)
        self._hairline(draw, shape, pose)
        self._features(picture, draw, shape, scale)

    def _skin(self, shape: FaceShape, pose: Pose, corner: npt.NDArray[np.int64]) -> Image.Image:
        """The soft part: a lit ellipsoid with sockets, nose, cheeks and the folds' shadows."""
        w, h = np.ceil((shape.outline.max(0) + 1 - corner) / _SMALL).astype(int).tolist()
        left, top = float(corner[0] - pose.x), float(corner[1] - pose.y)
        u = ((np.arange(w, dtype=np.float32) + 0.5) * _SMALL + left) / pose.scale
        y = ((np.arange(h, dtype=np.float32)[:, None] + 0.5) * _SMALL + top) / pose.scale
        v = y / self.looks.identity.height
        depth = np.sqrt(np.maximum(0, 1 - u**2 - v**2))
        light = 0.76 + 0.3 * depth + self._light[0] * u + self._light[1] * v
        shade = Image.new("L", (w, h), _FULL)
        draw = ImageDraw.Draw(shade)

        def soft(points: Points, strength: float) -> None:
            draw.polygon(_flat((points - corner) / _SMALL), fill=int(_FULL * (1 - strength)))

        for eye, brow in zip(shape.eyes, shape.brows, strict=True):
            middle = eye.mean(0)
            socket = (middle + brow.mean(0)) / 2
            soft(_ring(socket, 0.3 * pose.scale, 0.15 * pose.scale), 0.2)
            soft(_ring(middle, 0.28 * pose.scale, 0.13 * pose.scale), 0.22)
        nose = shape.nose
        soft(nose, 0.1)
        soft(nose[[2, 3, 4, 5, 6, 7]], 0.18)
        soft(nose[[0, 1, 2, 7]] * [0.5, 1] + nose[[0, 1, 2, 7]].mean(0) * [0.5, 0], -0.12)
        tip = (nose[4] + nose[5]) / 2 - [0, 0.1 * pose.scale]
        soft(_ring(tip, 0.09 * pose.scale, 0.07 * pose.scale), -0.14)
        under = tip + np.array([0, 0.15 * pose.scale])
        soft(_ring(under, 0.15 * pose.scale, 0.03 * pose.scale), 0.3)
        for points, strength in shape.patches:
            soft(points, 0.34 * strength)
        shade = shade.filter(ImageFilter.BoxBlur(1.2))
        tone = light * (np.asarray(shade, np.float32) / _FULL)
        if self.looks.stubble:
            tone = tone * (1 - self.looks.stubble * np.clip((y - 0.45) * 4, 0, 1))
        warm = np.exp(-(((np.abs(u) - 0.55) / 0.2) ** 2)) * np.exp(-(((y - 0.33) / 0.2) ** 2))
        rgb = np.stack([tone, warm], -1) @ np.array([self.looks.skin, _BLUSH], np.float32)
        image = Image.fromarray(np.clip(rgb, 0, 255).astype(np.uint8))
        return image.resize((w * _SMALL, h * _SMALL), Image.Resampling.BILINEAR)

    def _hairline(self, draw: ImageDraw.ImageDraw, shape: FaceShape, pose: Pose) -> None:
        looks = self.looks
        line = -looks.fringe * looks.identity.height
        centre = np.array([pose.x, pose.y])
        c, s = np.cos(pose.roll), np.sin(pose.roll)
        local = (shape.outline - centre) @ np.array([[c, -s], [s, c]]) / pose.scale
        above = local[:, 1] < line * 0.72
        upper = shape.outline[above]
        if len(upper) < 3:
            return
        across = np.linspace(local[above, 0].max(), -0.75, 15)
        arc = np.stack([across, line + 0.28 * across**2], -1) * pose.scale
        ends = arc @ np.array([[c, s], [-s, c]]) + centre
        order = np.argsort(upper[:, 0])
        _fill(draw, np.concatenate([upper[order], ends]), looks.hair)

    def _features(
        self, picture: Image.Image, draw: ImageDraw.ImageDraw, shape: FaceShape, scale: float
    ) -> None:
        looks = self.looks
        faint, deep = _shade(looks.skin, 0.86), _shade(looks.skin, 0.34)
        for points, strength in shape.folds:
            width = (0.012 + 0.028 * strength) * scale
            _line(draw, points, _mix(faint, deep, strength), width)
        for nostril in shape.nostrils:
            _fill(draw, nostril, deep)
        for eye, iris, lid in zip(shape.eyes, shape.irises, shape.lids, strict=True):
            self._eye(picture, eye, iris, scale)
            _line(draw, lid, (34, 24, 22), 0.035 * scale)
            _line(draw, eye[len(lid) :], _shade(looks.skin, 0.55), 0.014 * scale)
        for brow in shape.brows:
            pairs = zip(_shade(looks.hair, 0.55), _shade(looks.skin, 0.45), strict=True)
            _fill(draw, brow, _colour(min(pair) for pair in pairs))
        self._lips(draw, shape, scale)

    def _eye(self, picture: Image.Image, eye: Points, iris: Points, scale: float) -> None:
        corner = np.floor(eye.min(0)).astype(int) - 1
        width, height = (np.ceil(eye.max(0)).astype(int) + 2 - corner).tolist()
        mask = Image.new("L", (width, height))
        _fill(ImageDraw.Draw(mask), eye - corner, 255)
        ball = Image.new("RGB", mask.size, (232, 228, 224))
        draw = ImageDraw.Draw(ball)
        ring = iris - corner
        _fill(draw, ring, self.looks.iris)
        middle = ring.mean(0)
        _fill(draw, middle + (ring - middle) * 0.45, (12, 10, 10))
        x, y = (middle - np.array([0.25, 0.2]) * np.ptp(ring, axis=0)).tolist()
        r = 0.024 * scale
        draw.ellipse((x - r, y - r, x + r, y + r), fill=(250, 250, 250))
        picture.paste(ball, _place(corner), mask)

    def _lips(self, draw: ImageDraw.ImageDraw, shape: FaceShape, scale: float) -> None:
        r, g, b = self.looks.skin
        _fill(draw, shape.lips, _colour((0.72 * r + 46, 0.5 * g + 4, 0.5 * b + 12)))
        if shape.teeth:
            _fill(draw, shape.mouth, (44, 14, 18))
            for teeth in shape.teeth:
                _fill(draw, teeth, (236, 230, 218))
        line = shape.lip_line if not shape.teeth else shape.mouth
        _line(draw, line, (70, 26, 28), 0.02 * scale)


def _fill(draw: ImageDraw.ImageDraw, points: Points, colour: Colour | int) -> None:
    if len(points) > 2:
        draw.polygon(_flat(points), fill=colour)


def _line(draw: ImageDraw.ImageDraw, points: Points, colour: Colour, width: float) -> None:
    draw.line(_flat(points), fill=colour, width=max(1, round(width)), joint="curve")


def _background(
    width: int, height: int, gain: npt.NDArray[np.float64], rng: np.random.Generator
) -> Image.Image:
    """A wall with blurred furniture, in muted colours."""

    def muted() -> Colour:
        return _colour(gain * (rng.uniform(50, 190) + rng.uniform(-28, 28, 3)))

    small = Image.new("RGB", (width // 4, height // 4), muted())
    draw = ImageDraw.Draw(small)
    for _ in range(int(rng.integers(3, 8))):
        x, y = rng.uniform(0, width / 4), rng.uniform(0, height / 4)
        w, h = rng.uniform(8, 45), rng.uniform(8, 60)
        draw.rectangle((x - w, y - h, x + w, y + h), fill=muted())
    small = small.filter(ImageFilter.GaussianBlur(float(rng.uniform(1.0, 4.0))))
    return small.resize((width, height), Image.Resampling.BICUBIC)


def _ring(centre: Points | tuple[float, float], rx: float, ry: float) -> Points:
    return _CIRCLE * (rx, ry) + centre


def _place(corner: npt.NDArray[np.int64]) -> tuple[int, int]:
    return int(corner[0]), int(corner[1])


def _flat(points: Points) -> list[float]:
    flat: list[float] = points.ravel().tolist()
    return flat


def _colour(values: Iterable[float]) -> Colour:
    r, g, b = (int(min(max(value, 0.0), 255.0)) for value in values)
    return r, g, b


def _shade(colour: Colour, factor: float) -> Colour:
    return _colour(value * factor for value in colour)


def _mix(a: Colour, b: Colour, share: float) -> Colour:
    return _colour(x * (1 - share) + y * share for x, y in zip(a, b, strict=True))
