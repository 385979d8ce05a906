"""The camera sees the face that was laid out, and everything else stands still."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from mesm.corpora.miniature.action_units import NAMES
from mesm.corpora.miniature.face_geometry import Pose, face_shape
from mesm.corpora.miniature.face_painter import Looks, Scene

WIDTH, HEIGHT = 201, 222
POSE = Pose(100.0, 105.0, 46.0)


def person(seed=0, long_hair=False):
    return Looks.draw(np.random.default_rng(seed), long_hair=long_hair)


def scene(looks, seed=1):
    return Scene(looks, WIDTH, HEIGHT, np.random.default_rng(seed))


def paint(looks, units=None, pose=POSE, seed=1, **face):
    shape = face_shape(looks.identity, pose, units or {}, **face)
    return scene(looks, seed).paint(shape, pose), shape


def mask(boxes, grow=0):
    inside = np.zeros((HEIGHT, WIDTH), bool)
    for x0, y0, x1, y1 in boxes:
        inside[int(y0) - grow : int(y1) + 2 + grow, int(x0) - grow : int(x1) + 2 + grow] = True
    return inside


def change(a, b):
    return np.abs(a.astype(float) - b).max(2)


def colour_at(picture, u, v):
    """Mean colour around a point in half face widths from the head's centre."""
    x, y = round(POSE.x + u * POSE.scale), round(POSE.y + v * POSE.scale)
    return picture[y - 3 : y + 4, x - 3 : x + 4].reshape(-1, 3).astype(float).mean(0)


def test_a_picture_is_rgb_of_the_scenes_size():
    painted = scene(person())
    shape = face_shape(painted.looks.identity, POSE, {})
    for picture in (painted.empty(), painted.paint(shape, POSE)):
        assert picture.shape == (HEIGHT, WIDTH, 3)
        assert picture.dtype == np.uint8


def test_painting_leaves_no_trace():
    painted = scene(person())
    shape = face_shape(painted.looks.identity, POSE, {12: 1.0})
    empty, first = painted.empty(), painted.paint(shape, POSE)
    other = Pose(60.0, 90.0, 40.0)
    painted.paint(face_shape(painted.looks.identity, other, {}), other)
    np.testing.assert_array_equal(painted.empty(), empty)
    np.testing.assert_array_equal(painted.paint(shape, POSE), first)


def test_seeds_fix_the_person_and_the_scene():
    np.testing.assert_array_equal(paint(person())[0], paint(person())[0])
    assert change(paint(person(0))[0], paint(person(2))[0]).mean() > 5
    assert change(scene(person(), 1).empty(), scene(person(), 2).empty()).mean() > 5


def test_the_sensor_fixes_how_many_numbers_a_scene_draws():
    """Later numbers of the same stream do not depend on the picture's size."""
    after = []
    for size in ((30, 40), (45, 60)):
        rng = np.random.default_rng(0)
        scene = Scene(person(), *size, rng, sensor=(45, 60))
        assert scene.empty().shape == (size[1], size[0], 3)
        after.append(rng.random())
    assert after[0] == after[1]


def test_people_and_scenes_differ():
    pictures = [paint(person(seed), seed=seed)[0] for seed in range(4)]
    for i, a in enumerate(pictures):
        for b in pictures[i + 1 :]:
            assert change(a, b).mean() > 10


def test_the_person_covers_the_head_and_what_is_under_it():
    looks = person()
    shape = face_shape(looks.identity, POSE, {})
    moved = change(scene(looks).paint(shape, POSE), scene(looks).empty())
    far = np.ones_like(moved, bool)
    far[int(POSE.y - 1.75 * POSE.scale) :, int(POSE.x - 1.95 * POSE.scale) :] = False
    far[:, int(POSE.x + 1.95 * POSE.scale) :] = True
    assert (moved[far] == 0).all()
    x0, y0, x1, y1 = shape.outline.min(0).tolist() + shape.outline.max(0).tolist()
    face = mask([(x0 + 15, y0 + 15, x1 - 15, y1 - 15)])
    assert (moved[face] > 0).mean() > 0.9


def test_colours_are_the_persons():
    """Side by side, so that light and camera, which are the same, do not matter."""
    dark, light = (
        replace(person(), skin=skin, hair=(60, 40, 30), clothes=clothes, stubble=0.0)
        for skin, clothes in (((120, 80, 60), (40, 40, 160)), ((230, 200, 180), (160, 40, 40)))
    )
    one, other = paint(dark)[0], paint(light)[0]
    for u in (-0.5, 0.5):
        assert (colour_at(other, u, 0.5) > colour_at(one, u, 0.5) + 60).all()
    red, _, blue = colour_at(other, 0, 2.15) - colour_at(one, 0, 2.15)
    assert red > 60
    assert blue < -60


def test_long_hair_falls_beside_the_neck():
    short = replace(person(), hair=(20, 10, 10), long_hair=False)
    beside = [paint(replace(short, long_hair=long))[0] for long in (False, True)]
    for u in (-1.1, 1.1):
        # The camera's gain is at most 1.12 * 1.04, the grain a few levels.
        assert colour_at(beside[1], u, 1.2).max() < 35
        assert colour_at(beside[0], u, 1.2).max() > 45
    middle = [(POSE.x - 20, POSE.y - 30, POSE.x + 20, POSE.y + 30)]
    assert (change(*beside)[mask(middle)] == 0).all()


def test_only_short_haired_people_have_stubble_and_it_darkens_the_jaw():
    rng = np.random.default_rng(0)
    assert {Looks.draw(rng, long_hair=True).stubble for _ in range(30)} == {0.0}
    assert {Looks.draw(rng, long_hair=False).stubble for _ in range(30)} == {0.0, 0.12, 0.25}
    smooth, rough = (paint(replace(person(), stubble=x))[0] for x in (0.0, 0.25))
    assert colour_at(rough, 0.45, 0.9).mean() < 0.9 * colour_at(smooth, 0.45, 0.9).mean()
    np.testing.assert_allclose(colour_at(rough, 0.4, 0.1), colour_at(smooth, 0.4, 0.1), atol=1)


def test_the_camera_does_not_change_the_person():
    looks = person()
    seen = scene(looks).looks
    assert seen.identity == looks.identity
    gain = np.array(seen.skin) / looks.skin
    assert (abs(gain - 1) < 0.18).all()
    assert seen.skin != looks.skin


@pytest.mark.parametrize("unit", NAMES)
def test_each_action_unit_is_painted_in_its_regions(unit):
    looks = person(1)
    rest, _ = paint(looks)
    moved, shape = paint(looks, {unit: 1.0})
    seen = change(moved, rest)
    inside, face = mask(shape.regions[unit]), mask([shape.face_box])
    assert (seen[inside] > 25).sum() >= 20
    assert seen[inside].mean() > 5 * seen[face & ~inside].mean()


def test_stronger_folds_are_darker():
    looks = person()
    skin = paint(looks)[0].astype(float)
    weak, strong = (paint(looks, {4: x})[0] for x in (0.3, 1.0))
    glabella = mask([paint(looks, {4: 1.0})[1].regions[4][0]])
    darkening = [np.maximum(skin - face, 0)[glabella].mean() for face in (weak, strong)]
    assert darkening[1] > 1.5 * darkening[0] > 0


def test_teeth_are_bright_and_shut_eyes_show_no_white():
    looks = replace(person(), skin=(140, 100, 80))
    shut, _ = paint(looks)
    opened, shape = paint(looks, {25: 1.0, 26: 1.0})
    teeth = mask([(*shape.teeth[0].min(0), *shape.teeth[0].max(0))], -1)
    assert opened[teeth].min(-1).max() > 180 > shut[teeth].min(-1).max() + 20
    eyes = mask([(*eye.min(0), *eye.max(0)) for eye in shape.eyes])
    blinking, _ = paint(looks, blink=1.0)
    assert (shut[eyes].min(-1) > 170).sum() > 10
    assert (blinking[eyes].min(-1) > 170).sum() == 0


@pytest.mark.parametrize(("x", "y"), [(5.0, 8.0), (198.0, 215.0)])
def test_a_head_at_the_edge_is_cut_off(x, y):
    pose = Pose(x, y, 46.0)
    picture, _ = paint(person(), pose=pose)
    assert picture.shape == (HEIGHT, WIDTH, 3)
    assert change(picture, scene(person()).empty()).max() > 50
