"""Runs published: what is written, what is refused, and the same figures as the run's own."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from mesm.corpora.prepared import PreparedCorpus
from mesm.evaluation.evaluate import evaluate_run
from mesm.evaluation.run import Run
from mesm.models.registry import SYSTEMS
from mesm.publishing.contents import CARD, CONFIG, CURVE, FILES, TOKENIZER, WEIGHTS
from mesm.publishing.load import MODELS, load_published
from mesm.publishing.publish import STAGE, publish, without_places
from mesm.training.loop import train
from tests.mesm.corpus_of_speakers import write_corpus
from tests.mesm.tiny_text import write_text_model
from tests.mesm.training.test_imports import run as without
from tests.mesm.trainings import settings, snapshot

# Training, preparation and pages want these, and the reading of a published folder does not.
NOT_FOR_LOADING = (
    *("accelerate", "tensorboard", "pyarrow", "datasets", "av", "soundfile", "librosa", "soxr"),
    *("scipy", "sklearn", "matplotlib", "jinja2", "typer", "PIL"),
)
LOADING = """
import sys
import numpy as np
import torch
from mesm.publishing.load import load_published

torch.set_num_threads(1)
published = load_published({folder!r})
clips = np.load({clips!r})
samples = [
    published.sample(one, str(clips[one + " text"]), clips[one + " faces"], clips[one + " sound"])
    for one in clips["names"].tolist()
]
with torch.inference_mode():
    logits = published.model(published.collate(samples))
np.save({out!r}, published.probabilities(logits).numpy())
assert not {hidden!r} & set(sys.modules), {hidden!r} & set(sys.modules)
"""


def assert_same(run: Run, folder: Path) -> None:
    """Logits, probabilities and decisions on the test split, bit for bit."""
    published = load_published(folder)
    clips = run.corpus.split("test")
    size = run.config.training.batch_size
    found = []
    for start in range(0, len(clips), size):
        samples = [
            published.sample(clip.clip_id, clip.text, clip.faces, clip.spectrogram)
            for clip in clips[start : start + size]
        ]
        with torch.inference_mode():
            found.append(published.model(published.collate(samples)))
    logits, (wanted, _) = torch.cat(found), run.predict("test")
    assert torch.equal(logits, wanted)
    assert run.temperatures is not None
    assert torch.equal(published.probabilities(logits), run.temperatures.probabilities(wanted))
    assert torch.equal(published.decider.decide(logits), run.thresholds().decide(wanted))
    assert published.emotions == tuple(run.emotions)
    assert published.weights == run.origin["weights"]
    assert not published.model.training


@pytest.mark.parametrize("name", ["iemocap_mesm", "iemocap_fe2e", "mosei_mesm"])
def test_the_figures_are_the_runs_own(legacy: Path, name: str, tmp_path: Path) -> None:
    corpus = legacy / "corpora" / name.partition("_")[0]
    folder = publish(legacy / "runs" / name, tmp_path / "model", corpus=corpus)
    assert_same(Run.open(legacy / "runs" / name, corpus=corpus, device="cpu"), folder)
    swept = (legacy / "runs" / name / "sweep.json").is_file()
    names = set(FILES) if swept else set(FILES) - {CURVE}
    assert {file.name for file in folder.iterdir()} == names


def test_one_emotion_a_clip(single_mesm: Path, tmp_path: Path) -> None:
    folder = publish(single_mesm, tmp_path / "model")
    assert_same(Run.open(single_mesm, device="cpu"), folder)
    assert load_published(folder).preprocessing.single_label


def test_a_fold_has_its_own_statistics(tmp_path: Path) -> None:
    corpus = write_corpus(tmp_path / "corpus")
    fold = ("fold.by=session", "fold.index=2", "training.epochs=1", "model.modalities=tv")
    run = train(settings(corpus, *fold, model="fe2e"), tmp_path / "run")
    evaluate_run(run, "test")
    state = json.loads((run / "last/state.json").read_text())
    assert state["processes"] == 1
    (run / "last/state.json").write_text(json.dumps(state | {"processes": 2}))
    folder = publish(run, tmp_path / "model")
    opened = Run.open(run, device="cpu")
    assert_same(opened, folder)
    read = load_published(folder).preprocessing
    figures = (read.spectrogram_mean, read.spectrogram_std)
    assert figures == opened.corpus.sound_figures
    assert figures != PreparedCorpus.open(corpus).sound_figures
    said = (folder / CARD).read_text()
    assert "fold 2 of" in said
    assert f" {2 * opened.config.training.batch_size} clips a step" in said


def test_a_pretrained_text_encoder_goes_along(tiny_corpus: Path, tmp_path: Path) -> None:
    text = write_text_model(tmp_path / "secret" / "bert", "bert")
    changes = (f"model.text.path={text}", "model.text.max_length=60", "training.epochs=1")
    run = train(settings(tiny_corpus, *changes), tmp_path / "run")
    evaluate_run(run, "test")
    folder = publish(run, tmp_path / "model")
    shutil.rmtree(text.parent)
    assert_same(Run.open(run, device="cpu"), folder)
    for file in folder.iterdir():
        assert b"secret" not in file.read_bytes(), file
    assert load_published(folder).settings.text.path == Path("bert")


def test_without_corpus_and_what_a_training_needs(legacy: Path, tmp_path: Path) -> None:
    import numpy as np

    run = Run.open(legacy / "runs/iemocap_mesm", corpus=legacy / "corpora/iemocap", device="cpu")
    publish(run.path, tmp_path / "model", corpus=run.corpus.path)
    clips, arrays = run.corpus.split("test"), {}
    for clip in clips:
        arrays |= {f"{clip.clip_id} text": np.array(clip.text)}
        arrays |= {f"{clip.clip_id} faces": clip.faces, f"{clip.clip_id} sound": clip.spectrogram}
    file, out = tmp_path / "clips.npz", tmp_path / "out.npy"
    np.savez(file, names=np.array([clip.clip_id for clip in clips]), **arrays)
    logits, _ = run.predict("test")
    temperatures = run.temperatures
    assert temperatures is not None
    wanted = temperatures.probabilities(logits)
    shutil.rmtree(legacy)
    moved = (tmp_path / "model").rename(tmp_path / "elsewhere")
    source = LOADING.format(
        folder=str(moved), clips=str(file), out=str(out), hidden=set(NOT_FOR_LOADING)
    )
    done = without(source, *NOT_FOR_LOADING)
    assert done.returncode == 0, done.stderr
    assert torch.equal(torch.from_numpy(np.load(out)), wanted)


def test_nothing_of_the_machine_is_in_it(legacy: Path, tmp_path: Path) -> None:
    folder = publish(
        legacy / "runs/iemocap_mesm", tmp_path / "model", corpus=legacy / "corpora/iemocap"
    )
    clips = PreparedCorpus.open(legacy / "corpora/iemocap").split("train").clip_ids
    for file in folder.iterdir():
        content = file.read_bytes()
        for secret in (str(tmp_path), str(Path.home()), *clips):
            assert secret.encode() not in content, (file, secret)
    values = {"a": Path("/x/y"), "b": [Path("z/w"), 1], "c": {"d": None}}
    assert without_places(values) == {"a": "y", "b": ["w", 1], "c": {"d": None}}


def test_every_system_publishes_or_is_refused_by_name(legacy: Path, tmp_path: Path) -> None:
    assert set(MODELS) == {name for name, one in SYSTEMS.items() if not one.settings.reads_features}
    for name in ("iemocap_mult", "mosei_lf_lstm"):
        corpus = legacy / "corpora" / name.partition("_")[0]
        with pytest.raises(
            ValueError, match=r"reads hand-crafted features .* FE2E or MESM"
        ) as told:
            publish(legacy / "runs" / name, tmp_path / "model", corpus=corpus)
        assert SYSTEMS[Run(legacy / "runs" / name).system].title in str(told.value)
    assert not (tmp_path / "model").exists()


def _unfinished(run: Path) -> None:
    state = json.loads((DATA_STATE).read_text())
    (run / "last").mkdir()
    (run / "last/state.json").write_text(json.dumps(state | {"finished": None}))


def _other_weights(run: Path) -> None:
    tensors = load_file(run / WEIGHTS)
    save_file({name: value + 1 for name, value in tensors.items()}, run / WEIGHTS)


def _changed(change: Callable[[dict[str, Any]], object]) -> Callable[[Path], None]:
    def work(run: Path) -> None:
        values = json.loads((run / "evaluation.json").read_text())
        change(values)
        (run / "evaluation.json").write_text(json.dumps(values))

    return work


DATA_STATE = Path(__file__).parents[2] / "data/legacy/runs/iemocap_mult/last/state.json"


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (_unfinished, r"is still in training, \d+ epochs done"),
        (_other_weights, r"scores are of other weights .*mesm evaluate"),
        (_changed(lambda values: values.pop("test")), r"not evaluated on the test split"),
        (_changed(lambda values: values["test"].pop("intervals")), r"no intervals; run `mesm ev"),
        (lambda run: (run / "config.yaml").unlink(), r"no trained run, config\.yaml is not there"),
        (lambda run: (run / "sweep.json").write_text("{}"), r"sweep\.json: damaged"),
    ],
)
def test_refused_before_anything_is_written(
    spoil: Callable[[Path], None], said: str, legacy: Path, tmp_path: Path
) -> None:
    run = legacy / "runs/iemocap_mesm"
    spoil(run)
    with pytest.raises(ValueError, match=said):
        publish(run, tmp_path / "model", corpus=legacy / "corpora/iemocap")
    assert not (tmp_path / "model").exists()


def test_the_licence_is_said_or_follows(legacy: Path, tmp_path: Path) -> None:
    run, corpus = legacy / "runs/iemocap_fe2e", legacy / "corpora/iemocap"
    with pytest.raises(ValueError, match="--license mine: no identifier that the hub lists"):
        publish(run, tmp_path / "model", corpus=corpus, licence="mine")
    folder = publish(run, tmp_path / "model", corpus=corpus, licence="cc-by-nc-4.0", name="named")
    assert "license: cc-by-nc-4.0" in (folder / CARD).read_text()
    assert "# named" in (folder / CARD).read_text()


def test_a_folder_of_other_files_is_refused_and_stays(legacy: Path, tmp_path: Path) -> None:
    run, corpus = legacy / "runs/iemocap_fe2e", legacy / "corpora/iemocap"
    before = snapshot(run)
    with pytest.raises(ValueError, match=r"holds .* which is no part of a published model"):
        publish(run, run, corpus=corpus)
    out = tmp_path / "out"
    out.mkdir()
    (out / "thesis.txt").write_text("mine")
    with pytest.raises(ValueError, match=r"holds thesis\.txt, which is no part of"):
        publish(run, out, corpus=corpus)
    (tmp_path / "file").touch()
    with pytest.raises(ValueError, match=r"is a file, so .* cannot be a folder"):
        publish(run, tmp_path / "file", corpus=corpus)
    assert {**snapshot(run), "temperatures.json": b""} == {**before, "temperatures.json": b""}
    assert list(out.iterdir()) == [out / "thesis.txt"]


def test_another_models_folder_is_refused_before_any_work(
    legacy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A text encoder of transformers has files of the same names."""
    run, corpus = legacy / "runs/iemocap_fe2e", legacy / "corpora/iemocap"
    monkeypatch.setattr("mesm.publishing.publish.count_flops", lambda _: pytest.fail("worked"))
    out = tmp_path / "encoder"
    out.mkdir()
    (out / WEIGHTS).write_bytes(b"theirs")
    (out / CONFIG).write_text('{"model_type": "albert"}')
    with pytest.raises(ValueError, match=r"holds config\.json, but no .* of a published model"):
        publish(run, out, corpus=corpus)
    (out / CONFIG).unlink()
    with pytest.raises(ValueError, match=r"holds model\.safetensors, but no"):
        publish(run, out, corpus=corpus)
    assert snapshot(out) == {WEIGHTS: b"theirs"}
    with pytest.raises(ValueError, match="no identifier that the hub lists"):
        publish(run, tmp_path / "new", corpus=corpus, licence="mine")
    with pytest.raises(OSError, match=r"/proc/model"):  # nothing can be made there
        publish(run, Path("/proc/model"), corpus=corpus)
    assert not (tmp_path / "new").exists()


def test_it_is_replaced_and_what_git_has_there_stays(
    legacy: Path, published: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    corpus = legacy / "corpora/iemocap"
    (published / ".git").mkdir()
    (published / STAGE).mkdir()  # of a process that was killed
    (published / STAGE / "rest").touch()
    before = snapshot(published)

    def full(*_: Any, **__: Any) -> str:
        raise OSError(28, "No space left on device", "README.md")

    with monkeypatch.context() as patch:
        patch.setattr("mesm.publishing.publish.card", full)
        with pytest.raises(OSError, match="No space left"):
            publish(legacy / "runs/iemocap_fe2e", published, corpus=corpus)
    del before[f"{STAGE}/rest"]
    assert snapshot(published) == before
    assert load_published(published).settings.name == "mesm"
    publish(legacy / "runs/iemocap_fe2e", published, corpus=corpus)
    assert load_published(published).settings.name == "fe2e"
    assert {file.name for file in published.iterdir()} == set(FILES) - {CURVE} | {".git"}
    assert "p_curve" not in (published / CARD).read_text()


def test_parts_of_two_models_are_no_model(legacy: Path, published: Path, tmp_path: Path) -> None:
    """As a kill between two renames would leave them."""
    corpus = legacy / "corpora/iemocap"
    other = publish(legacy / "runs/iemocap_fe2e", tmp_path / "other", corpus=corpus)
    (published / CONFIG).unlink()
    with pytest.raises(ValueError, match=r"no published model, config\.json is not there"):
        load_published(published)
    shutil.copy(other / CONFIG, published / CONFIG)
    with pytest.raises(ValueError, match=r"model\.safetensors: weights of another model"):
        load_published(published)
    shutil.copy(other / WEIGHTS, published / WEIGHTS)
    (published / TOKENIZER).write_bytes((published / TOKENIZER).read_bytes() + b"\n")
    with pytest.raises(ValueError, match=r"tokenizer\.json is not as it was written: its hash"):
        load_published(published)
