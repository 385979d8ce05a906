"""Figures look alike, touch nothing global, and their files are whole and repeatable."""

import io
from pathlib import Path

import matplotlib
import numpy as np
import pytest
from matplotlib import colors, pyplot
from matplotlib.figure import Figure
from PIL import Image

from mesm.plots import style
from mesm.plots.style import DPI, new_figure, png_bytes, save_png, tidy


def drawn(value: float = 1.0) -> Figure:
    figure = new_figure(2, 1.5)
    axes = figure.add_subplot()
    axes.plot([0, 1], [0, value])
    tidy(axes)
    return figure


def pixels(png: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(png)).convert("RGB"))


def test_size_is_in_inches_and_the_ground_white() -> None:
    picture = pixels(png_bytes(new_figure(2, 1.5)))
    assert picture.shape == (1.5 * DPI, 2 * DPI, 3)
    assert (picture == 255).all()


@pytest.mark.parametrize("constrained", [True, False])
def test_layout_is_constrained_unless_told_otherwise(constrained: bool) -> None:
    engine = new_figure(2, 1.5, constrained=constrained).get_layout_engine()
    assert (engine is not None) == constrained
    assert new_figure(2, 1.5).get_layout_engine() is not None


def test_figures_leave_matplotlibs_global_state_alone(tmp_path: Path) -> None:
    before, figures = dict(matplotlib.rcParams), pyplot.get_fignums()
    save_png(drawn(), tmp_path / "a.png")
    assert dict(matplotlib.rcParams) == before
    assert pyplot.get_fignums() == figures


def test_figures_made_alike_give_the_same_bytes_and_others_do_not() -> None:
    assert png_bytes(drawn()) == png_bytes(drawn())
    assert png_bytes(drawn(2.0)) != png_bytes(drawn())


def test_files_do_not_name_the_version_that_wrote_them() -> None:
    png = png_bytes(drawn())
    assert png.startswith(b"\x89PNG")
    assert "Software" not in Image.open(io.BytesIO(png)).info
    assert matplotlib.__version__.encode() not in png


def test_tidy_keeps_two_spines_and_a_grid_behind_the_data() -> None:
    (axes,) = drawn().axes
    assert {side for side, spine in axes.spines.items() if spine.get_visible()} == {
        "left",
        "bottom",
    }
    assert all(line.get_visible() for line in axes.get_xgridlines())
    assert axes.get_axisbelow() is True


def test_axes_that_are_not_tidied_keep_all_spines() -> None:
    axes = new_figure(2, 1.5).add_subplot()
    assert all(spine.get_visible() for spine in axes.spines.values())


def test_save_makes_the_folder_and_writes_the_png_alone(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "er" / "figure.png"
    assert save_png(drawn(), path) == path
    assert path.read_bytes() == png_bytes(drawn())
    assert [file.name for file in path.parent.iterdir()] == ["figure.png"]


def test_a_figure_that_cannot_be_drawn_leaves_the_old_file(tmp_path: Path) -> None:
    path = save_png(drawn(), tmp_path / "figure.png")
    old = path.read_bytes()
    broken = drawn(3.0)
    broken.axes[0].set_title(r"$\nosuchcommand$")
    with pytest.raises(ValueError, match="nosuchcommand"):
        save_png(broken, path)
    assert path.read_bytes() == old
    assert [file.name for file in tmp_path.iterdir()] == ["figure.png"]


def luminance(colour: str) -> float:
    """Relative luminance as the Web Content Accessibility Guidelines define it."""
    channels = np.array(colors.to_rgb(colour))
    linear = np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)
    return float(linear @ [0.2126, 0.7152, 0.0722])


def test_lines_and_words_stand_out_from_white() -> None:
    """The guidelines ask 3:1 of graphics and 4.5:1 of words."""
    for colour in (style.MESM_COLOUR, style.FE2E_COLOUR, style.EXTRA_COLOUR, style.FAINT):
        assert 1.05 / (luminance(colour) + 0.05) >= 3
    assert 1.05 / (luminance(style.INK) + 0.05) >= 4.5


def test_the_models_colours_differ_to_colour_blind_eyes_too() -> None:
    """Deuteranopes keep the difference of blue and yellow: orange and blue lie far apart on it."""

    def blue_to_yellow(colour: str) -> float:
        red, green, blue = colors.to_rgb(colour)
        return (red + green) / 2 - blue

    assert blue_to_yellow(style.MESM_COLOUR) - blue_to_yellow(style.FE2E_COLOUR) > 0.5
