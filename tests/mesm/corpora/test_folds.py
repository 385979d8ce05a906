"""Folds: what is in which split, and what it is normalised by."""

import math
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mesm.config.fold import FoldSettings, FoldsSettings
from mesm.corpora.folds import FoldedCorpus, choose_valid, cut, folds_of, units_of
from mesm.corpora.manifest import Manifest
from mesm.corpora.prepared import PreparedCorpus
from mesm.corpora.splits import SPLITS
from tests.mesm.corpus_of_speakers import write_corpus
from tests.mesm.tables.cases import manifest

SIZES = st.dictionaries(
    st.text("abcXYZ019_", min_size=1, max_size=6), st.integers(1, 60), min_size=3, max_size=40
)
WAYS = [("session", None, 5), ("speaker", None, 10), ("speaker", 3, 3), ("dialog", 4, 4)]


@pytest.fixture(scope="module")
def corpus(tmp_path_factory) -> PreparedCorpus:
    return PreparedCorpus.open(write_corpus(tmp_path_factory.mktemp("folds") / "corpus"))


def clip_ids(corpus: PreparedCorpus) -> list[str]:
    return sorted(clip for split in SPLITS for clip in corpus.split(split).clip_ids)


@given(sizes=SIZES, data=st.data(), seed=st.integers(0, 5))
@settings(max_examples=150)
def test_units_are_cut_into_balanced_folds(sizes, data, seed):
    k = data.draw(st.none() | st.integers(2, len(sizes)))
    folds = cut(sizes, k, seed)
    assert len(folds) == (k or len(sizes))
    assert sorted(unit for fold in folds for unit in fold) == sorted(sizes)
    assert all(folds)
    assert cut(dict(reversed(sizes.items())), k, seed) == folds
    if k:
        clips = [sum(sizes[unit] for unit in fold) for fold in folds]
        assert max(clips) - min(clips) <= max(sizes.values())
    else:
        assert [fold[0] for fold in folds] == sorted(sizes)


@given(sizes=SIZES, data=st.data(), seed=st.integers(0, 5), share=st.floats(0.01, 0.5))
@settings(max_examples=150)
def test_whole_units_validate_and_some_are_left_to_train_on(sizes, data, seed, share):
    test = data.draw(
        st.lists(st.sampled_from(sorted(sizes)), min_size=1, max_size=len(sizes) - 2, unique=True)
    )
    valid = choose_valid(sizes, test, share, seed)
    rest = sizes.keys() - set(test)
    assert valid
    assert set(valid) < rest
    clips = sum(sizes[unit] for unit in rest)
    count = sum(sizes[unit] for unit in valid)
    assert count <= 2 * max(share * clips, clips / len(rest))
    assert choose_valid(dict(reversed(sizes.items())), test[::-1], share, seed) == valid


def test_many_units_come_near_the_share_and_a_few_give_one():
    many = {f"s{i:02d}": 10 for i in range(41)}
    assert len(choose_valid(many, ["s00"], 0.125, 0)) == 5
    sessions = {f"Ses0{i}": 1400 + 100 * i for i in range(1, 6)}
    chosen = [choose_valid(sessions, [name], 0.125, 0) for name in sessions]
    assert all(len(valid) == 1 for valid in chosen)
    # Each validates once.
    assert sorted(valid[0] for valid in chosen) == sorted(sessions)


@pytest.mark.parametrize(("by", "k", "count"), WAYS)
def test_the_tests_of_all_folds_are_the_corpus(corpus, by, k, count):
    tested: list[str] = []
    units = dict(zip(_all(corpus, "clip_ids"), units_of(corpus, by), strict=True))
    assert len(folds_of(corpus, FoldSettings(by=by, k=k, index=1))) == count
    for index in range(1, count + 1):
        fold = FoldedCorpus(corpus, FoldSettings(by=by, k=k, index=index))
        assert clip_ids(fold) == clip_ids(corpus)
        owners = {split: {units[c] for c in fold.split(split).clip_ids} for split in SPLITS}
        assert owners == {split: set(fold.units[split]) for split in SPLITS}
        assert sum(map(len, owners.values())) == len(set(units.values()))
        for split in SPLITS:
            clips, counts = fold.split(split), fold.manifest.counts[split]
            assert counts.clips == len(clips) > 0
            assert list(counts.labels.values()) == clips.labels.sum(0).tolist()
        tested += fold.split("test").clip_ids
    assert sorted(tested) == clip_ids(corpus)


def _all(corpus: PreparedCorpus, name: str) -> list[str]:
    return [value for split in SPLITS for value in getattr(corpus.split(split), name)]


class Clips(list):
    """The names, speakers, dialogs and labels of a split, as `ClipList` gives them."""

    def __init__(self, rows: list[tuple[str, str, str]]) -> None:
        super().__init__(rows)
        self.clip_ids, self.speakers, self.dialogs = ([row[i] for row in rows] for i in range(3))
        self.labels = np.ones((len(rows), 6), np.int8)


class Drawn:
    """A corpus of drawn clips, of which nothing can be decoded."""

    path = Path("drawn")
    manifest = Manifest.model_validate(manifest())

    def __init__(self, rows: list[tuple[str, str, str]], ends: tuple[int, int]) -> None:
        first, second = sorted(ends)
        self.splits = (rows[:first], rows[first:second], rows[second:])

    def split(self, name: str) -> Clips:
        return Clips(self.splits[SPLITS.index(name)])


@given(
    owners=st.lists(st.tuples(st.integers(0, 9), st.integers(1, 5)), min_size=8, max_size=60),
    data=st.data(),
    by=st.sampled_from(["speaker", "dialog", "session"]),
)
@settings(max_examples=100)
def test_splits_of_a_random_corpus_are_a_partition(owners, data, by):
    rows = [
        (f"clip{i}", f"Ses0{session}{speaker}", f"Ses0{session}_{speaker % 3}")
        for i, (speaker, session) in enumerate(owners)
    ]
    number = st.integers(0, len(rows))
    own = Drawn(rows, (data.draw(number), data.draw(number)))
    other = Drawn(data.draw(st.permutations(rows)), (data.draw(number), data.draw(number)))
    place = ["speaker", "dialog", "session"].index(by)
    units = {row[0]: (row[1], row[2], row[2][:5])[place] for row in rows}
    k = data.draw(st.none() | st.integers(2, 6))
    seed = data.draw(st.integers(0, 3))
    tested = []
    try:
        folds = folds_of(own, FoldsSettings(by=by, k=k, seed=seed))
    except ValueError:
        assert len(set(units.values())) < max(3, k or 0)
        return
    for index, test in enumerate(folds, 1):
        fold = FoldSettings(by=by, k=k, seed=seed, index=index)
        if len(set(units.values())) - len(test) < 2:
            with pytest.raises(ValueError, match="to train and to validate on"):
                split_of(own, fold)
            return
        found = [split_of(corpus, fold) for corpus in (own, other)]
        assert found[0] == found[1]
        assert found[0].keys() == units.keys()
        assert len({(units[clip], split) for clip, split in found[0].items()}) == len(
            set(units.values())
        )
        assert set(found[0].values()) == set(SPLITS)
        tested += [clip for clip, split in found[0].items() if split == "test"]
    assert sorted(tested) == sorted(units)


def split_of(corpus: Drawn, fold: FoldSettings) -> dict[str, str]:
    """Clip to split."""
    cut_up = FoldedCorpus(corpus, fold)
    ids = [clip for split in SPLITS for clip in corpus.split(split).clip_ids]
    places = {ids[i]: split for split, own in cut_up._chosen.items() for i in own}
    assert sum(map(len, cut_up._chosen.values())) == len(places)
    counts = {split: count.clips for split, count in cut_up.manifest.counts.items()}
    assert counts == Counter(places.values())
    return places


def test_leaving_out_a_session_tests_it(corpus):
    fold = FoldedCorpus(corpus, FoldSettings(by="session", index=3))
    assert fold.units["test"] == ["Ses03"]
    assert all(clip.startswith("Ses03") for clip in fold.split("test").clip_ids)
    assert fold.manifest.options["fold"] == {
        "by": "session",
        "index": 3,
        "folds": 5,
        "test": ["Ses03"],
    }


def test_clips_are_those_of_the_corpus(corpus):
    fold = FoldedCorpus(corpus, FoldSettings(by="speaker", index=2))
    for split in SPLITS:
        for place, clip in enumerate(fold.split(split)):
            assert clip.split == split
            assert clip.clip_id == fold.split(split).clip_ids[place]
            assert clip.labels.tolist() == fold.split(split).labels[place].tolist()
            whole = corpus.clip(clip.clip_id)
            assert whole.spectrogram.tolist() == clip.spectrogram.tolist()
            assert fold.clip(clip.clip_id).faces.tolist() == clip.faces.tolist()


def test_the_split_is_the_same_whatever_the_corpus_own_is(corpus, tmp_path):
    other = PreparedCorpus.open(write_corpus(tmp_path / "other", seed=7))
    assert _all(other, "clip_ids") != _all(corpus, "clip_ids")
    for k, index in ((None, 4), (3, 2)):
        fold = FoldSettings(by="speaker", k=k, index=index, seed=1)
        one, two = FoldedCorpus(corpus, fold), FoldedCorpus(other, fold)
        assert one.units == two.units
        assert one.identity["clips"] == two.identity["clips"]
        assert one.identity["files"] != two.identity["files"]


def test_the_seed_changes_folds_of_k(corpus):
    ways = [folds_of(corpus, FoldSettings(by="speaker", k=3, index=1, seed=s)) for s in range(4)]
    assert len({str(way) for way in ways}) > 1


@pytest.mark.parametrize("index", [1, 5])
def test_sound_is_normalised_by_the_training_clips_alone(corpus, index):
    fold = FoldedCorpus(corpus, FoldSettings(by="session", index=index))
    values = np.concatenate([clip.spectrogram.ravel() for clip in fold.split("train")])
    values = values.astype(np.float64)
    assert fold.sound_figures == pytest.approx((values.mean(), values.std()), rel=1e-12)
    assert math.isnan(fold.manifest.spectrogram_mean)
    assert math.isnan(fold.manifest.spectrogram_std)
    kept = FoldedCorpus(corpus, fold.fold, {"spectrogram": ([1.5], [2.5])})
    assert kept.sound_figures == (1.5, 2.5)


@pytest.mark.parametrize(
    ("fold", "message"),
    [
        ({"by": "session", "index": 6}, r"fold\.index must be 1 to 5, .* by session, got 6"),
        ({"by": "speaker", "k": 11, "index": 1}, r"by speaker, k=11: wanted at least 11 for 11 "),
        ({"by": "session", "k": 6, "index": 1}, "at least 6 for 6 folds, got 5: Ses01, Ses02"),
    ],
)
def test_folds_that_there_are_not_are_refused(corpus, fold, message):
    with pytest.raises(ValueError, match=message):
        FoldedCorpus(corpus, FoldSettings(**fold))


def test_a_fold_that_leaves_too_few_units_is_refused(tmp_path):
    three = PreparedCorpus.open(write_corpus(tmp_path / "three", sessions=3))
    assert FoldedCorpus(three, FoldSettings(by="session", index=3)).units["test"] == ["Ses03"]
    with pytest.raises(ValueError, match="leaves 1 to train and to validate on, wanted at least 2"):
        FoldedCorpus(three, FoldSettings(by="session", k=2, index=1))
    two = PreparedCorpus.open(write_corpus(tmp_path / "two", sessions=2))
    with pytest.raises(ValueError, match="wanted at least 3 for a training, a validation and a"):
        FoldedCorpus(two, FoldSettings(by="session", index=1))


def test_an_emotion_that_only_others_have_is_refused(tmp_path):
    # With one clip each, every speaker is angry: nobody is sad or happy.
    folder = write_corpus(tmp_path / "one", clips=1)
    with pytest.raises(ValueError, match=r"fold 1 of 10 by speaker .* training split is sad or"):
        FoldedCorpus(PreparedCorpus.open(folder), FoldSettings(by="speaker", index=1))


def test_sessions_are_asked_of_a_corpus_without(tiny_corpus: Path):
    with pytest.raises(
        ValueError, match=r"has no sessions, .* dialogs is 'train'; it has 1 speakers .* 3 dialogs"
    ):
        FoldedCorpus(PreparedCorpus.open(tiny_corpus), FoldSettings(by="session", index=1))


def test_the_identity_follows_labels_and_the_split(corpus):
    one, two = (FoldedCorpus(corpus, FoldSettings(by="session", index=i)) for i in (1, 2))
    again = FoldedCorpus(corpus, FoldSettings(by="session", index=1))
    assert one.identity == again.identity
    assert one.identity["clips"] != two.identity["clips"]
    assert Counter(one.describe()["clips"]) == Counter({s: len(one.split(s)) for s in SPLITS})
