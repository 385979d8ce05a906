"""From a generated raw corpus to tables, and to scores against its ground truth."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from mesm.analysis.planted import face_regions, read_ground_truth
from mesm.corpora.miniature.meld_layout import FAULTS as MELD_FAULTS
from mesm.corpora.prepare import PrepareOptions, prepare
from mesm.corpora.prepared import PreparedCorpus
from tests.mesm.trainings import SMALL

# Faults with which a clip cannot be prepared; with the others it can.
USELESS = {
    "meld": {"unreadable_video", "missing_video", "no_labels"},
    "ravdess": {"unreadable_full_file"},
    "crema_d": {"unreadable_video"},
}
WITHOUT = {
    "meld": {"missing_sound": "audio"},
    "crema_d": {"silent_sound": "audio", "missing_wav": "audio", "missing_video": "faces"},
}


@pytest.fixture(scope="module", params=["meld", "ravdess", "crema_d"])
def made(request, tmp_path_factory):
    """Name, raw corpus and prepared one."""
    raw = request.getfixturevalue(request.param)
    out = tmp_path_factory.mktemp("prepared") / request.param
    reading = {"song": True} if request.param == "ravdess" else {}
    prepare(
        request.param, raw.root, out, PrepareOptions(min_face_size=60, workers=1, reading=reading)
    )
    return request.param, raw, PreparedCorpus.open(out)


def clips_of(corpus):
    return {
        clip.clip_id: (split, clip)
        for split in ("train", "valid", "test")
        for clip in corpus.split(split)
    }


def test_every_clip_is_prepared_with_its_label_or_left_out_for_its_fault(made):
    name, raw, corpus = made
    clips, emotions = clips_of(corpus), corpus.manifest.emotions
    assert corpus.manifest.synthetic
    assert corpus.manifest.single_label
    assert clips.keys() == {
        truth["clip_id"] for truth in raw.truths if truth["fault"] not in USELESS[name]
    }
    for truth in raw.truths:
        if truth["clip_id"] in clips:
            _, clip = clips[truth["clip_id"]]
            assert [e for e, y in zip(emotions, clip.labels, strict=True) if y] == truth["emotions"]


@pytest.mark.parametrize("made", ["meld", "crema_d"], indirect=True)
def test_recordings_without_pictures_or_sound_are_kept_as_such(made):
    name, raw, corpus = made
    clips = clips_of(corpus)
    for fault, lost in WITHOUT[name].items():
        _, clip = clips[raw.fault(fault)["clip_id"]]
        counts = {"audio": clip.spectrogram.shape[1], "faces": len(clip.faces)}
        assert [kind for kind, count in counts.items() if count == 0] == [lost], fault


@pytest.mark.parametrize("made", ["meld"], indirect=True)
def test_melds_clips_stay_in_their_files_split(made):
    _, raw, corpus = made
    files = {"train": "train", "dev": "valid", "test": "test"}
    for clip_id, (split, _) in clips_of(corpus).items():
        assert files[clip_id.partition("_")[0]] == split
    assert set(MELD_FAULTS) == {truth["fault"] for truth in raw.truths} - {None}


def test_planted_action_units_lie_in_the_faces_that_were_found(made):
    _, raw, corpus = made
    planted = read_ground_truth(raw.root / "ground_truth.jsonl")
    clips = clips_of(corpus)
    seen = 0
    for truth in raw.good:
        _, clip = clips[truth["clip_id"]]
        assert clip.face_found.all()
        np.testing.assert_allclose(
            clip.face_times, [frame["time"] for frame in truth["frames"]], atol=0.02
        )
        regions = face_regions(planted[clip.clip_id], clip.face_times, clip.face_boxes)
        wanted = sum(len(u["regions"]) for f in truth["frames"] for u in f["action_units"])
        assert sum(map(len, regions)) >= 0.9 * wanted
        seen += wanted
    assert seen > 20


@pytest.mark.parametrize("made", ["mosei", "meld", "ravdess", "crema_d"], indirect=True)
def test_a_model_goes_to_tables_pictures_and_a_page(made, tmp_path):
    from mesm.analysis.attention_score import score_attention
    from mesm.analysis.explain import explain
    from mesm.analysis.sweep import sweep
    from mesm.config.files import load_config
    from mesm.evaluation.evaluate import evaluate_run
    from mesm.report.page import write_report
    from mesm.tables.results import results_tables
    from mesm.tables.sweeps import sweep_tables
    from mesm.training.loop import train

    name, raw, corpus = made
    torch.set_num_threads(1)
    run = tmp_path / "run"
    changes = [f"corpus={corpus.path}", *SMALL, "training.epochs=1", "model.selection=weighted"]
    train(load_config(f"{name}_mesm", changes), run)
    rows = (run / "metrics.jsonl").read_text().splitlines()
    assert np.isfinite(json.loads(rows[0])["train_loss"])
    scores = score_attention(run, raw.root / "ground_truth.jsonl", "train")
    assert scores["clips_without_ground_truth"] == 0
    found = evaluate_run(run, "test")
    single = name != "mosei"
    assert ("task" in found) == single
    assert found["clips"] == corpus.manifest.counts["test"].clips
    swept = sweep(run, [0.5], repeats=1)
    assert swept["points"][0]["average"].keys() == found["average"].keys()
    explain(run)
    for (table,) in (results_tables([run]), sweep_tables([run])):
        assert corpus.manifest.title in table.caption
        assert ("UAR" in table.head) == single
    page = write_report(tmp_path / "page.html", [run]).read_text(encoding="utf-8")
    assert ("Which emotion is taken for which" in page) == single
    assert "What the attention keeps" in page


def test_hand_crafted_features_are_made_and_learnt_from(made, tmp_path):
    from mesm.config.files import load_config
    from mesm.features.make import FeatureOptions, make_features
    from mesm.training.loop import train

    name, raw, corpus = made
    torch.set_num_threads(1)
    features = make_features(corpus, FeatureOptions(raw=raw.root, workers=1))
    without = corpus.manifest.without
    assert features.modality("audio").clips_without_rows == sorted(without.get("sound", []))
    assert set(without.get("pictures", [])) <= set(features.modality("video").clips_without_rows)
    changes = [f"corpus={corpus.path}", "training.epochs=1"]
    train(load_config("iemocap_lf_lstm", changes), tmp_path / "run")
    rows = (tmp_path / "run/metrics.jsonl").read_text().splitlines()
    assert np.isfinite(json.loads(rows[0])["train_loss"]), name
