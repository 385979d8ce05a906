import json

import pytest

from mesm.corpora.manifest import FORMAT, Averages, FaceCounts, Manifest, SplitCounts, read_manifest
from mesm.runs.hashes import sealed

CONTENT = Manifest(
    format=FORMAT,
    corpus="iemocap",
    emotions=["happy"],
    counts={"train": SplitCounts(clips=2, labels={"happy": 1}, no_emotion=1)},
    averages={"all": Averages(words=3.0, seconds=2.5)},
    spectrogram_mean=-8.0,
    spectrogram_std=3.0,
    faces=FaceCounts(frames=4, found=3, clips_without=[]),
    skipped=[],
    skipped_by_reason={},
    other_labels={},
    unlisted=[],
    missing=[],
    notes=[],
    options={},
    files={},
).model_dump(mode="json")


@pytest.fixture
def write(tmp_path):
    """Writes a manifest and reads it again."""

    def written(content):
        (tmp_path / "manifest.json").write_text(json.dumps(content))
        return read_manifest(tmp_path)

    return written


def test_comes_back(write, tmp_path):
    assert read_manifest(tmp_path) is None
    assert write(CONTENT).model_dump(mode="json") == CONTENT
    seal = sealed({name: value for name, value in CONTENT.items() if name != "digest"})
    assert write(seal).digest is not None
    with pytest.raises(ValueError, match=r"manifest\.json is not as it was written: "):
        write({**seal, "spectrogram_mean": -7.0})


def test_manifests_of_another_kind_are_refused(write):
    with pytest.raises(ValueError, match="has format 99, wanted 1"):
        write({**CONTENT, "format": 99})
    with pytest.raises(ValueError, match="is not the manifest of a prepared corpus"):
        write({})


def test_values_that_no_preparation_writes_are_refused(write):
    with pytest.raises(ValueError, match=r"spectrogram_std: wanted at least 1e-06, got 0\.0"):
        write({**CONTENT, "spectrogram_std": 0.0})
    with pytest.raises(ValueError, match="is not the manifest of a prepared corpus: corpus: "):
        write({**CONTENT, "corpus": "letters"})


def test_the_identity_is_of_what_a_run_reads():
    first = Manifest(**CONTENT).identity
    remarks = {"notes": ["new"], "raw": "hash", "averages": {}, "digest": "hash"}
    assert Manifest(**CONTENT | remarks).identity == first
    for change in (
        {"files": {"data/train-00000-of-00001.parquet": "hash"}},
        {"emotions": ["sad"]},
        {"spectrogram_mean": -7.0},
        {"spectrogram_std": 2.0},
        {"single_label": True},
        {"corpus": "mosei"},
    ):
        assert Manifest(**CONTENT | change).identity != first
