"""Media of a table's clips, as far as headers tell."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import pytest

from mesm.corpora.utterances import RawCorpus
from tests.mesm.corpora.table.tables import told_of_a_cell, wrong


def test_a_whole_file_goes_as_far_as_both_of_its_streams(read: Callable[..., RawCorpus]):
    corpus = read([{"video": "uneven.mp4", "emotion": "sad"}, {"video": "a.mp4", "emotion": "x"}])
    uneven = next(u for u in corpus.utterances if u.clip_id == "uneven")
    assert uneven.end == pytest.approx(1.5, abs=0.1)
    (note,) = corpus.notes
    assert note.startswith("uneven goes to 1.5")


def test_clips_may_lack_text_pictures_or_sound(read: Callable[..., RawCorpus]):
    rows = [
        {"video": "mute.mp4", "audio": "", "text": "", "emotion": "sad"},
        {"video": "", "audio": "c.wav", "text": "", "emotion": "happy"},
        {"video": "", "audio": "b.mp4", "text": "", "emotion": "happy"},
        {"video": "", "audio": "", "text": "only words", "emotion": "happy"},
    ]
    found = {u.clip_id: u for u in read(rows).utterances}
    assert set(found) == {"mute", "c", "b", "clips_5"}
    assert (found["mute"].audio, found["c"].video, found["b"].video) == (None, None, None)
    words = found["clips_5"]
    assert (words.media, words.start, words.end) == ((None, None), 0, 0)
    rows[3]["text"] = ""
    assert wrong(read, rows) == ["line 5: it has neither pictures nor sound nor text"]


def test_a_file_that_does_not_tell_its_length_needs_an_end(
    read: Callable[..., RawCorpus], tmp_path: Path
):
    film = tmp_path / "own" / "stream.mkv"
    with av.open(str(film), "w", options={"live": "1"}) as container:
        stream = container.add_stream("mpeg4", rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for _ in range(20):
            picture = np.zeros((48, 64, 3), np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, "rgb24")))
        container.mux(stream.encode())
    rows = [{"video": film.name, "end": "", "emotion": "sad"}]
    rows += [{"video": "a.mp4", "end": "1", "emotion": "glad"}]
    (told,) = wrong(read, rows)
    assert told.startswith("line 2, column end: the file does not tell how long it is; write the")
    rows[0]["end"] = "1.5"
    assert len(read(rows).utterances) == 2


@pytest.mark.parametrize(
    ("cell", "told"),
    [
        ({"video": "nowhere.mp4"}, "column video: nowhere.mp4 is not there"),
        ({"video": "text.mp4"}, "text.mp4 cannot be opened as a video"),
        ({"video": "folder.mp4"}, "column video: folder.mp4 is a folder"),
        ({"video": "c.wav"}, "c.wav has no pictures"),
        ({"video": "a\n.mp4"}, "is not there"),
        ({"video": "x" * 5000}, "cannot be read (File name too long)"),
        ({"audio": "text.wav"}, "text.wav cannot be read as sound"),
        ({"audio": "mute.mp4"}, "mute.mp4 has no sound"),
        ({"audio": "nowhere.wav"}, "column audio: nowhere.wav is not there"),
        ({"start": "4", "end": "5"}, "column start: 4 s is not before the recording's end, 3.0"),
        ({"end": "3.7"}, "column end: 3.7 s is after the recording's end, 3.0"),
        ({"start": "2", "end": "1"}, "column end: 1 s is not after its start, 2 s"),
        ({"start": "1", "end": "1"}, "column end: 1 s is not after its start, 1 s"),
    ],
)
def test_media_that_do_not_fit_are_told_with_line_and_column(
    read: Callable[..., RawCorpus], cell: dict[str, str], told: str
):
    told_of_a_cell(read, cell, told)
