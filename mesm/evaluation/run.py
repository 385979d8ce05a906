"""One run: what its folder says, and its model and predictions once they are asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import torch
from torch import Tensor, nn

from mesm.config.experiment import (
    EvaluationSettings,
    F1Variant,
    ThresholdPolicy,
)
from mesm.config.p import BlockP
from mesm.data.clips import EpochBatches, SplitDataset, make_loader
from mesm.data.feed import Feed
from mesm.evaluation.calibration import Temperatures
from mesm.evaluation.predict import NotFiniteError, Outputs, predict
from mesm.evaluation.predictions import Predictions, origin_of
from mesm.evaluation.run_record import RunRecord
from mesm.evaluation.task import Decider
from mesm.runs.ordinary import not_a_file

if TYPE_CHECKING:  # models import the kernels, which tables and reports do without
    from mesm.models import MESM
    from mesm.models.build import Model


class Run(RunRecord):
    """A run's folder.

    Nothing is read before it is asked for, and then once: a table of a hundred runs loads no
    weights. `open` and `open_sparse` look at all that a trained run needs, and refuse what is
    missing before any work starts.

    Args:
        path: the folder.
        split: whose scores `scores` are.
        threshold: other than the run's own, which stays as it is.
        f1: likewise.
        fresh: predict anew, whatever is kept.
        device: where the model goes; None: to the GPU if there is one.
        corpus: where its corpus lies; None: where `mesm.data.corpus_folder.locate_corpus` finds it.

    Raises:
        ValueError: there is no such threshold or F1. Every attribute raises it, with the file's
            name, where what it reads is missing or damaged.
    """

    def __init__(
        self,
        path: Path,
        split: str = "test",
        *,
        threshold: ThresholdPolicy | None = None,
        f1: F1Variant | None = None,
        fresh: bool = False,
        device: torch.device | str | None = None,
        corpus: Path | None = None,
    ) -> None:
        for name, value, known in (
            ("threshold", threshold, get_args(ThresholdPolicy)),
            ("f1", f1, get_args(F1Variant)),
        ):
            if value is not None and value not in known:
                raise ValueError(f"{name} must be one of {', '.join(known)}, got {value!r}")
        super().__init__(path, split, corpus)
        self.device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        self._threshold, self._f1, self._fresh = threshold, f1, fresh
        self._chosen_p: BlockP | None = None
        self._predictions: dict[str, Predictions] = {}

    @classmethod
    def open(cls, path: Path, **options: Any) -> Run:
        """A trained run on a corpus that is there; its model is loaded when it is asked for.

        Args:
            path: the folder.
            options: as of `Run`.

        Raises:
            ValueError: the folder is no trained run, its corpus or the features it was trained
                on are not where its config says, or its task has no thresholds to choose.
        """
        run = cls(path, **options)
        run.check_unpublished()
        for file in (run.folder.config, run.folder.model_arguments, run.folder.best):
            if not file.is_file():
                raise ValueError(f"{run.path}: no trained run, {file.name} {not_a_file(file)}")
        run.feed.check()  # predictions that are kept would not ask
        run.task.check_asked(str(run.path), run._threshold, run._f1)
        run.task.check_corpus(run.corpus)
        return run

    @classmethod
    def open_sparse(cls, path: Path, p: BlockP | None = None, **options: Any) -> Run:
        """A trained MESM, loaded, at a p of one's choice.

        Args:
            path: the folder.
            p: share of the attention mass that is kept; None: the run's own.
            options: as of `Run`.

        Raises:
            ValueError: as of `open`; or not a MESM, or p is not in (0, 1] for each block.
        """
        run = cls.open(path, **options)
        if p is not None:
            run._chosen_p = p
        run.sparse.set_p(run.p)
        return run

    # Its model.

    @cached_property
    def feed(self) -> Feed:
        """How it reads its corpus; ready to read once the model is loaded."""
        from mesm.models.registry import open_feed

        return open_feed(self.config, self.corpus, self.folder)

    @cached_property
    def model(self) -> Model:
        """Its weights, in evaluation mode, on the device."""
        from mesm.models.build import restore_model

        model, arguments = restore_model(self.config.model.name, self.folder)
        self.feed.reopen()
        self.feed.check_model(arguments)
        return model.to(self.device).eval()

    @property
    def sparse(self) -> MESM:
        """Its model, where that is a MESM; else a ValueError."""
        from mesm.models import MESM

        if not isinstance(self.model, MESM):
            raise ValueError(
                f"{self.path}: wanted a MESM run, got {type(self.model).__name__}, which has no "
                "sparse attention"
            )
        return self.model

    @property
    def p(self) -> BlockP:
        """The p that a MESM was opened at: its own, or one that was chosen."""
        assert self.config.model.name == "mesm"
        return self.config.model.p if self._chosen_p is None else self._chosen_p

    @property
    def collate(self) -> Callable[[list[Any]], Any]:
        """Samples to batches."""
        assert self.model is not None  # the feed is ready with it
        return self.feed.collate

    def dataset(self, split: str) -> SplitDataset:
        """The samples of a split, in corpus order, never augmented."""
        return self.feed.dataset(split)

    def batches(self, split: str | SplitDataset, batch_size: int | None = None) -> Iterator[Any]:
        """A split in corpus order, on the model's device; by default in the training's batches."""
        dataset = self.dataset(split) if isinstance(split, str) else split
        size = batch_size or self.config.training.batch_size
        for batch in make_loader(dataset, EpochBatches(len(dataset), size, None), self.collate):
            yield batch.to(self.device)

    def batch_of(self, clip_id: str) -> Any:
        """One clip, on the model's device; ValueError if the corpus has no such clip."""
        return self.collate([self.feed.single(clip_id)[0]]).to(self.device)

    def predict(self, split: str) -> tuple[Tensor, Tensor]:
        """Logits and labels (N, E) of a split in corpus order, on the CPU, as the model is now."""
        found = self.outputs(split)
        return found.logits, found.labels

    def outputs(self, split: str, model: nn.Module | None = None) -> Outputs:
        """As `predict`, with the logits of the model's branches where it has several.

        Args:
            split: which one.
            model: what computes them; None: the run's model as it is.
        """
        asked, size = model or self.model, self.config.training.batch_size
        names = getattr(self.model, "branch_names", ())
        try:
            return predict(
                *(asked, self.dataset(split), self.collate, size, self.device),
                progress=split,
                branches=names if len(names) > 1 else (),
            )
        except NotFiniteError as error:
            raise ValueError(
                f"{self.folder.best}: {error}: its training diverged, or {self.corpus.path} is "
                "damaged; prepare the corpus again, or train the run anew"
            ) from error

    # Its predictions.

    @property
    def scoring(self) -> EvaluationSettings:
        """How its logits become scores: by its own settings, or as was asked."""
        own = self.config.evaluation
        return EvaluationSettings(threshold=self._threshold or own.threshold, f1=self._f1 or own.f1)

    @cached_property
    def origin(self) -> dict[str, str]:
        """Hashes of all that its predictions come from, when they were first asked for."""
        return origin_of(self.folder, self.located)

    def predictions(self, split: str) -> Predictions:
        """A split's predictions: kept ones if nothing they come from has changed, or new ones."""
        if self._chosen_p is not None:
            raise ValueError(f"{self.path}: predictions are kept at the run's own p alone")
        if split not in self._predictions:
            kept = None if self._fresh else self._kept(split)
            self._predictions[split] = kept or self._predict(split)
        return self._predictions[split]

    def thresholds(self, branch: str | None = None) -> Decider:
        """Those that `scoring` asks for; tuned ones are found on the validation split.

        Where clips have one emotion each, the one decided for is the most probable.

        Args:
            branch: whose logits they are for, which the validation predictions must hold; None:
                for the fused ones.
        """

        def validation() -> tuple[Tensor, Tensor]:
            found = self.predictions("valid")
            return found.logits if branch is None else found.branches[branch], found.labels

        return self.task.decider(self.scoring.threshold, len(self.emotions), validation)

    @property
    def temperatures(self) -> Temperatures | None:
        """Those of its weights, kept by the training or fitted to validation predictions.

        None: neither is there, as in an earlier run whose validation split was never predicted.
        """
        kind = self.task.temperatures
        kept = kind.read(self.folder, self.origin["weights"], self.emotions)
        valid = None if kept else self._predictions.get("valid") or self._kept("valid")
        return valid.calibrate(self.folder, kind) if valid else kept

    def _kept(self, split: str) -> Predictions | None:
        file = self.folder.predictions(split)
        if not file.is_file():
            return None
        try:
            found = Predictions.read(file)
        except ValueError:
            return None  # it is made anew, so a damaged one does no harm
        clips = self.corpus.split(split)
        same = found.fits(self.emotions, clips.clip_ids, clips.dialogs, clips.labels)
        return found if same and found.origin == self.origin else None

    def _predict(self, split: str) -> Predictions:
        origin = self.origin
        logits, labels, branches = self.outputs(split)
        if origin_of(self.folder, self.located) != origin:
            raise ValueError(
                f"{self.path}: its weights or its corpus changed while it was scored; wait for its "
                "training to end and score it again"
            )
        clips = self.corpus.split(split)
        names = (self.emotions, clips.clip_ids, clips.dialogs)
        found = Predictions(*names, logits, labels, origin, branches)
        known = self.temperatures
        if known is None and split == "valid":
            known = found.calibrate(self.folder, self.task.temperatures)
        found.write(self.folder.predictions(split), known)
        return found
