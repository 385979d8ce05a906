import json
import pickle
import shutil

import numpy as np
import pyarrow.parquet as pq
import pytest

from mesm.corpora.prepared import PreparedCorpus
from mesm.features import store as module
from mesm.features.manifest import FILES, FORMAT, Column, FeatureManifest, ModalityFeatures
from mesm.features.parquet import rows_table, text_table, words_table, write_table
from mesm.features.store import FeatureStore
from mesm.runs.hashes import sha256

AUDIO, VIDEO = 34, 35
WORDS = ["some", "angry", "excited", "frustrated", "happy", "neutral", "sad"]


def raw_values(clip_id, columns, rows=4):
    generator = np.random.default_rng([columns, *clip_id.encode()])
    values = generator.normal(3, 2, (rows, columns)).astype(np.float32)
    values[:, 5] = 7  # a constant column
    values[1] = np.nan  # nothing could be measured
    return values


def modality(columns, step, **changes):
    fields = {
        "columns": [Column(name=f"c{i}", formula="x") for i in range(columns)],
        "step": step,
        "mean": [7.0 if i == 5 else 0.5 * i for i in range(columns)],
        "std": [0.0 if i == 5 else 1.0 + i for i in range(columns)],
        "rows": 1,
        "rows_measured": 1,
        "clips_without_rows": [],
    }
    return ModalityFeatures(**{**fields, **changes})


@pytest.fixture(scope="module")
def corpus(tiny_corpus, tmp_path_factory):
    """A copy of the tiny corpus with made-up features beside it; one clip has no rows."""
    path = tmp_path_factory.mktemp("store") / "corpus"
    shutil.copytree(tiny_corpus, path)
    corpus = PreparedCorpus.open(path)
    clips = [clip for name in ("train", "valid", "test") for clip in corpus.split(name)]
    folder = path / "features"
    folder.mkdir()
    vectors = {w: np.full(300, i + 1, np.float32) for i, w in enumerate(WORDS)}
    empty = clips[-1].clip_id
    for name, columns in (("audio", AUDIO), ("video", VIDEO)):
        matrices = [
            (c.clip_id, raw_values(c.clip_id, columns)[: 0 if c.clip_id == empty else 4])
            for c in clips
        ]
        write_table(rows_table(matrices), folder / FILES[name])
    ids = {word: i for i, word in enumerate(WORDS)}
    spoken = [(c.clip_id, [] if c.clip_id == empty else ["some", "zzz", "sad"]) for c in clips]
    write_table(text_table(spoken, ids), folder / FILES["text"])
    write_table(words_table(vectors), folder / FILES["words"])
    manifest = FeatureManifest(
        format=FORMAT,
        prepared=sha256(path / "manifest.json"),
        feature_set="made up",
        notes=[],
        text=modality(300, None, mean=[], std=[]),
        audio=modality(AUDIO, 0.4),
        video=modality(VIDEO, 0.1),
        words=7,
        tokens=3,
        out_of_vocabulary={"zzz": 1},
        skipped=[],
        options={},
        files={name: sha256(folder / name) for name in FILES.values()},
    )
    (folder / "features.json").write_text(manifest.model_dump_json())
    return path


def test_what_it_is_and_how_wide(corpus):
    store = FeatureStore.open(PreparedCorpus.open(corpus))
    assert store.dims == {"text": 300, "audio": AUDIO, "video": VIDEO}
    assert store.feature_set == "made up"
    assert store.manifest.audio.step == 0.4


def test_rows_are_normalised_and_gaps_are_the_mean(corpus):
    store = FeatureStore.open(PreparedCorpus.open(corpus))
    for _ in range(2):  # from the file, then from memory
        features = store.clip("train_001")
        for name, columns in (("audio", AUDIO), ("video", VIDEO)):
            got, raw = getattr(features, name), raw_values("train_001", columns)
            assert got.dtype == np.float32
            assert got.shape == (4, columns)
            for row in range(4):
                for c in range(columns):
                    gap = row == 1 or c == 5
                    wanted = 0.0 if gap else (raw[row, c] - 0.5 * c) / (1.0 + c)
                    # One rounding to float32.
                    assert got[row, c] == pytest.approx(wanted, rel=1e-6, abs=1e-6)
        features.audio[:] = 99  # the caller's own


def test_words_become_vectors_and_unknown_ones_zeros(corpus):
    store = FeatureStore.open(PreparedCorpus.open(corpus))
    features = store.clip("valid_000")
    assert features.words == ["some", "zzz", "sad"]
    assert features.text.dtype == np.float32
    assert np.array_equal(features.text[:, 0], [1, 0, 7])
    assert features.text.shape == (3, 300)
    emotions = store.emotion_vectors()
    assert np.array_equal(emotions[:, 17], [2, 3, 4, 5, 6, 7])
    features.text[:] = 5
    assert store.clip("valid_000").text[0, 0] == 1


def test_a_clip_without_rows_gets_one_of_zeros(corpus):
    store = FeatureStore.open(PreparedCorpus.open(corpus))
    features = store.clip("test_006")
    assert features.words == []
    assert not features.text.any()
    assert features.text.shape == (1, 300)
    assert features.audio.shape == (1, AUDIO)
    assert features.video.shape == (1, VIDEO)
    assert not features.audio.any()
    assert not features.video.any()


def test_it_can_be_sent_to_a_worker(corpus):
    store = FeatureStore.open(PreparedCorpus.open(corpus))
    first = store.clip("train_000")
    sent = pickle.loads(pickle.dumps(store))
    assert np.array_equal(sent.clip("train_000").audio, first.audio)
    assert np.array_equal(sent.clip("train_002").text, store.clip("train_002").text)


def test_memory_is_bounded(corpus, monkeypatch):
    monkeypatch.setattr(module, "CACHE_BYTES", 3000)
    store = FeatureStore.open(PreparedCorpus.open(corpus))
    wanted = [store.clip(f"train_{i:03d}").video for i in range(12)]
    assert store._bytes <= 3000
    again = FeatureStore.open(PreparedCorpus.open(corpus))
    for i in reversed(range(12)):
        assert np.array_equal(again.clip(f"train_{i:03d}").video, wanted[i])


def test_unknown_clips_are_refused(corpus):
    store = FeatureStore.open(PreparedCorpus.open(corpus))
    with pytest.raises(ValueError, match=r"text\.parquet has no clip 'nobody'"):
        store.clip("nobody")


def test_no_features_stale_features_and_broken_ones_are_refused(corpus, tiny_corpus, tmp_path):
    with pytest.raises(
        ValueError, match=r"has no hand-crafted features; run mesm features .*--raw"
    ):
        FeatureStore.open(PreparedCorpus.open(tiny_corpus))
    path = tmp_path / "copy"
    shutil.copytree(corpus, path)
    manifest = path / "manifest.json"
    manifest.write_text(manifest.read_text() + "\n")
    with pytest.raises(ValueError, match=r"made for another preparation.*; run mesm features"):
        FeatureStore.open(PreparedCorpus.open(path))
    shutil.copy(corpus / "manifest.json", manifest)
    (path / "features" / "video.parquet").unlink()
    with pytest.raises(ValueError, match=r"whole: video\.parquet is not there; delete .* and run"):
        FeatureStore.open(PreparedCorpus.open(path))
    file = path / "features" / "features.json"
    before = json.loads(file.read_text())
    file.write_text(json.dumps({**before, "format": 99}))
    with pytest.raises(ValueError, match=r"features\.json has format 99, wanted 2; delete"):
        FeatureStore.open(PreparedCorpus.open(path))
    file.write_text("{}")
    with pytest.raises(ValueError, match=r"features\.json is not a manifest of features: "):
        FeatureStore.open(PreparedCorpus.open(path))


def test_one_clip_is_read_without_its_whole_file(corpus):
    clips = [(f"c{i}", np.zeros((2, 3), np.float32)) for i in range(70)]
    write_table(rows_table(clips), corpus / "many.parquet")
    assert pq.read_metadata(corpus / "many.parquet").num_row_groups == 3
    (corpus / "many.parquet").unlink()
