import shutil

import pytest

from mesm.corpora.miniature.generate import generate
from mesm.corpora.prepare import PrepareOptions, prepare
from mesm.corpora.prepared import PreparedCorpus


@pytest.fixture(scope="session")
def corpora(tmp_path_factory):
    """Give a raw corpus of a few clips and the prepared one, made once per layout."""
    made = {}

    def make(layout):
        if layout not in made:
            folder = tmp_path_factory.mktemp(layout)
            faults = layout == "iemocap"
            generate(folder / "raw", clips=5, seed=3, layout=layout, faults=faults, workers=1)
            options = PrepareOptions(min_face_size=80, workers=1)
            prepare(layout, folder / "raw", folder / "prepared", options)
            made[layout] = folder / "raw", folder / "prepared"
        return made[layout]

    return make


@pytest.fixture
def copies(corpora, tmp_path):
    """A raw corpus and its prepared one that a test may change."""

    def make(layout="iemocap"):
        raw, prepared = corpora(layout)
        shutil.copytree(raw, tmp_path / "raw")
        shutil.copytree(prepared, tmp_path / "prepared")
        return tmp_path / "raw", PreparedCorpus.open(tmp_path / "prepared")

    return make


@pytest.fixture
def openface_header():
    """OpenFace's own header, with the blanks it writes."""
    units = (1, 2, 4, 5, 6, 7, 9, 10, 12, 14, 15, 17, 20, 23, 25, 26)
    names = ["frame", "face_id", "timestamp", "confidence", "success", "pose_Tx"]
    names += [f"AU{unit:02d}_r" for unit in (*units, 45)]
    names += [f"AU{unit:02d}_c" for unit in (*units, 28, 45)]
    return names


@pytest.fixture
def write_openface(tmp_path, openface_header):
    """Write an OpenFace file from rows of (time, success, face_id, pose_Tx, value).

    A value is a hundred times the first intensity; the k-th is larger by 0.01 k; presences are 0.
    """

    def write(rows, *, header=None, name="clip.csv"):
        names = header or openface_header
        lines = [", ".join(names)]
        for i, (time, success, face, side, value) in enumerate(rows):
            first = [i + 1, face, f"{time:.3f}", 0.9, success, side]
            lines.append(
                ", ".join(
                    map(str, first + [value / 100 + 0.01 * k for k in range(17)] + [0.0] * 18)
                )
            )
        path = tmp_path / name
        path.write_text("\n".join(lines) + "\n")
        return path

    return write
