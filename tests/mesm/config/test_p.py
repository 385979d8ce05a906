"""p in each of its forms."""

import math
from typing import Any

import pytest

from mesm.config.p import change_p, p_text, per_block, read_p, uniform_p

FORMS: list[tuple[Any, tuple[float, ...], tuple[float, ...], str, float | None]] = [
    (0.5, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5), "0.5", 0.5),
    (1, (1.0, 1.0, 1.0), (1.0, 1.0, 1.0), "1", 1.0),
    ([0.7, 0.5, 0.25], (0.7, 0.5, 0.25), (0.7, 0.5, 0.25), "0.7/0.5/0.25", None),
    ([0.3, 0.3, 0.3], (0.3, 0.3, 0.3), (0.3, 0.3, 0.3), "0.3", 0.3),
    (
        {"face": [0.7, 0.5, 0.5], "audio": 0.3},
        (0.7, 0.5, 0.5),
        (0.3, 0.3, 0.3),
        "face 0.7/0.5/0.5, audio 0.3",
        None,
    ),
    ({"face": 0.4, "audio": [0.4] * 3}, (0.4, 0.4, 0.4), (0.4, 0.4, 0.4), "0.4", 0.4),
]


@pytest.mark.parametrize(("value", "face", "audio", "text", "uniform"), FORMS)
def test_each_form(value, face, audio, text, uniform) -> None:
    p = read_p(value, ["face", "audio"])
    assert p == value
    assert per_block(p, "face") == face
    assert per_block(p, "audio") == audio
    assert p_text(p) == text
    assert uniform_p(p) == uniform
    assert read_p(p) == p


@pytest.mark.parametrize(("value", "face", "audio", "text", "uniform"), FORMS)
def test_change_keeps_the_form(value, face, audio, text, uniform) -> None:
    half = change_p(read_p(value), lambda number: number / 2)
    assert type(half) is (float if isinstance(value, int) else type(value))
    assert per_block(half, "face") == tuple(number / 2 for number in face)
    assert per_block(half, "audio") == tuple(number / 2 for number in audio)


def test_a_number_yaml_takes_for_a_text() -> None:
    assert read_p("5e-1") == 0.5


@pytest.mark.parametrize("number", [0, -0.1, 1.0001, math.nan, math.inf])
@pytest.mark.parametrize("form", [lambda n: n, lambda n: [0.5, n, 0.5], lambda n: {"face": n}])
def test_refuses_numbers_outside_0_to_1(form, number) -> None:
    with pytest.raises(ValueError, match=r"p must be in \(0, 1\], got"):
        read_p(form(number))


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ([0.5, 0.5], r"p per block must be 3 numbers, got \[0\.5, 0\.5\]"),
        ([], "p per block must be 3 numbers"),
        ("half", "p must be a number, 3 of them, or .* got 'half'"),
        (None, "p must be a number.* got None"),
        (True, "p must be a number.* got True"),
        ([0.5, [0.5], 0.5], r"p must be a number.* got \[0\.5\]"),
        ({}, "p per modality must name face and audio, got {}"),
        ({"face": 0.5, "text": 0.5}, "p per modality must name face and audio"),
        ({"audio": 0.5}, "p has none for face, got"),
    ],
)
def test_refuses_other_forms(value, message) -> None:
    with pytest.raises(ValueError, match=message):
        read_p(value, ["face"])
