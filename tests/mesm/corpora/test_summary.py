"""The counts of a prepared corpus, in words."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from mesm.corpora.manifest import Manifest, read_manifest
from mesm.corpora.summary import empty_splits, lacks, summary
from mesm.corpora.utterances import Utterance


def test_every_count_has_its_line(tiny_corpus: Path) -> None:
    manifest = read_manifest(tiny_corpus)
    assert manifest is not None
    lines = summary(manifest).splitlines()
    assert lines[0].split() == ["words", "seconds", "train", "valid", "test"]
    assert lines[1].split() == ["angry", "7.00", "0.90", "2", "1", "2"]
    assert lines[7].split() == ["all", "7.00", "0.90", "12", "6", "7"]
    assert lines[8:] == ["faces found in 67 of 75 frames", "skipped: 1 no sound"]
    update = {"without": {"text": ["a", "b"]}, "missing": ["c"]}
    assert summary(manifest.model_copy(update=update)).splitlines()[-2:] == [
        "without text: 2 clips, see manifest.json",
        "missing: 1 clips, see manifest.json",
    ]


def opened(corpus: Path) -> Manifest:
    manifest = read_manifest(corpus)
    assert manifest is not None
    return manifest


def lacking(manifest: Manifest, **counts: Any) -> Manifest:
    """The manifest with other counts of splits: labels that are 0, or no clip at all."""
    changed = dict(manifest.counts)
    for split, names in counts.items():
        old = changed[split]
        labels = {name: 0 if name in names else n for name, n in old.labels.items()}
        changed[split] = old.model_copy(update={"labels": labels})
        if not names:
            none = dict.fromkeys(old.labels, 0)
            changed[split] = old.model_copy(update={"clips": 0, "labels": none})
    return manifest.model_copy(update={"counts": changed})


def test_a_whole_corpus_lacks_nothing(tiny_corpus: Path) -> None:
    assert lacks(opened(tiny_corpus), []) == []
    assert empty_splits(opened(tiny_corpus)) == []
    assert empty_splits(lacking(opened(tiny_corpus), valid=[], test=[])) == ["valid", "test"]


def test_splits_and_emotions_without_a_clip_are_told_with_their_mend(tiny_corpus: Path) -> None:
    manifest = opened(tiny_corpus)
    again = "mend the clips that were left out, see manifest.json, and prepare again; or "
    seed = again + "take another --seed and folder"
    assert lacks(lacking(manifest, valid=[]), []) == [
        "the valid split has no clip, so every training on these splits will be refused, though "
        "not on folds; " + seed
    ]
    assert lacks(lacking(manifest, test=[], valid=["sad", "angry"]), []) == [
        "no clip of the valid split is angry or sad, of which validation then says nothing; "
        + seed,
        "the test split has no clip, so no run on these splits can be scored, though on folds; "
        + seed,
    ]
    everywhere = lacking(manifest, train=["sad"], valid=["sad"], test=["sad", "happy"])
    assert lacks(everywhere, []) == [
        "no clip is sad, which cannot be learnt then; " + seed,
        "no clip of the test split is happy, of which test scores then say nothing; " + seed,
    ]
    for way, told in (
        ("column", "put other clips there in the corpus' own split, or take another --split"),
        ("lists", "take other lists and another folder"),
    ):
        whole = manifest.model_copy(update={"options": {"split": way}, "skipped": []})
        (line,) = lacks(lacking(whole, valid=[]), [])
        assert line.partition("not on folds; ")[2].startswith(told)


def test_speakers_of_whom_no_clip_is_left(tiny_corpus: Path) -> None:
    manifest = opened(tiny_corpus)
    one = Utterance("gone", "film", "Ann", 0.0, 1.0, "", (1,), None, None)
    others = [replace(one, clip_id=f"{i}", speaker=name) for i, name in enumerate("BB")]
    (line,) = lacks(manifest, [one, *others])
    assert line == (
        "of 1 of 2 speakers no clip is left (Ann), and folds by speaker will lack them; mend the "
        "clips that were left out, see manifest.json, and prepare again"
    )
    assert lacks(manifest, [one, *others, replace(one, clip_id="there")]) == []
    # Where a video stands for its speaker, each clip that is left out is told already.
    assert lacks(manifest, [replace(one, speaker="film")]) == []
