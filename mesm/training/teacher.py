"""Learning from another run's outputs besides the labels (Hinton, Vinyals and Dean, 2015).

A clip's label says what it is, and not what its face alone shows or its voice alone sounds like:
where a modality says nothing, or misleads, its branch learns such clips by heart. A trained model's
outputs tell a branch what another one found in the same frames.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from mesm.config.end_to_end import FE2ESettings
from mesm.config.experiment import ExperimentConfig, TrainingSettings
from mesm.corpora.prepared import PreparedCorpus
from mesm.data.clips import SplitDataset
from mesm.evaluation.run import Run
from mesm.evaluation.task import task_of
from mesm.models.late_fusion import LateFusionModel, TrainingOutputs
from mesm.runs.checkpoints import read_progress
from mesm.runs.documents import TeacherIdentity
from mesm.runs.files import read_json
from mesm.runs.folder import RunFolder
from mesm.runs.hashes import sha256


@dataclass
class Pair:
    """The same clips as the pupil's batch and as the teacher's."""

    own: Any
    teachers: Any

    def __len__(self) -> int:
        return len(self.own)

    def to(self, device: torch.device | str) -> Pair:
        """Both on a device."""
        return Pair(self.own.to(device), self.teachers.to(device))

    def pin_memory(self) -> Pair:
        """Both in page-locked memory."""
        return Pair(self.own.pin_memory(), self.teachers.pin_memory())


class PairedDataset(SplitDataset):
    """Each clip as two systems read it, changed at random alike.

    Args:
        own, teachers: the same clips, with the same seed.
    """

    def __init__(self, own: SplitDataset, teachers: SplitDataset) -> None:
        self.own, self.teachers = own, teachers

    def __len__(self) -> int:
        return len(self.own)

    def __getitem__(self, index: int) -> tuple[Any, Any]:
        self.own.epoch = self.teachers.epoch = self.epoch
        return self.own[index], self.teachers[index]

    def labels(self) -> Tensor:
        """As of the pupil's."""
        return self.own.labels()


@dataclass(frozen=True)
class PairedCollate:
    """Samples of a `PairedDataset` to a `Pair`; `own` and `teachers` make a batch each."""

    own: Callable[[list[Any]], Any]
    teachers: Callable[[list[Any]], Any]

    def __call__(self, samples: list[tuple[Any, Any]]) -> Pair:
        """A batch each."""
        own, teachers = zip(*samples, strict=True)
        return Pair(self.own(list(own)), self.teachers(list(teachers)))


class Teacher:
    """A finished FE2E or MESM whose outputs another training learns.

    It sees the pupil's clips at every step, changed at random as the pupil's are.

    Args:
        run: its folder.
        corpus: that the pupil is trained on.
        modalities: the pupil's, of which the teacher must have all.
        device: on which it runs.

    Raises:
        ValueError: no finished run of FE2E or MESM, or one of another corpus or fewer modalities.
    """

    def __init__(
        self, run: Path, corpus: PreparedCorpus, modalities: str, device: torch.device
    ) -> None:
        self.run = Run.open(run, device="cpu")
        progress = read_progress(self.run.folder)
        if progress is not None and not progress.finished:
            raise ValueError(
                f"training.teacher: {run} is still in training, {progress.epoch} epochs done; "
                "finish that first, with the same mesm train"
            )
        model = self.run.model
        if not isinstance(model, LateFusionModel):
            raise ValueError(
                f"training.teacher: {run} is a {type(model).__name__}; wanted FE2E or MESM, which "
                "see what MESM sees"
            )
        if self.run.manifest.files != corpus.manifest.files:
            raise ValueError(
                f"training.teacher: {run} was trained on another corpus, {self.run.corpus.path}, "
                f"than {corpus.path}; its split may hold other clips"
            )
        if self.run.corpus.fold != corpus.fold:
            raise ValueError(
                f"training.teacher: {run} was trained on {_name(self.run.corpus)}, and the pupil "
                f"on {_name(corpus)}: it has learnt clips that the pupil is tested on; name a "
                "teacher of the same fold"
            )
        missing = sorted(set(modalities) - set(model.modalities))
        if missing:
            raise ValueError(
                f"training.teacher: {run} has the modalities {model.modalities}, and the pupil "
                f"also {', '.join(missing)}"
            )
        self.model, self.device = model.to(device).eval(), device
        self.places = [model.modalities.index(letter) for letter in modalities]
        # On the device, so that no step waits for it.
        self.finite = torch.tensor(True, device=device)
        self.identity = {"run": str(run), "weights": sha256(self.run.folder.best)}

    @classmethod
    def of(
        cls,
        config: ExperimentConfig,
        corpus: PreparedCorpus,
        folder: RunFolder,
        device: torch.device,
    ) -> Teacher | None:
        """The teacher of a training, or None; errors as of the class.

        Args:
            config: the pupil's.
            corpus: the pupil's.
            folder: of the pupil, which may have begun with a teacher.
            device: on which the teacher runs.

        Raises:
            ValueError: also where the teacher has another task, the run began with a teacher of
                other weights, or the outputs for its first batch are not finite.
        """
        place = config.training.teacher
        if place is None:
            return None
        assert isinstance(config.model, FE2ESettings)
        teacher = cls(place, corpus, config.model.modalities, device)
        pupils = task_of(config.training.loss, corpus.manifest.single_label)
        if teacher.run.task is not pupils:
            raise ValueError(
                f"training.teacher: {place} has another task, {teacher.run.task.title}, than the "
                f"pupil, {pupils.title}; its probabilities are of other events. Choose another "
                "teacher, or another training.loss"
            )
        teacher.check(folder)
        teacher.check_outputs()
        return teacher

    def __call__(self, pair: Pair) -> tuple[Any, TrainingOutputs]:
        """The pupil's batch, and the teacher's outputs for its clips."""
        return pair.own, self.outputs(pair.teachers)

    @torch.no_grad()
    def outputs(self, batch: Any) -> TrainingOutputs:
        """Its outputs on a batch of its own; of the branches those that the pupil has."""
        found: TrainingOutputs = self.model(batch, branches=True)
        self.finite &= found.logits.isfinite().all() & found.branches.isfinite().all()
        return found._replace(branches=found.branches[self.places])

    def blame(self) -> str:
        """Words on outputs that were not finite; none where all were. Waits for the device."""
        return "" if self.finite else ", after outputs of its teacher that are not finite"

    def check_outputs(self) -> None:
        """Refuse, with a ValueError, a teacher whose outputs are not finite for its first batch."""
        batch = next(iter(self.run.batches("train", self.run.config.training.batch_size)))
        outputs = self.outputs(batch.to(self.device))
        rows = torch.stack((outputs.logits, *outputs.branches)).isfinite().all(dim=2).all(dim=0)
        if not rows.all():
            clip = batch.clip_ids[int((~rows).nonzero()[0])]
            raise ValueError(
                f"training.teacher: {self.identity['run']}: the logits of clip {clip} are not "
                "finite numbers; choose another teacher, or train it anew"
            )

    def check(self, folder: RunFolder) -> None:
        """Refuse, with a ValueError, to go on with another teacher than the run began with."""
        kept = read_json(folder.teacher, TeacherIdentity)
        if kept is not None and kept["weights"] != self.identity["weights"]:
            raise ValueError(
                f"{folder.path}: began with a teacher of other weights than {self.identity['run']} "
                "has now; put those back, or choose another folder for the run"
            )


class Lessons(NamedTuple):
    """The clips that a training's steps read, and how they become batches.

    Attributes:
        clips: the training split.
        collate: samples to a batch, or with a teacher to a `Pair`.
    """

    clips: SplitDataset
    collate: Callable[[list[Any]], Any]


def lessons(
    clips: SplitDataset,
    collate: Callable[[list[Any]], Any],
    settings: TrainingSettings,
    teacher: Teacher | None,
) -> Lessons:
    """The pupil's training split, with the teacher's view of the same clips beside it.

    Args:
        clips: the pupil's.
        collate: makes the pupil's batch of samples.
        settings: of the pupil's training.
        teacher: None: the pupil's view alone.
    """
    if teacher is None:
        return Lessons(clips, collate)
    run = teacher.run
    theirs = run.feed.dataset("train", augment=settings.augment, seed=settings.seed)
    return Lessons(PairedDataset(clips, theirs), PairedCollate(collate, run.collate))


def _name(corpus: PreparedCorpus) -> str:
    fold = corpus.fold
    return "the corpus' own splits" if fold is None else f"fold {fold.index} by {fold.by}"
