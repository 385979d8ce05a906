"""Predictions of recordings against those of the prepared corpus that they became."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from mesm import Pipeline
from mesm.evaluation.run import Run
from mesm.inference.recording import InputError
from tests.mesm.inference.recordings import film


def prepared(run: Path, clip_id: str) -> torch.Tensor:
    """The logits of a clip as `mesm evaluate` gets them."""
    opened = Run.open(run, device="cpu")
    with torch.inference_mode():
        logits: torch.Tensor = opened.model(opened.batch_of(clip_id))[0]
    return logits


@pytest.mark.parametrize("single", [False, True])
def test_a_prepared_clip_and_its_recording_have_the_same_probabilities(
    own_mesm: Path, own_single: Path, films: Path, single: bool
) -> None:
    run = own_single if single else own_mesm
    pipeline = Pipeline.from_pretrained(run, "cpu")
    (found,) = pipeline(films / "film2.mp4", text="very happy").pieces
    logits = prepared(run, "film2").double()
    wanted = logits.softmax(0) if single else logits.sigmoid()
    np.testing.assert_allclose(list(found.probabilities.values()), wanted, atol=1e-5)
    assert (found.faces, found.frames, found.people, found.missing) == (4, 4, 1, ())
    decided = pipeline.trained.decider.decide(logits[None].float())[0]
    assert [name in found.decided for name in pipeline.emotions] == decided.tolist()
    assert (found.thresholds is None) == single


def test_a_part_of_a_recording_is_as_it_was_prepared(
    own_mesm: Path, films: Path, tmp_path: Path
) -> None:
    table = tmp_path / "pieces.csv"
    table.write_text("start,end,text\n0.3,1.2,a sad rest\n")
    pipeline = Pipeline.from_pretrained(own_mesm, "cpu")
    (found,) = pipeline(films / "film0.mp4", segments=table).pieces
    wanted = prepared(own_mesm, "rest0").double().sigmoid()
    np.testing.assert_allclose(list(found.probabilities.values()), wanted, atol=1e-5)


def test_a_run_does_without_its_corpus(
    own_mesm: Path, own_corpus: Path, films: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    shutil.copytree(own_mesm, run)
    config = run / "config.yaml"
    config.write_text(config.read_text().replace(str(own_corpus), str(tmp_path / "gone")))
    kept, alone = (Pipeline.from_pretrained(path, "cpu") for path in (own_mesm, run))
    assert alone(films / "film1.mp4", "how sad") == kept(films / "film1.mp4", "how sad")
    assert alone.trained.notes == ()
    assert alone.trained.decider == Run.open(own_mesm).thresholds()
    # An earlier run kept neither statistics nor thresholds.
    (run / "preprocessing.json").unlink()
    with pytest.raises(ValueError, match=r"earlier run.*its corpus is not there.*gone"):
        Pipeline.from_pretrained(run, "cpu")
    config.write_text(config.read_text().replace(str(tmp_path / "gone"), str(own_corpus)))
    (run / "thresholds.json").unlink()
    assert Pipeline.from_pretrained(run)(films / "film1.mp4", "how sad") == kept(
        films / "film1.mp4", "how sad"
    )


def test_without_tuned_thresholds_a_half_is_taken_and_said(
    own_mesm: Path, own_corpus: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    shutil.copytree(own_mesm, run)
    config = run / "config.yaml"
    config.write_text(config.read_text().replace(str(own_corpus), str(tmp_path / "gone")))
    (run / "thresholds.json").unlink()
    trained = Pipeline.from_pretrained(run, "cpu").trained
    assert trained.decider.policy == "0.5"
    assert trained.notes[0].startswith("thresholds are 0.5: the run keeps no tuned ones")


def test_missing_modalities_are_left_out_and_named(
    own_mesm: Path, films: Path, tmp_path: Path
) -> None:
    pipeline = Pipeline.from_pretrained(own_mesm, "cpu")
    mute = film(tmp_path / "mute.mp4", 1.7, mute=True)
    (whole,) = pipeline(films / "film0.mp4", "so happy").pieces
    (quiet,) = pipeline(mute, "so happy").pieces
    (wordless,) = pipeline(films / "film0.mp4").pieces
    assert (whole.missing, quiet.missing, wordless.missing) == ((), ("sound",), ("text",))
    # By hand: without the branch, and without the query.
    model = pipeline.trained.model
    (piece,) = pipeline.read(*_opened(films / "film0.mp4"))
    with torch.inference_mode():
        batch = pipeline.batch([piece])
        assert batch.text_there is not None
        assert batch.text_there.tolist() == [False]
        text = torch.zeros_like(model.encode_text(batch))
        query = {"query": text}
        branches = [
            view.branch(
                view.branch.extractor(view.frames, query["query"], view.lengths, None),
                view.lengths,
                view.longest,
            )
            for view in model.views(batch)
        ]
        wanted = sum(w * b for w, b in zip(model.fuse.weight[1:], branches, strict=True))
    np.testing.assert_allclose(
        list(wordless.probabilities.values()), wanted[0].double().sigmoid(), atol=1e-6
    )
    assert wordless.probabilities != whole.probabilities


def _opened(file: Path):
    from mesm.inference.cutting import Words, cut
    from mesm.inference.recording import open_recording

    recording = open_recording(file)
    return recording, cut(recording, Words())


def test_what_a_corpus_lacks_is_answered_as_there(
    own_corpus: Path, own_mesm: Path, films: Path, tmp_path: Path
) -> None:
    """A corpus with clips that have no text: predict and evaluate give these the same answers."""
    run = tmp_path / "run"
    shutil.copytree(own_mesm, run)
    from mesm.data.preprocessing import Preprocessing
    from mesm.runs.folder import RunFolder

    folder = RunFolder(run)
    kept = Preprocessing.read(folder)
    assert kept == Preprocessing.of(Run.open(own_mesm).corpus)
    assert kept.lacking == ()
    from dataclasses import replace

    replace(kept, lacking=("text",)).write(folder)
    pipeline = Pipeline.from_pretrained(run, "cpu")
    (found,) = pipeline(films / "film0.mp4").pieces
    opened = Run.open(own_mesm, device="cpu")
    sample = replace(opened.feed.single("film0")[0], text="")
    with torch.inference_mode():
        wanted = opened.model(opened.collate([sample]))[0].double().sigmoid()
    np.testing.assert_allclose(list(found.probabilities.values()), wanted, atol=1e-5)
    assert found.missing == ("text",)


@pytest.mark.parametrize("person", [0, -1, True, "", "0", "two", 1.0])
def test_who_can_be_no_person_is_refused_before_any_work(
    own_mesm: Path, films: Path, person: Any
) -> None:
    pipeline = Pipeline.from_pretrained(own_mesm, "cpu")
    with pytest.raises(
        InputError, match=f"wanted a number from 1 on, 'all' or None, got {person!r}"
    ):
        pipeline(next(films.glob("*.mp4")), person=person)


def test_batches_are_a_list(own_mesm: Path, films: Path) -> None:
    pipeline = Pipeline.from_pretrained(own_mesm, "cpu")
    files = [films / "film0.mp4", str(films / "film1.mp4")]
    found = pipeline(files, text=["so happy", None])
    assert [one.file.name for one in found] == ["film0.mp4", "film1.mp4"]
    assert found[0] == pipeline(files[0], "so happy")
    assert found[1].pieces[0].missing == ("text",)
    with pytest.raises(InputError, match="wanted 2 texts"):
        pipeline(files, text=["one"])


def test_another_p_is_asked_for_and_put_back(own_mesm: Path, own_single: Path, films: Path) -> None:
    pipeline = Pipeline.from_pretrained(own_mesm, "cpu")
    before = pipeline(films / "film0.mp4", "so happy")
    other = list(pipeline.stream(films / "film0.mp4", text="so happy", p=0.1))
    assert other[0].probabilities != before[0].probabilities
    assert pipeline(films / "film0.mp4", "so happy") == before
    with pytest.raises(ValueError, match="has no p"):
        list(Pipeline.from_pretrained(own_single, "cpu").stream(films / "film0.mp4", p=0.1))


def test_systems_on_features_are_refused_by_name(tiny_features: Path, tmp_path: Path) -> None:
    from mesm.config.files import load_config
    from mesm.training.loop import train

    config = load_config("iemocap_lf_lstm", [f"corpus={tiny_features}", "training.epochs=1"])
    run = train(config, tmp_path / "run")
    with pytest.raises(ValueError, match=r"LF-LSTM, reads hand-crafted features.*fe2e or mesm"):
        Pipeline.from_pretrained(run)


def test_what_is_no_run_is_refused(own_mesm: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"no trained run, config.yaml is not there"):
        Pipeline.from_pretrained(tmp_path)
    run = tmp_path / "run"
    shutil.copytree(own_mesm, run)
    file = run / "preprocessing.json"
    values = json.loads(file.read_text())
    file.write_text(json.dumps(values | {"spectrogram_mean": 3.0}))
    with pytest.raises(ValueError, match=r"preprocessing.json: is not as it was written"):
        Pipeline.from_pretrained(run)
