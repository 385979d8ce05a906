"""The confusion matrix shows its shares, its clips and its names."""

from pathlib import Path

import pytest

from mesm.plots.confusion import draw_confusion, save_confusion
from mesm.plots.style import png_bytes

NAMES = ["angry", "happy", "sad"]
COUNTS = [[3, 1, 0], [0, 0, 0], [2, 2, 4]]


def test_cells_are_shares_of_their_row() -> None:
    (axes,) = draw_confusion(COUNTS, NAMES).axes
    shares = axes.images[0].get_array()
    assert shares.tolist() == [[0.75, 0.25, 0.0], [0.0, 0.0, 0.0], [0.25, 0.25, 0.5]]
    texts = {text.get_position(): text.get_text() for text in axes.texts}
    # Columns before rows; the emotion without clips has no figures.
    assert texts[0, 0] == "75 %\n3"
    assert texts[1, 0] == "25 %\n1"
    assert texts[0, 2] == "25 %\n2"
    assert len(texts) == 6
    assert [label.get_text() for label in axes.get_xticklabels()] == NAMES
    assert [label.get_text() for label in axes.get_yticklabels()] == [
        "angry (4)",
        "happy (0)",
        "sad (8)",
    ]


@pytest.mark.parametrize("emotions", [2, 8])
def test_names_stay_on_the_page(emotions: int) -> None:
    names = [f"frustrated {place}" for place in range(emotions)]
    figure = draw_confusion([[10000] * emotions] * emotions, names)
    canvas = figure.canvas
    canvas.draw()
    page = figure.bbox
    for axes in figure.axes:
        axis = (axes.xaxis.label, axes.yaxis.label)
        for label in (*axes.get_xticklabels(), *axes.get_yticklabels(), *axis):
            box = label.get_window_extent()
            assert box.x0 >= page.x0, label.get_text()
            assert box.y0 >= page.y0, label.get_text()
            assert box.x1 <= page.x1, label.get_text()
            assert box.y1 <= page.y1, label.get_text()


def test_it_is_written_by_its_split(tmp_path: Path) -> None:
    scores = {"split": "valid", "confusion": COUNTS, "emotions": dict.fromkeys(NAMES)}
    file = save_confusion(tmp_path, scores)
    assert file == tmp_path / "confusion" / "valid.png"
    assert file.read_bytes() == png_bytes(draw_confusion(COUNTS, NAMES))
