"""How raw media become inputs: kept with a run as its corpus has it."""

import json

import pytest

from mesm.corpora.prepared import PreparedCorpus
from mesm.data.preprocessing import Preprocessing
from mesm.runs.folder import RunFolder


def test_it_is_read_as_it_was_written(tiny_corpus, tmp_path):
    folder = RunFolder(tmp_path)
    assert Preprocessing.read(folder) is None
    found = Preprocessing.of(PreparedCorpus.open(tiny_corpus))
    assert (found.spectrogram_mean, found.spectrogram_std) == (-6.0, 1.5)
    # The manifest of an earlier corpus does not say these.
    assert (found.min_face_size, found.faces, found.lacking) == (20, "largest", ())
    found.write(folder)
    assert Preprocessing.read(folder) == found


@pytest.mark.parametrize(
    ("change", "message"),
    [({"spectrogram_mean": 1.0}, "not as it was written"), ({"faces": "all"}, "damaged, at faces")],
)
def test_damage_is_named(tiny_corpus, tmp_path, change, message):
    folder = RunFolder(tmp_path)
    Preprocessing.of(PreparedCorpus.open(tiny_corpus)).write(folder)
    values = json.loads(folder.preprocessing.read_text()) | change
    folder.preprocessing.write_text(json.dumps(values))
    with pytest.raises(ValueError, match=rf"preprocessing.json: .*{message}"):
        Preprocessing.read(folder)
