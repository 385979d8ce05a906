"""Odd raw corpora and damaged prepared ones: the right value or a refusal, never silence."""

import json
import shutil

import numpy as np
import pytest
import soundfile

from mesm.analysis.explain import explain
from mesm.config.files import load_config
from mesm.corpora.mosei import ANSWERS, read_mosei
from mesm.corpora.prepare import PrepareOptions, prepare
from mesm.corpora.prepared import PreparedCorpus
from mesm.evaluation.evaluate import evaluate_run
from mesm.features.make import FeatureOptions, make_features
from mesm.inputs.face_detector import Detections, FaceDetector
from mesm.inputs.spectrograms import AudioError, chunk, log_mel
from mesm.inputs.waveforms import read_waveform
from mesm.runs.files import finite_json
from mesm.training.loop import train
from tests.mesm.conftest import SMALL

HEADER = "HITId,Input.VIDEO_ID,Input.CLIP," + ",".join(ANSWERS)
FAST = {"min_face_size": 80, "workers": 1}


def mosei(root, rows, text="v___0___0___1___One\nv___1___1___2___Two\n"):
    (root / "Labels").mkdir(parents=True)
    (root / "Labels" / "a.csv").write_text("\n".join([HEADER, *rows]) + "\n")
    (root / "Transcript" / "Combined").mkdir(parents=True)
    (root / "Transcript" / "Combined" / "v.txt").write_text(text)
    return root


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e38, 1e25])
def test_sound_that_is_not_finite_or_far_too_loud_is_refused(tmp_path, value):
    sound = np.zeros((16000, 2), np.float32)
    sound[5300:5310, 1] = value
    soundfile.write(tmp_path / "a.wav", sound, 16000, subtype="FLOAT")
    for channel in (None, 1):
        with pytest.raises(AudioError, match=r"a\.wav holds "):
            read_waveform(tmp_path / "a.wav", 0, 1, channel)
    assert not read_waveform(tmp_path / "a.wav", 0, 1, 0).any()
    with pytest.raises(AudioError, match="holds "):
        log_mel(sound[:, 1])


def test_rates_channels_and_times_no_recording_has(tmp_path):
    for rate in (1, 3999, 768_001):
        soundfile.write(tmp_path / "a.wav", np.zeros(8000), rate)
        with pytest.raises(AudioError, match=f"has {rate} samples per second, wanted 4000 to"):
            read_waveform(tmp_path / "a.wav", 0, 0.01)
    soundfile.write(tmp_path / "a.wav", np.zeros(16000), 16000)
    with pytest.raises(AudioError, match=r"has 1 channel\(s\), wanted 2"):
        read_waveform(tmp_path / "a.wav", 0, 1, 0, 2)
    for start, end in ((-1, 1), (1, 0), (0, np.inf), (np.nan, 1), (-np.inf, 1)):
        with pytest.raises(AudioError, match="wanted a part"):
            read_waveform(tmp_path / "a.wav", start, end)


@pytest.mark.parametrize("figures", [(0.0, 0.0), (np.nan, 1.0), (0.0, np.inf), (0.0, -1.0)])
def test_nothing_is_divided_by_a_deviation_of_nothing(figures):
    with pytest.raises(ValueError, match="wanted a finite mean and a std above 0"):
        chunk(np.zeros((128, 3), np.float32), *figures)


@pytest.mark.parametrize("cell", ["nan", "-999", "inf", "1e400", "-1", "many"])
def test_a_rating_that_is_none_costs_its_clip_by_name(tmp_path, cell):
    rows = ["1,v,0,0,0,1,0,0,0", f"2,v,0,0,0,{cell},0,0,0", "3,v,1,0,0,1,0,0,0"]
    corpus = read_mosei(mosei(tmp_path, rows))
    assert [(u.clip_id, u.labels) for u in corpus.utterances] == [("v_1", (0, 0, 1, 0, 0, 0))]
    assert [(s.clip_id, s.reason, s.file) for s in corpus.skipped] == [
        ("v_0", "unreadable label", "Labels/a.csv:3")
    ]


@pytest.mark.parametrize(
    "bad", ['9,v,0,"1,0,0,0,0,0', "9,v,0,1,0", '9,v,0,0,0,0,0,0,"' + "0" * 200_000 + '"']
)
def test_a_bad_row_loses_no_other(tmp_path, bad):
    rows = [bad, '3,v,1,0,0,"1",0,0,0', '4,w,0,0,0,"1",0,0,0']
    corpus = read_mosei(mosei(tmp_path, rows))
    assert [u.clip_id for u in corpus.utterances] == ["v_1"]
    found = {(s.reason, s.file) for s in corpus.skipped}
    assert ("unreadable label", "Labels/a.csv:2") in found
    assert ("no transcript", "Labels/a.csv:4") in found


def test_times_are_finite_and_begin_with_the_recording(tmp_path):
    text = "v___0____0.4776___1___One\nv___1___nan___2___Two\n".replace("___0____", "___0___-")
    rows = ["1,v,0,0,0,1,0,0,0", "2,v,1,0,0,1,0,0,0"]
    corpus = read_mosei(mosei(tmp_path, rows, text))
    (first,) = corpus.utterances
    assert (first.start, first.end) == (0, 1)
    assert corpus.notes == ["v_0 begins before its recording, at -0.48 s: taken from 0 s on"]
    assert ("unreadable transcript", "Transcript/Combined/v.txt:2") in {
        (s.reason, s.file) for s in corpus.skipped
    }


@pytest.mark.parametrize("line", ["v___0___-999___1___One", "v___0___0___1___O\0ne\x05"])
def test_a_line_that_no_aligner_writes_is_named(line, tmp_path):
    rows = ["1,v,0,0,0,1,0,0,0", "2,v,1,0,0,1,0,0,0"]
    corpus = read_mosei(mosei(tmp_path, rows, f"{line}\nv___1___1___2___Two\n"))
    assert [u.clip_id for u in corpus.utterances] == ["v_1"]
    assert ("unreadable transcript", "Transcript/Combined/v.txt:1") in {
        (s.reason, s.file) for s in corpus.skipped
    }


def test_names_that_lead_elsewhere_and_folders_that_look_like_files(tmp_path):
    rows = ["1,v,../../x,0,0,1,0,0,0", "2,v,1,0,0,1,0,0,0"]
    root = mosei(tmp_path, rows, "v___../../x___0___1___One\nv___1___1___2___Two\n")
    (root / "Labels" / "zz.csv").mkdir()
    corpus = read_mosei(root)
    assert [u.clip_id for u in corpus.utterances] == ["v_1"]
    assert [s.reason for s in corpus.skipped] == ["unusable name"]
    assert corpus.notes == ["passed over 'Labels/zz.csv': not a file"]


@pytest.mark.parametrize("place", ["Raw", "CMU_MOSEI", "CMU_MOSEI/Raw"])
def test_the_archive_as_it_unpacks(tmp_path, place):
    root = mosei(tmp_path / place, ["1,v,0,0,0,1,0,0,0"], "v___0___0___1___One\n")
    (root / "Transcript" / "Segmented").mkdir()
    (root / "Transcript" / "Combined").rename(root / "Transcript" / "Segmented" / "Combined")
    (root / "Audio" / "Full" / "WAV_16000").mkdir(parents=True)
    (utterance,) = read_mosei(tmp_path).utterances
    assert utterance.audio == root / "Audio" / "Full" / "WAV_16000" / "v.wav"


def test_damage_and_a_mended_raw_corpus_are_noticed(prepared, tmp_path, capsys):
    source, done = prepared("iemocap")
    out, raw = tmp_path / "out", tmp_path / "raw"
    shutil.copytree(source, raw)
    shutil.copytree(done, out)
    file = out / "data" / "train-00000-of-00001.parquet"
    whole = file.read_bytes()
    file.write_bytes(whole[:5000])
    with pytest.raises(ValueError, match=r"train-0.*not as it was written.*run the same mesm"):
        PreparedCorpus.open(out)
    prepare("iemocap", raw, out, PrepareOptions(**FAST))
    PreparedCorpus.open(out).verify()
    wav = next(raw.rglob("*.wav"))
    sound, rate = soundfile.read(wav)
    sound[len(sound) // 2 :] = np.nan
    soundfile.write(wav, sound, rate, subtype="FLOAT")
    capsys.readouterr()
    manifest = prepare("iemocap", raw, out, PrepareOptions(**FAST))
    assert "has changed since" in capsys.readouterr().err
    assert "unreadable sound" in manifest.skipped_by_reason
    assert np.isfinite([manifest.spectrogram_mean, manifest.spectrogram_std]).all()


def no_faces(_detector, frames):
    nothing = np.empty((0, 4), np.float32), np.empty(0, np.float32)
    return [Detections(*nothing, np.empty((0, 5, 2), np.float32))] * len(frames)


def test_a_corpus_of_digital_silence_is_refused_before_anything_stays(raw, tmp_path, monkeypatch):
    monkeypatch.setattr(FaceDetector, "detect", no_faces)
    silent, out = tmp_path / "raw", tmp_path / "out"
    shutil.copytree(raw("iemocap"), silent)
    for wav in silent.rglob("*.wav"):
        with soundfile.SoundFile(wav, "r+") as file:
            file.write(np.zeros((file.frames, file.channels)))
    said = "the sound of the training split is all the same, as digital silence is.*extract"
    with pytest.raises(ValueError, match=said):
        prepare("iemocap", silent, out, PrepareOptions(**FAST))
    with pytest.raises(ValueError, match="not a prepared corpus"):
        PreparedCorpus.open(out)


def test_a_corpus_without_a_face_is_told_and_gives_finite_figures(
    raw, tmp_path, monkeypatch, capsys
):
    """Also hand-crafted features whose columns are all the same, which have no deviation."""
    monkeypatch.setattr(FaceDetector, "detect", no_faces)
    source, out, run = tmp_path / "raw", tmp_path / "out", tmp_path / "run"
    shutil.copytree(raw("iemocap"), source)
    for file in (source / "OpenFace").glob("*.csv"):
        header, *rows = file.read_text().splitlines()
        same = ["1"] * (header.count(",") - 3)
        rows = [",".join([*row.split(",")[:4], *same]) for row in rows]
        file.write_text("\n".join([header, *rows]) + "\n")
    prepare("iemocap", source, out, PrepareOptions(**FAST))
    assert "no face anywhere" in capsys.readouterr().out
    make_features(PreparedCorpus.open(out), FeatureOptions(raw=source, workers=1))
    small = [f"corpus={out}", "training.epochs=1", "model.max_video=20"]
    lstm = load_config("miniature_lf_lstm", small)
    mesm = load_config("miniature_mesm", [f"corpus={out}", *SMALL, "training.epochs=1"])
    for config, place in ((lstm, tmp_path / "lstm"), (mesm, run)):
        train(config, place)
        evaluate_run(place, "test")
    scores = explain(run, ground_truth=source / "ground_truth.jsonl")["scores"]
    assert scores["face"] == {}
    documents = [file for place in (out, run, tmp_path / "lstm") for file in place.rglob("*.json*")]
    assert len(documents) > 10
    for document in documents:
        if document.suffix == ".jsonl":
            assert [finite_json(line) for line in document.read_text().splitlines()]
        else:
            finite_json(document.read_text())
    features = json.loads((out / "features" / "features.json").read_text())
    assert not any(features["video"]["std"])
