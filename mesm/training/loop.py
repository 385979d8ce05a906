"""Training that can be killed at any moment: the same command goes on where it stopped."""

from __future__ import annotations

import logging
import math
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator, DistributedDataParallelKwargs
from accelerate.state import AcceleratorState

from mesm.config.end_to_end import MESMSettings
from mesm.config.experiment import ExperimentConfig
from mesm.config.files import dump_config, flat_settings
from mesm.data.clips import EpochBatches, make_loader
from mesm.data.corpus_folder import corpus_to_train_on, in_fold, write_fold, write_place
from mesm.data.corpus_modalities import with_modalities_of
from mesm.evaluation.kept import keep_validation
from mesm.evaluation.predict import NotFiniteError
from mesm.evaluation.task import task_of
from mesm.models.build import (
    Model,
    arguments_of,
    build_model,
    check_memory,
    initialise,
    restore_model,
)
from mesm.models.registry import open_feed
from mesm.runs.checkpoints import (
    Progress,
    load_last,
    load_weights,
    read_progress,
    save_best,
    save_last,
)
from mesm.runs.files import owned, write_beside
from mesm.runs.finite import first_not_finite
from mesm.runs.folder import RunFolder, json_text
from mesm.training.agreement import (
    check_alike,
    check_launcher,
    check_shared,
    mark_told,
    together,
)
from mesm.training.check import check_arguments, check_run
from mesm.training.display import Display
from mesm.training.diverged import Diverged, refusal
from mesm.training.losses import CRITERIA, TrainingLoss
from mesm.training.norms import count_norms, drawn_batches, synchronise
from mesm.training.optimizer import make_optimizer, set_learning_rate
from mesm.training.p_schedule import PSchedule
from mesm.training.seeds import seed_everything
from mesm.training.share_counts import Shares
from mesm.training.step import TrainingStep
from mesm.training.stopping import count_epoch
from mesm.training.teacher import Teacher, lessons
from mesm.training.validation import Validation

logger = logging.getLogger(__name__)

# Steps between two readings of the loss for the progress bar: each waits for the device.
READ_EVERY = 50
# Clips that batch norms' statistics are counted on, where the steps of an epoch had several p.
NORM_CLIPS = 512


def train(config: ExperimentConfig, run: Path) -> Path:
    """Train a model, or go on with a run that was stopped.

    One process on a CPU or a GPU, or one of many under `torchrun` or `accelerate launch`, whose
    steps are those of one process with all their clips. A run that was killed and started again
    ends with the same weights, bit for bit, as one that was not. Validation decides after every
    epoch which weights are kept and when to stop.

    Args:
        config: the settings.
        run: folder of the run; made if need be.

    Returns:
        The run's folder.

    Raises:
        ValueError: the corpus folder is none, the run has other settings, another corpus or
            another model's checkpoint, a setting does not fit the corpus, another process
            trains in the folder, or the processes of this training were started on different
            things. Nothing is written.
        Diverged: the loss is not finite any more; other settings may start anew in the folder.
    """
    # Accelerate keeps the settings of the process's first training, and refuses others.
    AcceleratorState._reset_state()
    accelerator = Accelerator(
        cpu=not torch.cuda.is_available(),
        mixed_precision=config.training.mixed_precision,
        kwargs_handlers=[DistributedDataParallelKwargs(find_unused_parameters=True)],
    )
    with ExitStack() as stack:
        with together(accelerator):
            check_launcher(config.training.mixed_precision)
            if accelerator.is_main_process:
                stack.enter_context(owned(run, "training in"))
        check_shared(run, accelerator)
        with together(accelerator):
            training = _Training(config, RunFolder(run), accelerator)
        return training.run()


class _Training:
    """One training, from the checks to the last epoch."""

    def __init__(
        self, config: ExperimentConfig, folder: RunFolder, accelerator: Accelerator
    ) -> None:
        self.folder, self.accelerator = folder, accelerator
        self.settings = config.training
        self.main = accelerator.is_main_process
        corpus = corpus_to_train_on(config.corpus, folder)
        self.content = corpus.content
        self.config = config = with_modalities_of(config, corpus.manifest)
        self.emotions = list(corpus.manifest.emotions)
        self.task = task_of(self.settings.loss, corpus.manifest.single_label)
        self.task.check_corpus(corpus)
        self.changed = check_run(config, folder, corpus.content)
        # A training that starts anew reads nothing of the one before.
        self.old = RunFolder(folder.path / ".anew") if self.changed else folder
        corpus = in_fold(corpus, config.fold, self.old)
        self.feed = open_feed(config, corpus, self.old)
        self.train_set = self.feed.dataset(
            "train", augment=self.settings.augment, seed=self.settings.seed
        )
        self.valid_set = self.feed.dataset("valid")
        sizes = {split: len(corpus.split(split)) for split in ("train", "valid", "test")}
        self.corpus_facts = {"emotions": self.emotions, "clips": sizes}
        self.feed.check()

    def run(self) -> Path:
        """Everything; returns the run's folder."""
        settings = flat_settings(self.config)
        del settings["corpus"]  # may lie elsewhere on every machine
        facts = {"settings": settings, "corpus": self.content, "torch": torch.__version__}
        check_alike(facts, self.accelerator)  # which every process has read before one writes
        if self.main and self.folder.path.exists():
            self.folder.mend()
        self.accelerator.wait_for_everyone()
        progress = self._progress()
        if progress.finished:
            self._check_finished(progress)
            if self.main:
                logger.info("%s: finished already (%s)", self.folder.path, progress.finished)
                print(f"{self.folder.path}: finished already ({progress.finished})")
            return self.folder.path
        self.teacher = Teacher.of(self.config, self.feed.corpus, self.old, self.accelerator.device)
        if progress.epoch > 0:
            self.feed.reopen()
        else:
            self.feed.start(self.train_set)
        arguments = arguments_of(self.config.model, self.feed.sizes())
        if progress.epoch > 0:
            check_arguments(self.config, self.folder, arguments)
        check_memory(self.config.model.name, arguments, self.accelerator.device)
        processes = self.accelerator.num_processes
        if progress.processes is None or progress.epoch == 0:
            progress.processes = processes
        model = self._model(arguments, resumed=progress.epoch > 0)
        synchronise(model, processes)
        self.raw_model = model
        own_p = self.config.model.p if isinstance(self.config.model, MESMSettings) else None
        self.p = PSchedule(model, own_p, self.settings)
        self.raw_optimizer = make_optimizer(model, self.settings)
        self.collate = self.feed.collate
        self.lessons = lessons(self.train_set, self.collate, self.settings, self.teacher)
        self.validation = Validation(
            *(self.valid_set, self.collate, self.emotions, self.config, self.accelerator),
            self.task,
        )
        self.batches = EpochBatches(
            len(self.train_set),
            self.settings.batch_size * progress.processes,
            self.settings.seed,
            self.accelerator.process_index,
            processes,
        )
        if self.main and processes != progress.processes:
            print(
                f"{self.folder.path}: begun with {progress.processes} processes, now {processes}: "
                f"a step still has {self.batches.step_clips} clips"
            )
        self.shares = Shares(model, self.batches)
        self.model, self.optimizer = self.accelerator.prepare(model, self.raw_optimizer)
        if progress.epoch > 0:
            load_last(self.raw_model, self.raw_optimizer, self.folder)
            if progress.scaler and self.accelerator.scaler:
                self.accelerator.scaler.load_state_dict(progress.scaler)
        self.accelerator.wait_for_everyone()
        if self.main:
            self._write_first_files(arguments, anew=progress.epoch == 0)
        self.accelerator.wait_for_everyone()
        try:
            self._epochs(progress)
        except Diverged as error:
            if self.main:
                write_beside(self.folder.diverged, f"{error}\n")
            mark_told(error, self.accelerator)
            raise
        return self.folder.path

    def _check_finished(self, progress: Progress) -> None:
        """See that a finished run is whole; make again what its checkpoint tells."""
        self.feed.reopen()
        arguments = self.folder.model_arguments
        if self.main and not arguments.exists():
            own = arguments_of(self.config.model, self.feed.sizes())
            self.folder.write_json(arguments, own)
        self.accelerator.wait_for_everyone()
        _, kept = restore_model(self.config.model.name, self.folder)
        self.feed.check_model(kept)
        if self.main and not self.folder.metrics.exists():
            self._write_metrics(progress)

    def _progress(self) -> Progress:
        progress = read_progress(self.old) or Progress(self.corpus_facts)
        if progress.corpus != self.corpus_facts:
            raise ValueError(
                f"{self.folder.path}: was trained on another corpus than {self.config.corpus}: "
                f"{progress.corpus}, now {self.corpus_facts}"
            )
        return progress

    def _model(self, arguments: dict[str, Any], resumed: bool) -> Model:
        name = self.config.model.name
        seed_everything(self.settings.seed)
        model = build_model(name, arguments)
        if self.old.best.exists():
            # Refused here, while nothing of the run has been changed.
            load_weights(build_model(name, arguments), self.old.best)
        if not resumed:
            initialise(model, self.config.model, self.feed.emotion_vectors())
        return model

    def _write_first_files(self, arguments: dict[str, Any], anew: bool) -> None:
        if self.changed:
            print(
                f"{self.folder.path}: diverged with other settings; starting anew with "
                f"{', '.join(self.changed)}"
            )
            self.folder.forget()
        elif anew and self.folder.best.exists():
            print(f"{self.folder.path}: has weights and no checkpoint; training anew over them")
        if self.task.note:
            print(f"{self.folder.path}: {self.task.note}")
        self.feed.folder = self.folder
        self.feed.write()
        write_fold(self.feed.corpus, self.folder)
        write_place(self.config.corpus, self.feed.corpus, self.folder)
        self.folder.write_json(self.folder.model_arguments, arguments)
        if self.teacher is not None:
            self.folder.write_json(self.folder.teacher, self.teacher.identity)
        write_beside(self.folder.config, dump_config(self.config))
        self.folder.diverged.unlink(missing_ok=True)

    def _epochs(self, progress: Progress) -> None:
        steps = len(self.batches)
        first = progress.epoch * steps
        total = self.settings.epochs * steps
        weights = CRITERIA[self.task.loss].weights(self.train_set.labels())
        model = self.config.model
        hard = isinstance(model, MESMSettings) and model.selection == "hard"
        weights = weights.to(self.accelerator.device)
        loss = TrainingLoss(weights, self.settings, hard, self.task.loss)
        step = TrainingStep(
            self.model,
            self.optimizer,
            loss,
            self.settings,
            self.accelerator.device,
            backward=self.accelerator.backward,
            clip=self.accelerator.clip_grad_norm_,
        )
        name = self.config.model.name
        with Display(self.folder, name, first, total, self.main) as display:
            for epoch in range(progress.epoch + 1, self.settings.epochs + 1):
                losses = [row["valid_loss"] for row in progress.history]
                record = self._epoch(epoch, total, step, losses, display)
                self._note(progress, record)
                display.epoch(record, epoch * steps)
                if progress.finished:
                    break
        if self.main:
            best = progress.history[progress.best_epoch - 1]
            print(
                f"{self.folder.path}: {progress.finished}; best validation {self.task.f1_title} "
                f"{100 * best['valid_f1']:.1f} ({self.task.decided}: {best['threshold']}) "
                f"in epoch {best['epoch']} of {progress.epoch}"
            )

    def _epoch(
        self, epoch: int, total: int, step: TrainingStep, losses: list[float], display: Display
    ) -> dict[str, Any]:
        accelerator, settings = self.accelerator, self.settings
        seed_everything(settings.seed, epoch, accelerator.process_index)
        self.batches.epoch = self.train_set.epoch = self.lessons.clips.epoch = epoch
        loader = make_loader(
            self.lessons.clips,
            self.batches,
            self.lessons.collate,
            workers=settings.workers,
            pin_memory=accelerator.device.type == "cuda",
        )
        began = time.perf_counter()
        self.model.train()
        self.p.begin(epoch)
        step.start()
        number = (epoch - 1) * len(self.batches)
        for place, batch in enumerate(loader):
            self.p.step()
            factor = set_learning_rate(self.raw_optimizer, settings, number, total, losses)
            batch, share = self.shares(batch, place)
            given, taught = batch.to(accelerator.device), None
            if self.teacher is not None:
                with accelerator.autocast():
                    given, taught = self.teacher(given)
            step(given, number / total, taught, share)
            number += 1
            display.step()
            if self.main and step.steps % READ_EVERY == 0:
                means = step.means()
                speed = means.clips * accelerator.num_processes / (time.perf_counter() - began)
                display.means(means.loss, speed)
        self.p.end()
        if self.p.draws:
            self._count_norms(epoch)
        means = step.means(lambda sums: accelerator.reduce(sums, "sum"))
        trained = time.perf_counter() - began
        finite = math.isfinite(means.loss)
        # fp16's scaler leaves out steps that overflow, and their losses are in the mean.
        if not finite and accelerator.scaler is None:
            blame = self.teacher.blame() if self.teacher else ""
            raise self._diverged(epoch, f"the loss is {means.loss}{blame}")
        odd = first_not_finite(dict(self.raw_model.named_parameters()))
        if odd is not None:
            raise self._diverged(epoch, f"the weights of {odd} are not finite")
        try:
            validated = self._validate(step.loss)
        except NotFiniteError as error:
            raise self._diverged(epoch, str(error)) from error
        return {
            "epoch": epoch,
            "train_loss": means.loss if finite else None,
            "gradient_norm": means.gradient_norm,
            **validated,
            "learning_rate": settings.learning_rate * factor,
            "clips_per_second": round(means.clips / trained, 2),
            "seconds": round(time.perf_counter() - began, 3),
        }

    def _diverged(self, epoch: int, what: str) -> ValueError:
        return refusal(epoch, what, self.config, (self.train_set, self.valid_set))

    def _count_norms(self, epoch: int) -> None:
        """The batch norms' statistics of the epoch's p, where steps had others."""
        batches = drawn_batches(
            *(self.train_set, self.collate, self.batches.step_clips, NORM_CLIPS),
            *(self.accelerator.device, epoch),
            *(self.accelerator.process_index, self.accelerator.num_processes),
        )
        count_norms(self.raw_model, batches)

    def _validate(self, loss: TrainingLoss) -> dict[str, Any]:
        if self.accelerator.num_processes > 1:
            # The first process's are what is saved; another machine may round them otherwise.
            for buffer in self.raw_model.buffers():
                torch.distributed.broadcast(buffer, 0)
        row, self.validated = self.validation(self.model, loss)
        return row

    def _note(self, progress: Progress, record: dict[str, Any]) -> None:
        """Count the epoch, keep the best weights, write the checkpoint."""
        settings = self.settings
        better = count_epoch(
            progress, record, settings.patience, settings.epochs, self.task.f1_title
        )
        if self.accelerator.scaler is not None:
            progress.scaler = self.accelerator.scaler.state_dict()
        if self.main:
            if better or settings.keep == "last":
                save_best(self.raw_model, self.folder)
                keep_validation(self.folder, self.config, self.task, self.validated, self.emotions)
            self._write_metrics(progress)
            save_last(self.raw_model, self.raw_optimizer, progress, self.folder)
        self.accelerator.wait_for_everyone()

    def _write_metrics(self, progress: Progress) -> None:
        file = self.folder.metrics
        write_beside(file, "".join(json_text(row, file) + "\n" for row in progress.history))
