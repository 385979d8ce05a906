"""Trainings that learn another run's outputs besides the labels."""

import json
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from mesm.config.experiment import TrainingSettings
from mesm.config.files import load_config
from mesm.corpora.prepared import PreparedCorpus
from mesm.data.clips import EpochBatches, make_loader
from mesm.evaluation.run import Run
from mesm.models.late_fusion import TrainingOutputs
from mesm.runs.folder import RunFolder
from mesm.training.loop import train
from mesm.training.losses import TrainingLoss
from mesm.training.teacher import Pair, Teacher, lessons
from tests.mesm.trainings import digests, refused, settings

CPU = torch.device("cpu")


def taught(corpus: Path, teacher: Path, *overrides: str):
    return settings(corpus, f"training.teacher={teacher}", *overrides)


@pytest.fixture(scope="module")
def pupil(tiny_corpus: Path, tiny_fe2e: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("taught") / "run"
    return train(taught(tiny_corpus, tiny_fe2e, "training.branch_loss=1"), run)


def test_the_loss_is_the_cross_entropy_against_the_teachers_probabilities() -> None:
    generator = torch.Generator().manual_seed(0)
    logits, theirs = torch.randn(2, 4, 3, generator=generator)
    branches, their_branches = torch.randn(2, 2, 4, 3, generator=generator)
    labels = (torch.rand(4, 3, generator=generator) < 0.5).float()
    weights = torch.tensor([1.0, 2.0, 3.0])
    kinds = TrainingSettings(branch_loss=0.5, distillation=0.7)
    loss = TrainingLoss(weights, kinds)
    outputs = TrainingOutputs(logits, branches, {})
    without = loss(outputs, labels, 0.0)
    found = loss(outputs, labels, 0.0, TrainingOutputs(theirs, their_branches, {}))

    def entropy(ours: torch.Tensor, wanted: torch.Tensor) -> float:
        p, q = (1 / (1 + np.exp(-x.double().numpy())) for x in (ours, wanted))
        return float(-(q * np.log(p) + (1 - q) * np.log(1 - p)).mean())

    likeness = entropy(logits, theirs) + sum(
        entropy(*pair) for pair in zip(branches, their_branches, strict=True)
    )
    assert float(found - 0.3 * without) == pytest.approx(0.7 * likeness, rel=1e-5)
    alone = TrainingLoss(weights, TrainingSettings(distillation=0.7))
    more = alone(logits, labels, 0.0, TrainingOutputs(theirs, their_branches, {}))
    assert float(more - 0.3 * alone(logits, labels, 0.0)) == pytest.approx(
        0.7 * entropy(logits, theirs), rel=1e-5
    )


def test_a_teacher_changes_what_is_learnt_and_is_kept_in_the_run(
    pupil: Path, tiny_corpus: Path, tiny_fe2e: Path, tmp_path: Path
) -> None:
    alone = train(settings(tiny_corpus, "training.branch_loss=1"), tmp_path / "alone")
    changes = ("training.branch_loss=1", "training.distillation=0")
    unheard = train(taught(tiny_corpus, tiny_fe2e, *changes), tmp_path / "unheard")
    weights = [load_file(run / "model.safetensors") for run in (pupil, alone, unheard)]
    assert any(not torch.equal(weights[0][name], weights[1][name]) for name in weights[0])
    assert all(torch.equal(weights[1][name], weights[2][name]) for name in weights[1])
    assert json.loads((pupil / "teacher.json").read_text())["run"] == str(tiny_fe2e)
    assert not (alone / "teacher.json").exists()


def test_stopped_and_started_again_it_ends_alike(
    pupil: Path, tiny_corpus: Path, tiny_fe2e: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class StoppedError(Exception):
        pass

    def stop(*_: object) -> None:
        raise StoppedError

    config = taught(tiny_corpus, tiny_fe2e, "training.branch_loss=1")
    run = tmp_path / "run"
    with monkeypatch.context() as patch:
        patch.setattr("mesm.training.display.Display.epoch", stop)
        with pytest.raises(StoppedError):
            train(config, run)
    train(config, run)
    assert digests(run) == digests(pupil)


@pytest.mark.parametrize(("precision", "mixed"), [("no", False), ("bf16", True)])
def test_a_teacher_runs_at_the_training_s_precision(
    precision: str,
    mixed: bool,
    tiny_corpus: Path,
    tiny_fe2e: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    heard: list[bool] = []
    answer = Teacher.__call__

    def listen(self: Teacher, pair: Pair) -> tuple[Any, TrainingOutputs]:
        heard.append(torch.is_autocast_enabled("cpu"))
        return answer(self, pair)

    monkeypatch.setattr(Teacher, "__call__", listen)
    train(taught(tiny_corpus, tiny_fe2e, f"training.mixed_precision={precision}"), tmp_path / "run")
    assert heard
    assert set(heard) == {mixed}


def test_both_see_the_same_clip_changed_alike(tiny_corpus: Path, tiny_fe2e: Path) -> None:
    corpus = PreparedCorpus.open(tiny_corpus)
    teacher = Teacher(tiny_fe2e, corpus, "tav", CPU)
    own = Run.open(tiny_fe2e)
    changed = TrainingSettings(augment=True, seed=3)
    pairs, collate = lessons(
        own.feed.dataset("train", augment=True, seed=3), own.collate, changed, teacher
    )
    seen = []
    for epoch in (1, 2):
        pairs.epoch = epoch
        batch = next(iter(make_loader(pairs, EpochBatches(len(pairs), 4, 0), collate)))
        assert isinstance(batch, Pair)
        assert len(batch) == 4
        assert batch.own.clip_ids == batch.teachers.clip_ids
        assert torch.equal(batch.own.faces, batch.teachers.faces)
        assert torch.equal(batch.own.spectrograms, batch.teachers.spectrograms)
        seen.append(batch.own.faces)
        own_batch, outputs = teacher(batch)
        assert own_batch is batch.own
        with torch.no_grad():
            wanted = own.model(batch.teachers, branches=True)
        assert torch.equal(outputs.logits, wanted.logits)
        assert torch.equal(outputs.branches, wanted.branches)
    assert torch.equal(pairs.labels(), own.dataset("train").labels())
    assert not torch.equal(*seen)


def test_the_branches_are_those_of_the_pupil_s_modalities(
    tiny_corpus: Path, tiny_fe2e: Path
) -> None:
    corpus = PreparedCorpus.open(tiny_corpus)
    batch = next(iter(Run.open(tiny_fe2e).batches("valid", 3)))
    every, some = (
        Teacher(tiny_fe2e, corpus, letters, CPU).outputs(batch) for letters in ("tav", "tv")
    )
    assert every.branches.shape[0] == 3
    assert torch.equal(some.branches, every.branches[[0, 2]])
    assert torch.equal(some.logits, every.logits)
    assert not every.logits.requires_grad


def test_a_teacher_of_one_modality_has_one_branch(tiny_corpus: Path, tmp_path: Path) -> None:
    config = settings(tiny_corpus, "model.modalities=v", "training.epochs=1", model="fe2e")
    teacher = Teacher(train(config, tmp_path / "run"), PreparedCorpus.open(tiny_corpus), "v", CPU)
    outputs = teacher.outputs(next(iter(teacher.run.batches("valid", 3))))
    assert outputs.branches.shape == (1, *outputs.logits.shape)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("no run", "gone: no trained run, config.yaml is not there"),
        ("fewer modalities", "has the modalities ta, and the pupil also v"),
    ],
)
def test_a_teacher_that_does_not_fit_is_refused_before_anything_is_written(
    change: str, message: str, tiny_corpus: Path, tmp_path: Path
) -> None:
    teacher = tmp_path / "gone"
    if change == "fewer modalities":
        changes = ("model.modalities=ta", "training.epochs=1", "model.selection=hard")
        train(settings(tiny_corpus, *changes), teacher)
    refused(taught(tiny_corpus, teacher), tmp_path / "run", message)


def test_a_teacher_whose_outputs_are_not_finite_is_refused_before_anything_is_written(
    tiny_corpus: Path, tiny_fe2e: Path, tmp_path: Path
) -> None:
    teacher = shutil.copytree(tiny_fe2e, tmp_path / "teacher")
    weights = load_file(teacher / "model.safetensors")
    # Finite, as a reader of weights wants them, and too large to be multiplied: branches give 3e38.
    for name in weights:
        if "classify" in name:
            weights[name] = torch.full_like(weights[name], 3e38 if name.endswith("bias") else 0.0)
        elif name.startswith("fuse"):
            weights[name] = torch.full_like(weights[name], 3e38)
    save_file(weights, teacher / "model.safetensors")
    message = "training.teacher: .*teacher: the logits of clip .* are not finite numbers"
    refused(taught(tiny_corpus, teacher), tmp_path / "run", message)


def test_outputs_that_are_no_longer_finite_are_the_teachers_fault(
    tiny_corpus: Path, tiny_fe2e: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer = Teacher.__call__

    def spoil(self: Teacher, pair: Pair) -> tuple[Any, TrainingOutputs]:
        with torch.no_grad():
            next(self.model.parameters()).fill_(torch.nan)
        return answer(self, pair)

    monkeypatch.setattr(Teacher, "__call__", spoil)
    with pytest.raises(ValueError, match="the loss is nan, after outputs of its teacher that are"):
        train(taught(tiny_corpus, tiny_fe2e), tmp_path / "run")


def test_a_teacher_of_another_corpus_is_refused(tiny_fe2e: Path) -> None:
    manifest = SimpleNamespace(files={"data/train-00000-of-00001.parquet": "0" * 64})
    other: Any = SimpleNamespace(path=Path("elsewhere"), manifest=manifest)
    with pytest.raises(ValueError, match=r"was trained on another corpus, .*, than elsewhere"):
        Teacher(tiny_fe2e, other, "tav", CPU)


def test_a_teacher_that_is_still_training_is_refused(tiny_fe2e: Path, tmp_path: Path) -> None:
    teacher = shutil.copytree(tiny_fe2e, tmp_path / "teacher")
    state = json.loads((teacher / "last/state.json").read_text())
    (teacher / "last/state.json").write_text(json.dumps(state | {"finished": None}))
    corpus = Run.open(teacher).corpus
    with pytest.raises(ValueError, match="is still in training, 2 epochs done; finish that first"):
        Teacher(teacher, corpus, "tav", CPU)


def test_a_damaged_identity_of_the_teacher_is_named(
    pupil: Path, tiny_corpus: Path, tiny_fe2e: Path, tmp_path: Path
) -> None:
    run = RunFolder(shutil.copytree(pupil, tmp_path / "run"))
    run.teacher.write_text("[1")
    with pytest.raises(ValueError, match=r"teacher\.json"):
        Teacher(tiny_fe2e, PreparedCorpus.open(tiny_corpus), "tav", CPU).check(run)


def test_systems_of_features_neither_teach_nor_learn(tiny_corpus: Path, tmp_path: Path) -> None:
    with pytest.raises(
        ValueError, match=r"training\.teacher is FE2E's and MESM's; mult reads other"
    ):
        load_config("iemocap_mult", [f"corpus={tiny_corpus}", f"training.teacher={tmp_path}"])


def test_another_teacher_at_the_same_place_is_refused_on_resuming(
    tiny_corpus: Path, tiny_fe2e: Path, tmp_path: Path
) -> None:
    teacher = shutil.copytree(tiny_fe2e, tmp_path / "teacher")
    config = taught(tiny_corpus, teacher, "training.epochs=1")
    run = train(config, tmp_path / "run")
    weights = load_file(teacher / "model.safetensors")
    name = next(name for name, value in weights.items() if value.is_floating_point())
    weights[name] = weights[name] + 1
    save_file(weights, teacher / "model.safetensors")
    train(config, run)  # is finished, and asks nobody
    state = json.loads((run / "last/state.json").read_text())
    state["finished"] = None
    (run / "last/state.json").write_text(json.dumps(state))
    with pytest.raises(ValueError, match="began with a teacher of other weights"):
        train(config, run)
