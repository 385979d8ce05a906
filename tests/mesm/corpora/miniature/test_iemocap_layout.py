"""Reads the files as IEMOCAP's users do, with patterns of its documentation."""

from __future__ import annotations

import re
from fractions import Fraction
from itertools import pairwise

import av
import numpy as np
import soundfile

UTTERANCE = re.compile(r"(Ses0[1-5][FM]_\w+_[FM]\d{3}) \[(\d{3}\.\d{4})-(\d{3}\.\d{4})\]: (.+)")
SUMMARY = re.compile(
    r"\[(\d+\.\d{4}) - (\d+\.\d{4})\]\t(\w+)\t(\w{3})\t\[(\d\.\d{4}), (\d\.\d{4}), (\d\.\d{4})\]"
)
CODES = {"ang": "angry", "exc": "excited", "fru": "frustrated"}
CODES |= {"hap": "happy", "neu": "neutral", "sad": "sad"}


def dialog_folder(corpus, dialog):
    return corpus.root / "IEMOCAP_full_release" / f"Session{dialog[4]}" / "dialog"


def test_folders_of_all_sessions_exist(iemocap):
    for session in range(1, 6):
        folder = dialog_folder(iemocap, f"Ses0{session}F_impro01")
        names = {str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_dir()}
        assert names == {"avi", "avi/DivX", "wav", "transcriptions", "EmoEvaluation"}


def test_nothing_but_the_corpus_and_what_goes_with_it_is_there(iemocap):
    assert {p.name for p in iemocap.root.iterdir()} == {
        "IEMOCAP_full_release",
        "OpenFace",
        "glove.txt.gz",
        "ground_truth.jsonl",
    }


def test_transcriptions_hold_every_utterance_once(iemocap):
    found = {}
    for path in iemocap.root.rglob("transcriptions/*.txt"):
        for line in path.read_text(encoding="utf-8").splitlines():
            match = UTTERANCE.fullmatch(line)
            assert match, line
            assert match[1].startswith(path.stem)
            found[match[1]] = (float(match[2]), float(match[3]))
    assert found == {t["clip_id"]: (t["start"], t["end"]) for t in iemocap.truths}


def test_evaluations_have_header_summaries_and_annotators(iemocap):
    labels = {}
    for path in iemocap.root.rglob("EmoEvaluation/*.txt"):
        header, blank, *lines = path.read_text(encoding="utf-8").split("\n")
        assert header == "% [START_TIME - END_TIME] TURN_NAME EMOTION [V, A, D]"
        assert blank == ""
        for block in "\n".join(lines).strip("\n").split("\n\n"):
            summary, *annotators = block.split("\n")
            match = SUMMARY.fullmatch(summary)
            assert match, summary
            labels[match[3]] = CODES[match[4]]
            assert all(re.match(r"[CA]-\w\d:\t.+;\t\(\)$", line) for line in annotators)
            ratings = [[int(n) for n in re.findall(r"\d+(?=;)", a)] for a in annotators[4:]]
            np.testing.assert_allclose(np.mean(ratings, 0), [float(v) for v in match.groups()[4:]])
    expected = {t["clip_id"]: t["emotions"][0] for t in iemocap.truths if t["fault"] != "no_labels"}
    assert labels == expected


def test_speakers_alternate_and_dialogs_have_four_to_eight_utterances(iemocap):
    dialogs = {}
    for truth in iemocap.good:
        dialogs.setdefault(truth["dialog"], []).append(truth["clip_id"][-4])
    dialogs.pop(iemocap.fault("no_face")["dialog"], None)
    for genders in dialogs.values():
        assert 4 <= len(genders) <= 8
        assert all(a != b for a, b in pairwise(genders))


def test_videos_are_divx_avi_of_two_speakers_at_5_994_frames(iemocap):
    broken = iemocap.fault("truncated_video")["dialog"]
    for path in iemocap.root.rglob("avi/DivX/*.avi"):
        with av.open(str(path)) as container:
            stream = container.streams.video[0]
            assert (stream.width, stream.height) == (480, 320)
            assert stream.codec_context.name == "mpeg4"
            assert stream.codec_context.codec_tag == "DIVX"
            assert stream.average_rate == Fraction(6000, 1001)
            if path.stem == broken:
                continue
            shown = sum(1 for _ in container.decode(stream)) / 5.994
        ends = [t["end"] for t in iemocap.truths if t["dialog"] == path.stem]
        assert max(ends) < shown < max(ends) + 1.5


def test_sound_is_stereo_and_the_named_speaker_is_left(iemocap):
    paths = {p.stem: p for p in iemocap.root.rglob("wav/*.wav")}
    for truth in iemocap.good:
        path = paths[truth["dialog"]]
        samples, rate = soundfile.read(path)
        assert rate == 16_000
        assert samples.shape[1] == 2
        part = samples[int(truth["start"] * rate) : int(truth["end"] * rate)]
        left, right = part.std(0)
        same = truth["clip_id"][-4] == truth["dialog"][5]
        own, other = (left, right) if same else (right, left)
        assert own > 4 * other


def test_clips_last_one_and_a_half_to_two_and_a_half_seconds(iemocap):
    for truth in iemocap.good:
        assert 1.49 <= truth["end"] - truth["start"] <= 2.51
