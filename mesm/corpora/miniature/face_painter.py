"""Paints a person, from a FaceShape, into a still scene with its own light, background and camera.

Soft shading is drawn small and enlarged; what has edges is drawn over it. Gain and tint of the
camera go into the colours beforehand, so that a picture costs only its drawing.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageChops, ImageDraw, ImageFilter

from mesm.corpora.miniature.face_geometry import FaceShape, Identity, Points, Pose

Colour: TypeAlias = tuple[int, int, int]
Picture: TypeAlias = npt.NDArray[np.uint8]  # (height, width, 3)

_SMALL = 4  # undersampling of what is soft
_FULL = 200  # level of unshaded skin; above it is highlight
_GRAIN_LEVEL = 16

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

    def __init__(self, looks: Looks, width: int, height: int, rng: np.random.Generator) -> None:
        """Set the scene.

        Args:
            looks: of the person.
            width: of the picture, in pixels.
            height: of the picture, in pixels.
            rng: draws background, light and camera.
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
        grain = rng.normal(_GRAIN_LEVEL, 2.5, (height, width, 1)).clip(0, 2 * _GRAIN_LEVEL)
        self._grain = Image.fromarray(grain.repeat(3, axis=2).astype(np.uint8))
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
        self._body(picture, pose)
        s = pose.scale
        x0, y0 = max(0, int(pose.x - 1.3 * s)), max(0, int(pose.y - 1.75 * s))
        x1, y1 = min(self.width, int(pose.x + 1.3 * s)), min(self.height, int(pose.y + 1.95 * s))
        head = self._head(picture.crop((x0, y0, x1, y1)), shape, pose, (x0, y0))
        picture.paste(head, (x0, y0))
        return self._develop(picture)

    def _develop(self, picture: Image.Image) -> Picture:
        return np.asarray(ImageChops.add(picture, self._grain, 1, -_GRAIN_LEVEL))

    def _body(self, picture: Image.Image, pose: Pose) -> None:
        draw = ImageDraw.Draw(picture)
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
        self, patch: Image.Image, shape: FaceShape, pose: Pose, corner: tuple[int, int]
    ) -> Image.Image:
        skin = self._skin(shape, pose, corner, patch.size)
        pen = _Pen(ImageDraw.Draw(patch), corner)
        looks = self.looks
        centre, scale = np.array([pose.x, pose.y]), pose.scale
        for side in (-1, 1):
            ear = _ring(centre + np.array([side * 0.98, 0.06]) * scale, 0.13 * scale, 0.26 * scale)
            pen.fill(ear, _shade(looks.skin, 0.8))
        crown = centre + (shape.outline - centre) * 1.1 - [0, 0.1 * scale]
        pen.fill(crown[crown[:, 1] < pose.y - 0.05 * scale], looks.hair)
        mask = Image.new("L", patch.size)
        _Pen(ImageDraw.Draw(mask), corner).fill(shape.outline, 255)
        patch.paste(skin, (0, 0), mask)
        self._hairline(pen, shape, pose)
        self._features(patch, pen, shape, scale)
        return patch.filter(ImageFilter.BoxBlur(0.7))

    def _skin(
        self, shape: FaceShape, pose: Pose, corner: tuple[int, int], size: tuple[int, int]
    ) -> Image.Image:
        """The soft part: a lit ellipsoid with sockets, nose, cheeks and the folds' shadows."""
        w, h = -(-size[0] // _SMALL), -(-size[1] // _SMALL)
        x = ((np.arange(w, dtype=np.float32) + 0.5) * _SMALL + corner[0] - pose.x) / pose.scale
        y = ((np.arange(h, dtype=np.float32) + 0.5) * _SMALL + corner[1] - pose.y) / pose.scale
        u, v = x[None, :], y[:, None] / self.looks.identity.height
        depth = np.sqrt(np.maximum(0, 1 - u**2 - v**2))
        light = 0.76 + 0.3 * depth + self._light[0] * u + self._light[1] * v
        shade = Image.new("L", (w, h), _FULL)
        draw = ImageDraw.Draw(shade)

        def soft(points: Points, strength: float) -> None:
            draw.polygon(_flat((points - corner) / _SMALL), fill=int(_FULL * (1 - strength)))

        for eye, brow in zip(shape.eyes, shape.brows, strict=True):
            middle = (eye.mean(0) + brow.mean(0)) / 2
            soft(_ring(middle, 0.3 * pose.scale, 0.15 * pose.scale), 0.2)
            soft(_ring(eye.mean(0), 0.28 * pose.scale, 0.13 * pose.scale), 0.22)
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
            tone = tone * (1 - self.looks.stubble * np.clip((y[:, None] - 0.45) * 4, 0, 1))
        rgb = np.asarray(self.looks.skin, np.float32) * tone[..., None]
        warm = np.exp(-(((np.abs(u) - 0.55) / 0.2) ** 2) - ((y[:, None] - 0.33) / 0.2) ** 2)
        rgb = rgb + warm[..., None] * np.array([10, -6, -4], np.float32)
        image = Image.fromarray(np.clip(rgb, 0, 255).astype(np.uint8))
        return image.resize((w * _SMALL, h * _SMALL), Image.Resampling.BILINEAR).crop((0, 0, *size))

    def _hairline(self, pen: _Pen, shape: FaceShape, pose: Pose) -> None:
        looks = self.looks
        line = -looks.fringe * looks.identity.height
        centre = np.array([pose.x, pose.y])
        c, s = np.cos(pose.roll), np.sin(pose.roll)
        local = (shape.outline - centre) @ np.array([[c, -s], [s, c]]) / pose.scale
        upper = shape.outline[local[:, 1] < line * 0.72]
        if len(upper) < 3:
            return
        across = np.linspace(local[local[:, 1] < line * 0.72, 0].max(), -0.75, 15)
        arc = np.stack([across, line + 0.28 * across**2], -1) * pose.scale
        ends = arc @ np.array([[c, s], [-s, c]]) + centre
        order = np.argsort(upper[:, 0])
        pen.fill(np.concatenate([upper[order], ends]), looks.hair)

    def _features(self, canvas: Image.Image, pen: _Pen, shape: FaceShape, scale: float) -> None:
        looks = self.looks
        for points, strength in shape.folds:
            tone = _mix(_shade(looks.skin, 0.86), _shade(looks.skin, 0.34), strength)
            pen.line(points, tone, (0.012 + 0.028 * strength) * scale)
        for nostril in shape.nostrils:
            pen.fill(nostril, _shade(looks.skin, 0.34))
        for eye, iris, lid in zip(shape.eyes, shape.irises, shape.lids, strict=True):
            self._eye(canvas, pen, eye, iris)
            pen.line(lid, (34, 24, 22), 0.035 * scale)
            pen.line(eye[17:], _shade(looks.skin, 0.55), 0.014 * scale)
        for brow in shape.brows:
            pen.fill(brow, _colour(np.minimum(_shade(looks.hair, 0.55), _shade(looks.skin, 0.45))))
        self._lips(pen, shape, scale)

    def _eye(self, canvas: Image.Image, pen: _Pen, eye: Points, iris: Points) -> None:
        outline = pen.place(eye)
        x0, y0 = np.floor(outline.min(0)).astype(int) - 1
        x1, y1 = np.ceil(outline.max(0)).astype(int) + 2
        mask = Image.new("L", (int(x1 - x0), int(y1 - y0)))
        ImageDraw.Draw(mask).polygon(_flat(outline - [x0, y0]), fill=255)
        ball = Image.new("RGB", mask.size, (232, 228, 224))
        draw = ImageDraw.Draw(ball)
        ring = pen.place(iris) - [x0, y0]
        draw.polygon(_flat(ring), fill=self.looks.iris)
        middle = ring.mean(0)
        draw.polygon(_flat(middle + (ring - middle) * 0.45), fill=(12, 10, 10))
        glint = middle - np.array([0.25, 0.2]) * np.ptp(ring, axis=0)
        draw.ellipse((*(glint - 2), *(glint + 2)), fill=(250, 250, 250))
        canvas.paste(ball, (int(x0), int(y0)), mask)

    def _lips(self, pen: _Pen, shape: FaceShape, scale: float) -> None:
        skin = np.array(self.looks.skin)
        lip = _colour(skin * [0.72, 0.5, 0.5] + [46, 4, 12])
        pen.fill(shape.lips, lip)
        if shape.teeth:
            pen.fill(shape.mouth, (44, 14, 18))
            for teeth in shape.teeth:
                pen.fill(teeth, (236, 230, 218))
        pen.line(shape.lip_line if not shape.teeth else shape.mouth, (70, 26, 28), 0.02 * scale)


class _Pen:
    """Draws in picture pixels on a patch of the picture."""

    def __init__(self, draw: ImageDraw.ImageDraw, corner: tuple[int, int]) -> None:
        self._draw = draw
        self._corner = np.array(corner)

    def place(self, points: Points) -> Points:
        return points - self._corner

    def fill(self, points: Points, colour: Colour | int) -> None:
        if len(points) > 2:
            self._draw.polygon(_flat(self.place(points)), fill=colour)

    def line(self, points: Points, colour: Colour, width: float) -> None:
        self._draw.line(
            _flat(self.place(points)),
            fill=colour,
            width=max(1, round(width)),
            joint="curve",
        )


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


def _ring(centre: npt.ArrayLike, rx: float, ry: float) -> Points:
    angle = np.linspace(0, 2 * np.pi, 21)[:-1]
    return np.asarray(centre) + np.stack([rx * np.cos(angle), ry * np.sin(angle)], -1)


def _flat(points: Points) -> list[float]:
    flat: list[float] = points.ravel().tolist()
    return flat


def _colour(values: npt.ArrayLike) -> Colour:
    r, g, b = np.clip(np.asarray(values), 0, 255).astype(int)
    return int(r), int(g), int(b)


def _shade(colour: Colour, factor: float) -> Colour:
    return _colour(np.array(colour) * factor)


def _mix(a: Colour, b: Colour, share: float) -> Colour:
    return _colour(np.array(a) * (1 - share) + np.array(b) * share)
