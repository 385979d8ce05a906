"""Learning from another run's outputs besides the labels (Hinton, Vinyals and Dean, 2015).

A clip's label says what it is, and not what its face alone shows or its voice alone sounds like:
where a modality says nothing, or misleads, its branch learns such clips by heart. A trained model's
outputs tell a branch what another one found in the same frames.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from accelerate import Accelerator
from torch import Tensor

from mesm.config.end_to_end import FE2ESettings
from mesm.config.experiment import ExperimentConfig
from mesm.config.modalities import Modality
from mesm.corpora.prepared import PreparedCorpus
from mesm.evaluation.predict import NotFiniteError, predict
from mesm.evaluation.run import Run
from mesm.evaluation.task import task_of
from mesm.models.late_fusion import LateFusionModel, TrainingOutputs
from mesm.runs.checkpoints import read_progress
from mesm.runs.documents import TeacherIdentity
from mesm.runs.files import read_json
from mesm.runs.folder import RunFolder
from mesm.runs.hashes import sha256


class Teacher:
    """A finished FE2E or MESM whose outputs another training learns.

    It sees every clip once, before the training, and as it is: the pupil's are changed at random.

    Args:
        run: its folder.
        corpus: that the pupil is trained on.
        modalities: the pupil's, of which the teacher must have all.

    Raises:
        ValueError: no finished run of FE2E or MESM, or one of another corpus or fewer modalities.
    """

    def __init__(self, run: Path, corpus: PreparedCorpus, modalities: str) -> None:
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
        self.model, self.modalities = model, modalities
        self.identity = {"run": str(run), "weights": sha256(self.run.folder.best)}

    @classmethod
    def of(
        cls, config: ExperimentConfig, corpus: PreparedCorpus, folder: RunFolder
    ) -> Teacher | None:
        """The teacher of a training, or None; errors as of the class.

        Args:
            config: the pupil's.
            corpus: the pupil's.
            folder: of the pupil, which may have begun with a teacher.

        Raises:
            ValueError: also where the teacher has another task, or the run began with a teacher of
                other weights.
        """
        place = config.training.teacher
        if place is None:
            return None
        assert isinstance(config.model, FE2ESettings)
        teacher = cls(place, corpus, config.model.modalities)
        pupils = task_of(config.training.loss, corpus.manifest.single_label)
        if teacher.run.task is not pupils:
            raise ValueError(
                f"training.teacher: {place} has another task, {teacher.run.task.title}, than the "
                f"pupil, {pupils.title}; its probabilities are of other events. Choose another "
                "teacher, or another training.loss"
            )
        teacher.check(folder)
        return teacher

    def answers(self, accelerator: Accelerator, workers: int = 0) -> Answers:
        """The outputs for the training split, in float32.

        Args:
            accelerator: the training's, among whose processes the clips are shared.
            workers: processes that decode meanwhile.

        Raises:
            ValueError: its outputs are not finite, or two clips have one id.
        """
        place = self.identity["run"]
        clips = self.run.corpus.split("train").clip_ids
        rows = {clip: row for row, clip in enumerate(clips)}
        if len(rows) < len(clips):
            raise ValueError(f"{self.run.corpus.path}: clips of the training split share an id")
        try:
            found = predict(
                self.model.to(accelerator.device),
                self.run.dataset("train"),
                self.run.collate,
                self.run.config.training.batch_size,
                accelerator.device,
                accelerator,
                progress="teacher" if accelerator.is_main_process else None,
                workers=workers,
                branches=self.model.branch_names,
            )
        except NotFiniteError as error:
            raise ValueError(
                f"training.teacher: {place}: {error}; choose another teacher, or train it anew"
            ) from error
        wanted = [modality.media for modality in Modality if modality.letter in self.modalities]
        branches = torch.stack([found.branches[name] for name in wanted])
        return Answers(rows, found.logits, branches, accelerator.device, self.identity)

    def check(self, folder: RunFolder) -> None:
        """Refuse, with a ValueError, to go on with another teacher than the run began with."""
        kept = read_json(folder.teacher, TeacherIdentity)
        if kept is not None and kept["weights"] != self.identity["weights"]:
            raise ValueError(
                f"{folder.path}: began with a teacher of other weights than {self.identity['run']} "
                "has now; put those back, or choose another folder for the run"
            )


def _name(corpus: PreparedCorpus) -> str:
    fold = corpus.fold
    return "the corpus' own splits" if fold is None else f"fold {fold.index} by {fold.by}"


@dataclass(frozen=True)
class Answers:
    """A teacher's outputs for N clips.

    Args:
        rows: of each clip.
        logits: (N, E), on the CPU.
        branches: (M, N, E), of the pupil's M modalities, likewise.
        device: on which they are wanted.
        identity: the content of teacher.json.
    """

    rows: dict[str, int]
    logits: Tensor
    branches: Tensor
    device: torch.device
    identity: dict[str, str]

    def __call__(self, clip_ids: Sequence[str]) -> TrainingOutputs:
        """The outputs for some clips, in their order."""
        rows = [self.rows[clip] for clip in clip_ids]
        logits, branches = self.logits[rows], self.branches[:, rows]
        return TrainingOutputs(
            logits.to(self.device, non_blocking=True),
            branches.to(self.device, non_blocking=True),
            {},
        )
