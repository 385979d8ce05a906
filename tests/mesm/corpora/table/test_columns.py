"""Which columns are emotions, and names that were meant to be others."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from mesm.corpora.utterances import RawCorpus
from tests.mesm.corpora.table.tables import wrong


@pytest.mark.parametrize(
    ("yes", "no", "above"),
    [(1, 0, None), ("true", "False", None), ("1.0", "0", None), (2, 1, 1.5), ("-0.5", "-1", "-1")],
)
def test_a_column_per_emotion(read: Callable[..., RawCorpus], yes: Any, no: Any, above: Any):
    rows = [
        {"video": "a.mp4", "sad": no, "glad": yes, "note": "x"},
        {"video": "b.mp4", "sad": yes, "glad": no, "note": "y"},
    ]
    corpus = read(rows, labels="glad,sad", above=above)
    assert corpus.emotions == ("glad", "sad")
    assert [u.labels for u in corpus.utterances] == [(1, 0), (0, 1)]
    assert corpus.notes == ["passed over the column 'note'"]
    assert not corpus.single_label
    without = [{k: v for k, v in row.items() if k != "note"} for row in rows]
    assert read(without, above=above).emotions == ("sad", "glad")
    assert len(wrong(read, rows, above=above)) >= 2  # note is no emotion


def test_labels_fix_names_and_order_and_leave_others_out(read: Callable[..., RawCorpus]):
    rows = [
        {"video": "a.mp4", "emotion": "sad"},
        {"video": "b.mp4", "emotion": "happy"},
        {"video": "mute.mp4", "emotion": "bored"},
    ]
    corpus = read(rows, labels="sad, happy")
    assert corpus.emotions == ("sad", "happy")
    assert dict(corpus.other_labels) == {"bored": 1}
    assert len(corpus.utterances) == 2
    rows[2]["emotion"] = "hapyp"
    assert wrong(read, rows, labels="sad,happy") == [
        "line 4, column emotion: 'hapyp' is nearly 'happy' of --labels; write it so, or name "
        "both there"
    ]
    assert len(read(rows, labels="sad,happy,hapyp").utterances) == 3
    (told,) = wrong(read, rows)
    assert told.startswith("line 4, column emotion: 'hapyp' is nearly 'happy'; write one as")


@pytest.mark.parametrize("second", ["Happy", "happyy", "hap py", "hppy "])
def test_emotions_that_are_nearly_others(read: Callable[..., RawCorpus], second: str):
    rows = [{"video": "a.mp4", "emotion": "happy"}, {"video": "b.mp4", "emotion": second}]
    assert wrong(read, rows)[0].startswith(f"line 3, column emotion: {second.strip()!r} is nearly")


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"labels": "sad,,glad"}, "--labels sad,,glad: the emotion's name '' is empty"),
        ({"labels": "sad,sad"}, "--labels sad,sad: sad is there twice"),
        ({"labels": "sad,text"}, "text is a column of its own kind"),
        ({"above": "x"}, "--above: wanted a number, got 'x'"),
        ({"above": "nan"}, "--above: wanted a number, got 'nan'"),
        ({"name": " "}, "--name: wanted a title"),
        ({"name": "a|b"}, "--name: wanted a title"),
        ({"above": "1"}, "line 1, column emotion: --above is for a column per emotion"),
    ],
)
def test_options(read: Callable[..., RawCorpus], options: dict[str, str], told: str):
    rows = [{"video": "a.mp4", "emotion": "sad"}, {"video": "b.mp4", "emotion": "glad"}]
    with pytest.raises(ValueError) as refused:
        read(rows, **options)
    assert told in str(refused.value)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("vidoe,emotion\na.mp4,sad\n", "line 1, column vidoe: did you mean video?"),
        ("Video,emotion\na.mp4,sad\n", "line 1, column Video: did you mean video?"),
        ("video,emotion,speakers\na.mp4,sad,x\n", "column speakers: did you mean speaker?"),
        ("speaker,emotion\nx,sad\n", "line 1: there is no column video, audio or text"),
        ("video,text\na.mp4,x\n", "there is no column emotion, and no column per emotion"),
        ("video,sad,Sad\na.mp4,1,0\n", "line 1, column Sad: 'Sad' is nearly 'sad'"),
        ("video,sad\na.mp4,2\n", "line 2, column sad: wanted 0, 1, true or false, got '2'"),
        (
            "video,sad\na.mp4,\n",
            "line 2, column sad: it is empty; write 0 or 1, leave the clip out",
        ),
        ("video,sad,all\na.mp4,1,1\n", "line 1, column all: the emotion's name 'all'"),
    ],
)
def test_columns_that_are_wrong(read: Callable[..., RawCorpus], text: str, told: str):
    assert told in "\n".join(wrong(read, text))
