import json
from dataclasses import replace

import pytest

from mesm.corpora.prepared import PreparedCorpus
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
