from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mesm.corpora.splits import (
    SPLITS,
    random_split,
    read_split_lists,
    speaker_split,
    split_clips,
)
from mesm.corpora.utterances import Utterance

names = st.lists(st.text("abc123", min_size=1, max_size=6), min_size=3, max_size=60, unique=True)


@given(names, st.integers(0, 5))
def test_every_clip_is_in_one_split_whatever_the_order(clips, seed):
    split = random_split(clips, seed)
    assert sorted(split) == sorted(clips)
    assert random_split(reversed(clips), seed) == split
    counts = Counter(split.values())
    assert all(counts[name] >= 1 for name in SPLITS)
    assert counts["valid"] == max(1, len(clips) // 10)
    assert counts["test"] == max(1, len(clips) * 2 // 10)


def test_the_seed_changes_the_split_and_its_shares_are_70_10_20():
    clips = [f"clip{i}" for i in range(1000)]
    first, second = random_split(clips, 0), random_split(clips, 1)
    assert Counter(first.values()) == {"train": 700, "valid": 100, "test": 200}
    assert 0.4 < sum(first[clip] == second[clip] for clip in clips) / 1000 < 0.7


@given(st.lists(st.sampled_from("ABCDEFGH"), min_size=3, max_size=80), st.integers(0, 5))
def test_no_speaker_is_in_two_splits(speakers, seed):
    clips = {f"{i}": speaker for i, speaker in enumerate(speakers)}
    if len(set(speakers)) < 3:
        with pytest.raises(ValueError, match="at least 3 speakers"):
            speaker_split(clips, seed)
        return
    split = speaker_split(clips, seed)
    assert split.keys() == clips.keys()
    assert set(split.values()) == set(SPLITS)
    assert len({(clips[clip], name) for clip, name in split.items()}) == len(set(speakers))


def test_ten_equal_speakers_go_7_1_2():
    clips = {f"{i}": f"speaker{i % 10}" for i in range(100)}
    split = speaker_split(clips, 0)
    assert Counter(split.values()) == {"train": 70, "valid": 10, "test": 20}
    assert speaker_split(clips, 1) != split


def utterance(number, split=None):
    return Utterance(
        clip_id=f"c{number}",
        dialog=f"d{number // 4}",
        speaker=f"s{number % 5}",
        start=0.0,
        end=1.0,
        text="",
        labels=(1,),
        video=None,
        audio=None,
        split=split,
    )


def test_policies_of_splitting():
    clips = [utterance(number) for number in range(40)]
    assert split_clips(clips, "random", 3) == random_split([u.clip_id for u in clips], 3)
    assert split_clips(clips, "speaker", 3) == speaker_split(
        {u.clip_id: u.speaker for u in clips}, 3
    )
    by_group = split_clips(clips, "group", 3)
    assert len({(u.dialog, by_group[u.clip_id]) for u in clips}) == 10
    assert set(by_group.values()) == set(SPLITS)
    with pytest.raises(ValueError, match="a split by group needs at least 3 groups, got 1: d0"):
        split_clips(clips[:4], "group", 0)


def test_the_corpus_own_split_is_whole_or_refused():
    own = [utterance(number, SPLITS[number % 3]) for number in range(6)]
    assert split_clips(own, "column", 0) == {f"c{i}": SPLITS[i % 3] for i in range(6)}
    with pytest.raises(ValueError, match=r"1 of 7 clips have no split of their own, such as c6"):
        split_clips([*own, utterance(6)], "column", 0)


def _write(folder, **lists):
    for name, clips in lists.items():
        (folder / f"iemocap_{name}.txt").write_text(clips)


def test_lists(tmp_path):
    _write(tmp_path, train="Ses03F_impro03_F018\nb\r\n\n", valid="c\n", test="d")
    assert read_split_lists(tmp_path, "iemocap") == {
        "Ses03F_impro03_F018": "train",
        "b": "train",
        "c": "valid",
        "d": "test",
    }
    with pytest.raises(ValueError, match=r"has no mosei_train\.txt, mosei_valid\.txt, mosei_test"):
        read_split_lists(tmp_path, "mosei")


def test_lists_that_overlap_or_are_empty_are_refused(tmp_path):
    _write(tmp_path, train="a\nb\n", valid="c\nb\n", test="d\n")
    with pytest.raises(ValueError, match=r"iemocap_valid\.txt:2: b is already listed in train"):
        read_split_lists(tmp_path, "iemocap")
    _write(tmp_path, train="a\nb\n", valid="\n", test="d\n")
    with pytest.raises(ValueError, match=r"iemocap_valid\.txt lists no clip"):
        read_split_lists(tmp_path, "iemocap")
