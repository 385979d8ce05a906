from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mesm.corpora.splits import SPLITS, random_split, read_split_lists, speaker_split

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
