"""Trained runs: loading them, and scoring them as the paper's tables do."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import torch
from torch import Tensor

from mesm.config.experiment import EvaluationSettings, ExperimentConfig, F1Variant, ThresholdPolicy
from mesm.config.files import load_config
from mesm.corpora.prepared import PreparedCorpus
from mesm.corpora.registry import find_corpus
from mesm.data.clips import EpochBatches, SplitDataset, make_loader
from mesm.data.feed import Feed
from mesm.evaluation.bootstrap import Bootstrap, intervals
from mesm.evaluation.metrics import Thresholds, score
from mesm.evaluation.predict import predict
from mesm.evaluation.predictions import Predictions, origin_of
from mesm.evaluation.score_table import format_table
from mesm.models.build import Model, build_model
from mesm.models.registry import open_feed
from mesm.runs.checkpoints import load_weights
from mesm.runs.folder import RunFolder


@dataclass
class LoadedRun:
    """A trained model with what it needs to read its corpus.

    Args:
        path: the run's folder.
        config: its settings.
        corpus: the prepared corpus it was trained on.
        model: the best weights, in evaluation mode.
        feed: how it reads the corpus.
        device: where the model is.
    """

    path: Path
    config: ExperimentConfig
    corpus: PreparedCorpus
    model: Model
    feed: Feed
    device: torch.device

    @property
    def emotions(self) -> list[str]:
        """E names."""
        return list(self.corpus.manifest.emotions)

    @property
    def accuracy_name(self) -> str:
        """Which accuracy the paper reports for this corpus."""
        return find_corpus(self.corpus.manifest.corpus).accuracy

    @property
    def collate(self) -> Callable[[list[Any]], Any]:
        """Samples to batches."""
        return self.feed.collate

    def dataset(self, split: str) -> SplitDataset:
        """The samples of a split, in corpus order, never augmented."""
        return self.feed.dataset(split)

    def batches(self, split: str, batch_size: int | None = None) -> Iterator[Any]:
        """A split in corpus order, on the model's device; by default in the training's batches."""
        dataset = self.dataset(split)
        size = batch_size or self.config.training.batch_size
        for batch in make_loader(dataset, EpochBatches(len(dataset), size, None), self.collate):
            yield batch.to(self.device)

    def batch_of(self, clip_id: str) -> Any:
        """One clip, on the model's device.

        Raises:
            ValueError: the corpus has no such clip.
        """
        return self.collate([self.feed.single(clip_id)[0]]).to(self.device)

    def predict(self, split: str) -> tuple[Tensor, Tensor]:
        """Logits and labels (N, E) of a split in corpus order, on the CPU."""
        size = self.config.training.batch_size
        return predict(
            self.model, self.dataset(split), self.collate, size, self.device, progress=split
        )

    def thresholds(self) -> Thresholds:
        """Those that the settings ask for; tuned ones are found on the validation split."""
        policy = self.config.evaluation.threshold
        return Thresholds.choose(policy, len(self.emotions), lambda: self.predict("valid"))

    def score(self, split: str) -> dict[str, Any]:
        """The scores of a split; see `mesm.evaluation.metrics.score`. Writes nothing."""
        thresholds = self.thresholds()
        logits, labels = self.predict(split)
        return {
            "split": split,
            "model": self.config.model.name,
            "headline": self.accuracy_name,
            **self.feed.facts(),
            **score(logits, labels, thresholds, self.emotions, self.config.evaluation.f1),
        }


def _open_run(run: Path) -> tuple[RunFolder, ExperimentConfig, PreparedCorpus]:
    """A trained run's folder, settings and corpus; errors as in `load_run`."""
    folder = RunFolder(Path(run))
    for file in (folder.config, folder.model_arguments, folder.best):
        if not file.is_file():
            raise ValueError(f"{folder.path}: no trained run, {file.name} is missing")
    config = load_config(folder.config)
    return folder, config, PreparedCorpus.open(config.corpus)


def load_run(run: Path, device: torch.device | str | None = None) -> LoadedRun:
    """Load the best weights of a run.

    Args:
        run: its folder.
        device: where to; None: the GPU if there is one.

    Raises:
        ValueError: the folder is no run, has no weights yet or another model's, or its corpus or
            the features it was trained on are not where its config says.
    """
    folder, config, corpus = _open_run(run)
    try:
        arguments = json.loads(folder.model_arguments.read_text())
    except ValueError as error:
        raise ValueError(f"{folder.model_arguments}: not JSON ({error})") from error
    model = build_model(config.model.name, arguments)
    load_weights(model, folder.best)
    if arguments["emotions"] != len(corpus.manifest.emotions):
        raise ValueError(
            f"{config.corpus}: has {len(corpus.manifest.emotions)} emotions, the model of "
            f"{folder.path} tells {arguments['emotions']} apart"
        )
    feed = open_feed(config, corpus, folder)
    feed.reopen()
    where = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    return LoadedRun(
        path=folder.path,
        config=config,
        corpus=corpus,
        model=model.to(where).eval(),
        feed=feed,
        device=where,
    )


class ScoredRun:
    """A run's predictions and their scores; the model is loaded only where none are kept.

    Args:
        run: folder of a trained run.
        threshold: other than the run's own, which stays as it is.
        f1: likewise.
        fresh: predict anew, whatever is kept.

    Raises:
        ValueError: see `load_run`; or a threshold or F1 that there is not.
    """

    def __init__(
        self,
        run: Path,
        *,
        threshold: ThresholdPolicy | None = None,
        f1: F1Variant | None = None,
        fresh: bool = False,
    ) -> None:
        for name, value, known in (
            ("threshold", threshold, get_args(ThresholdPolicy)),
            ("f1", f1, get_args(F1Variant)),
        ):
            if value is not None and value not in known:
                raise ValueError(f"{name} must be one of {', '.join(known)}, got {value!r}")
        self.folder, self.config, self.corpus = _open_run(run)
        own = self.config.evaluation
        self.settings = EvaluationSettings(threshold=threshold or own.threshold, f1=f1 or own.f1)
        feed = open_feed(self.config, self.corpus, self.folder)
        feed.check()  # predictions that are kept would not ask
        self.facts = feed.facts()
        self.emotions = list(self.corpus.manifest.emotions)
        self.accuracy_name = find_corpus(self.corpus.manifest.corpus).accuracy
        self.origin = origin_of(self.folder, self.config)
        self._fresh = fresh
        self._loaded: LoadedRun | None = None
        self._predictions: dict[str, Predictions] = {}

    def predictions(self, split: str) -> Predictions:
        """Of a split: those kept in the run if nothing they come from has changed, or new ones."""
        if split not in self._predictions:
            kept = None if self._fresh else self._kept(split)
            self._predictions[split] = kept or self._predict(split)
        return self._predictions[split]

    def thresholds(self) -> Thresholds:
        """Those that the settings ask for; tuned ones are found on the validation split."""

        def validation() -> tuple[Tensor, Tensor]:
            found = self.predictions("valid")
            return found.logits, found.labels

        return Thresholds.choose(self.settings.threshold, len(self.emotions), validation)

    def score(self, split: str, bootstrap: Bootstrap) -> dict[str, Any]:
        """The scores of a split with their intervals; see `evaluate_run`."""
        found, thresholds = self.predictions(split), self.thresholds()
        decisions, labels = thresholds.decide(found.logits), found.labels.bool()
        return {
            "split": split,
            "model": self.config.model.name,
            "headline": self.accuracy_name,
            **self.facts,
            **score(found.logits, found.labels, thresholds, self.emotions, self.settings.f1),
            "intervals": intervals(decisions, labels, found.dialogs, self.emotions, bootstrap),
            "weights": {"file": self.folder.best.name, "sha256": self.origin["weights"]},
        }

    def _kept(self, split: str) -> Predictions | None:
        file = self.folder.predictions(split)
        if not file.is_file():
            return None
        try:
            found = Predictions.read(file)
        except ValueError:
            return None  # it is made anew, so a damaged one does no harm
        return found if found.origin == self.origin else None

    def _predict(self, split: str) -> Predictions:
        if self._loaded is None:
            self._loaded = load_run(self.folder.path)
        logits, labels = self._loaded.predict(split)
        if origin_of(self.folder, self.config) != self.origin:
            raise ValueError(
                f"{self.folder.path}: its weights or its corpus changed while it was scored; "
                "wait for its training to end and score it again"
            )
        clips = self.corpus.split(split)
        found = Predictions(
            self.emotions, clips.clip_ids, clips.dialogs, logits, labels, self.origin
        )
        found.write(self.folder.predictions(split))
        return found


def evaluate_run(
    run: Path,
    split: str = "test",
    *,
    threshold: ThresholdPolicy | None = None,
    f1: F1Variant | None = None,
    bootstrap: Bootstrap | None = None,
    fresh: bool = False,
) -> dict[str, Any]:
    """Score a run on a split, print the table, and keep it in RUN/evaluation.json.

    The file holds one entry per split that was scored; scores by other than the run's own settings
    stand apart, in "variants" by split and by name. The logits are kept in RUN/predictions, and
    used again while weights, settings, subwords and corpus are the same.

    Args:
        run: its folder.
        split: which one.
        threshold: other than the run's own, which stays as it is.
        f1: likewise.
        bootstrap: how intervals are made; None: 1,000 draws over clips, 95 %.
        fresh: predict anew, whatever is kept.

    Returns:
        The entry: what `mesm.evaluation.metrics.score` gives, "intervals"
        (`mesm.evaluation.bootstrap.intervals`), and "weights", the file that was scored and its
        SHA-256.

    Raises:
        ValueError: see `load_run`; or a threshold or F1 that there is not.
    """
    scored = ScoredRun(run, threshold=threshold, f1=f1, fresh=fresh)
    folder, settings = scored.folder, scored.settings
    scores = scored.score(split, bootstrap or Bootstrap())
    kept: dict[str, Any] = {}
    if folder.evaluation.is_file():
        kept = json.loads(folder.evaluation.read_text())
    if settings == scored.config.evaluation:
        kept[split] = scores
    else:
        variants = kept.setdefault("variants", {}).setdefault(split, {})
        variants[f"threshold={settings.threshold} f1={settings.f1}"] = scores
    folder.write_json(folder.evaluation, kept)
    print(f"{folder.path}: {scored.config.model.name} on the {split} split")
    print(format_table(scores, scored.accuracy_name))
    for name, fact in scored.facts.items():
        print(f"{name}: {fact}")
    return scores
