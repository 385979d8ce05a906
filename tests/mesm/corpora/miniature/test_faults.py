from __future__ import annotations

import av
import pytest

from mesm.corpora.miniature.faults import FAULTS


@pytest.fixture(params=["iemocap", "mosei"])
def corpus(request):
    return request.getfixturevalue(request.param)


def find(corpus, name, suffix):
    return [p for p in corpus.root.rglob(f"{name}{suffix}") if p.is_file()]


def test_every_fault_is_there_once_on_top_of_the_good_clips(corpus):
    assert len(corpus.good) == 10
    assert sorted(t["fault"] for t in corpus.truths if t["fault"]) == sorted(FAULTS)


def test_truncated_video_ends_before_its_utterance(corpus):
    truth = corpus.fault("truncated_video")
    (path,) = [p for s in (".avi", ".mp4") for p in find(corpus, truth["dialog"], s)]
    last = 0.0
    try:
        with av.open(str(path)) as container:
            for frame in container.decode(video=0):
                last = float(frame.time)
    except av.FFmpegError:
        pass
    assert last < truth["end"] - 0.3


def test_missing_wav(corpus):
    truth = corpus.fault("missing_wav")
    assert find(corpus, truth["dialog"], ".wav") == []
    others = {t["dialog"] for t in corpus.truths} - {truth["dialog"]}
    assert all(len(find(corpus, dialog, ".wav")) == 1 for dialog in others)


def test_zero_length(corpus):
    truth = corpus.fault("zero_length")
    assert truth["start"] == truth["end"]
    assert truth["frames"] == []
    assert truth["sound"] == []


def test_face_disappears(corpus):
    frames = corpus.fault("no_face")["frames"]
    assert frames[0]["face_box"] is not None
    assert all(f["face_box"] is None and f["action_units"] == [] for f in frames[1:])
    assert len(frames) > 2


def test_non_ascii_text_is_utf8(corpus):
    dialog = corpus.fault("non_ascii")["dialog"]
    texts = [p.read_text(encoding="utf-8") for p in find(corpus, dialog, ".txt")]
    assert any("你好" in text and "ü" in text for text in texts)
