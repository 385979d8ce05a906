import json
from dataclasses import replace

import pytest

from mesm.corpora import parts
from mesm.corpora.prepared import PreparedCorpus
from mesm.features.make import FeatureOptions, make_features
from mesm.features.sources import find_inputs, find_sources, listing


def test_defaults_lie_beside_the_raw_corpus(corpora, tmp_path):
    raw, _ = corpora("iemocap")
    inputs = find_inputs(raw, None, None, None)
    assert (inputs.openface, inputs.glove) == (raw / "OpenFace", raw / "glove.txt.gz")
    assert inputs.phonet is None
    assert set(inputs.synthetic) == {"openface", "glove"}
    (tmp_path / "mine.txt").touch()
    inputs = find_inputs(raw, tmp_path, tmp_path / "mine.txt", tmp_path)
    # The user's own files are not synthetic.
    assert inputs.synthetic == ()
    bare = tmp_path / "bare"
    (bare / "OpenFace").mkdir(parents=True)
    (bare / "glove.txt").touch()
    (bare / "glove.txt.gz").touch()
    inputs = find_inputs(bare, None, None, None)
    assert inputs.glove.name == "glove.txt"
    assert inputs.synthetic == ()


@pytest.mark.parametrize("layout", ["iemocap", "mosei"])
def test_every_prepared_clip_has_its_place(corpora, layout):
    raw, prepared = corpora(layout)
    corpus = PreparedCorpus.open(prepared)
    _, clips, lacking = find_sources(corpus, find_inputs(raw, None, None, None))
    assert lacking == []
    truths = map(json.loads, (raw / "ground_truth.jsonl").read_text().splitlines())
    known = {truth["clip_id"]: truth for truth in truths}
    assert len(clips) == sum(counts.clips for counts in corpus.manifest.counts.values())
    assert [clip.dialog for clip in clips] == sorted(clip.dialog for clip in clips)
    for clip in clips:
        prepared_clip = corpus.clip(clip.clip_id)
        assert (clip.split, clip.text) == (prepared_clip.split, prepared_clip.text)
        assert clip.dialog == known[clip.clip_id]["dialog"] == clip.audio.stem
        assert clip.start == pytest.approx(known[clip.clip_id]["start"], abs=1e-3)
        assert (clip.channel is None) == (clip.half is None) == (layout == "mosei")
        assert clip.openface is not None
        assert clip.openface.own
        assert clip.openface.file.stem == clip.clip_id
        assert clip.phonet is None


def test_a_listing_changes_with_the_files(corpora, tmp_path):
    raw, prepared = corpora("mosei")
    inputs = find_inputs(raw, None, None, None)
    _, clips, _ = find_sources(PreparedCorpus.open(prepared), inputs)
    assert listing(clips) == listing(clips)
    assert str(raw) not in listing(clips)
    assert listing([replace(clips[0], openface=None), *clips[1:]]) != listing(clips)


def test_missing_and_wrong_inputs_are_refused_before_any_work(copies, tmp_path, monkeypatch):
    raw, corpus = copies()
    monkeypatch.setattr(parts, "make_parts", None)
    faces, glove, kept = raw / "OpenFace", raw / "glove.txt.gz", tmp_path / "kept"

    def refused(message, **options):
        with pytest.raises(ValueError, match=message) as error:
            make_features(corpus, FeatureOptions(raw=raw, workers=1, **options))
        assert "\n" not in str(error.value)
        assert not (corpus.path / "features").exists()

    refused(r"is not a folder; wanted one with <clip id>\.csv", openface=tmp_path / "none")
    refused(r"--glove .*none\.txt is not there", glove=tmp_path / "none.txt")
    refused(r"--phonet .*none is not a folder", phonet=tmp_path / "none")
    faces.rename(kept)
    refused(r"OpenFace does not exist: name .* with --openface; .*FeatureExtraction")
    faces.mkdir()
    refused(r"OpenFace holds no OpenFace file of any clip: wanted Ses.*\.csv or ")
    faces.rmdir()
    kept.rename(faces)
    glove.rename(kept)
    refused(r"holds no glove\.txt or glove\.txt\.gz: name .* with --glove; .*glove\.840B")
    small = tmp_path / "small.txt"
    small.write_text("angry " + " ".join(["0.5"] * 300) + "\n")
    refused(r"small\.txt has no vector of the emotion 'excited', which EmoEmbs", glove=small)
    kept.rename(glove)
    clip = corpus.split("train")[0]
    file = faces / f"{clip.clip_id}.csv"
    text = file.read_text()
    file.write_text(text.replace(" AU12_r", " AU12", 1))
    refused(rf"{clip.clip_id}\.csv has no column 'AU12_r'")
    file.write_text(text)
    file.rename(faces / f"{clip.dialog}.csv")
    refused(rf"{clip.dialog}\.csv covers a dialog of two people and has no column 'pose_Tx'")
    with pytest.raises(ValueError, match="is not there; --raw wants"):
        make_features(corpus, FeatureOptions(raw=tmp_path / "none"))
    with pytest.raises(ValueError, match="is not IEMOCAP"):
        make_features(corpus, FeatureOptions(raw=corpus.path, openface=faces, glove=glove))
    for step in (1e-7, -1, float("nan"), float("inf"), 2):
        refused("--video-step must be 0 for every frame, or 0.01 to 1 seconds", video_step=step)
    with pytest.raises(ValueError, match="--workers must be at least 1, got 0"):
        make_features(corpus, FeatureOptions(raw=raw, workers=0))
    with pytest.raises(ValueError, match="stepp"):
        FeatureOptions(raw=raw, stepp=1)


def test_another_raw_corpus_is_refused(copies):
    raw, corpus = copies()
    transcripts = sorted(raw.rglob("EmoEvaluation/*.txt"))
    clip = corpus.split("train")[0]
    file = next(path for path in transcripts if path.stem == clip.dialog)
    file.write_text(file.read_text().replace(f"[{clip.start:.4f}", f"[{clip.start + 0.1:.4f}"))
    with pytest.raises(ValueError, match=rf"has other times for clip {clip.clip_id} of .*--raw"):
        make_features(corpus, FeatureOptions(raw=raw, workers=1))
    file.write_text("% nothing\n")
    with pytest.raises(ValueError, match=rf"raw has no clip {clip.dialog}_\w+ of .*--raw"):
        make_features(corpus, FeatureOptions(raw=raw, workers=1))


def test_a_corpus_of_clips_that_lack_something_is_refused_by_name(corpora):
    raw, prepared = corpora("mosei")
    corpus = PreparedCorpus.open(prepared)
    manifest, inputs = corpus.manifest, find_inputs(raw, None, None, None)
    for lacking, modalities in (("text", "tav"), ("sound", "tv")):
        update = {"without": {lacking: ["a_0", "a_1"]}, "modalities": modalities}
        corpus.manifest = manifest.model_copy(update=update)
        with pytest.raises(ValueError, match=rf"\(2 without {lacking}\); .*or train FE2E"):
            find_sources(corpus, inputs)


def test_files_of_a_corpus_out_of_a_table_lie_beside_it(tmp_path):
    table = tmp_path / "clips.csv"
    with pytest.raises(ValueError, match="is not there; --raw wants the raw corpus"):
        find_inputs(table, None, None, None)
    table.touch()
    with pytest.raises(ValueError, match=f"{tmp_path}/OpenFace does not exist"):
        find_inputs(table, None, None, None)
    (tmp_path / "OpenFace").mkdir()
    (tmp_path / "glove.txt").touch()
    found = find_inputs(table, None, None, None)
    assert (found.raw, found.openface, found.glove) == (
        *(table, tmp_path / "OpenFace"),
        tmp_path / "glove.txt",
    )
