"""The picture of the block shows what the op keeps."""

from pathlib import Path
from xml.etree import ElementTree

from benchmarks.studies.block_picture import PICTURE, SIDE, attention, drawing, main


def test_it_shows_a_share_of_the_sites_that_holds_p_of_the_attention() -> None:
    mass, kept = attention()
    assert 0.5 <= float(mass[kept].sum()) < 0.6
    assert 4 <= int(kept.sum()) < SIDE * SIDE / 4
    assert float(mass[kept].min()) >= float(mass[~kept].max())


def test_it_is_a_picture_with_every_step(tmp_path: Path) -> None:
    main(tmp_path / "block.svg")
    root = ElementTree.fromstring((tmp_path / "block.svg").read_text())
    text = " ".join(root.itertext())
    for step in ("text", "attention", "top-p", "sparse convolution"):
        assert step in text
    assert "prefers-color-scheme: dark" in drawing()


def test_it_stands_in_the_documents() -> None:
    ElementTree.fromstring(PICTURE.read_text())
