"""Learning from another run's outputs besides the labels (Hinton, Vinyals and Dean, 2015).

A clip's label says what it is, and not what its face alone shows or its voice alone sounds like:
where a modality says nothing, or misleads, its branch learns such clips by heart. A trained model's
outputs tell a branch what another one found in the same frames.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mesm.config.end_to_end import FE2ESettings
from mesm.config.experiment import ExperimentConfig, TrainingSettings
from mesm.corpora.prepared import PreparedCorpus
from mesm.data.clips import SplitDataset
from mesm.evaluation.run import Run
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


class PairedCollate:
    """Samples of a `PairedDataset` to a `Pair`."""

    def __init__(
        self, own: Callable[[list[Any]], Any], teachers: Callable[[list[Any]], Any]
    ) -> None:
        self.own, self.teachers = own, teachers

    def __call__(self, samples: list[tuple[Any, Any]]) -> Pair:
        """A batch each."""
        own, teachers = zip(*samples, strict=True)
        return Pair(self.own(list(own)), self.teachers(list(teachers)))


class Teacher:
    """A finished FE2E or MESM whose outputs another training learns.

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
        self.run = Run.open(run)
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
        missing = sorted(set(modalities) - set(model.modalities))
        if missing:
            raise ValueError(
                f"training.teacher: {run} has the modalities {model.modalities}, and the pupil "
                f"also {', '.join(missing)}"
            )
        self.model = model.to(device).eval()
        self.places = [model.modalities.index(letter) for letter in modalities]
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
            ValueError: also where the run began with a teacher of other weights.
        """
        place = config.training.teacher
        if place is None:
            return None
        assert isinstance(config.model, FE2ESettings)
        teacher = cls(place, corpus, config.model.modalities, device)
        teacher.check(folder)
        return teacher

    def paired(self, own: SplitDataset, settings: TrainingSettings) -> PairedDataset:
        """The pupil's training split, with the teacher's view of the same clips beside it.

        Args:
            own: the pupil's.
            settings: of the pupil's training.
        """
        theirs = self.run.feed.dataset("train", augment=settings.augment, seed=settings.seed)
        return PairedDataset(own, theirs)

    def collate(self, own: Callable[[list[Any]], Any]) -> PairedCollate:
        """Makes a `Pair` of samples; `own` makes the pupil's batch."""
        return PairedCollate(own, self.run.collate)

    @torch.no_grad()
    def __call__(self, batch: Any) -> TrainingOutputs:
        """Its outputs on a batch of its own; of the branches those that the pupil has."""
        found: TrainingOutputs = self.model(batch, branches=True)
        return found._replace(branches=found.branches[self.places])

    def check(self, folder: RunFolder) -> None:
        """Refuse, with a ValueError, to go on with another teacher than the run began with."""
        kept = read_json(folder.teacher, TeacherIdentity)
        if kept is not None and kept["weights"] != self.identity["weights"]:
            raise ValueError(
                f"{folder.path}: began with a teacher of other weights than {self.identity['run']} "
                "has now; put those back, or choose another folder for the run"
            )
