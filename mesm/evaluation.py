"""Trained runs: loading them, and scoring them as the paper's tables do."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mesm.checkpoints import load_weights
from mesm.config import ExperimentConfig, load_config
from mesm.corpora.prepared import PreparedCorpus
from mesm.data import EpochBatches, SplitDataset, make_loader
from mesm.feed import Feed, open_feed
from mesm.metrics import Thresholds, format_table, score
from mesm.models.build import System, build_model
from mesm.prediction import predict
from mesm.run_folder import RunFolder

# CMU-MOSEI has many more negatives than positives, so the paper weighs its accuracy.
ACCURACY_OF = {"iemocap": "accuracy", "mosei": "weighted_accuracy"}


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
    model: System
    feed: Feed
    device: torch.device

    @property
    def emotions(self) -> list[str]:
        """E names."""
        return list(self.corpus.manifest.emotions)

    @property
    def accuracy_name(self) -> str:
        """Which accuracy the paper reports for this corpus."""
        return ACCURACY_OF[self.corpus.manifest.corpus]

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
        return predict(self.model, self.dataset(split), self.collate, size, self.device)

    def thresholds(self) -> Thresholds:
        """Those that the settings ask for; tuned ones are found on the validation split."""
        if self.config.evaluation.threshold == "tuned":
            return Thresholds.tuned(*self.predict("valid"))
        return Thresholds.half(len(self.emotions))

    def score(self, split: str) -> dict[str, Any]:
        """The scores of a split; see `mesm.metrics.score`. Writes nothing."""
        thresholds = self.thresholds()
        logits, labels = self.predict(split)
        return {
            "split": split,
            "model": self.config.model.name,
            "headline": self.accuracy_name,
            **self.feed.facts(),
            **score(logits, labels, thresholds, self.emotions),
        }


def load_run(run: Path, device: torch.device | str | None = None) -> LoadedRun:
    """Load the best weights of a run.

    Args:
        run: its folder.
        device: where to; None: the GPU if there is one.

    Raises:
        ValueError: the folder is no run, has no weights yet or another model's, or its corpus or
            the features it was trained on are not where its config says.
    """
    folder = RunFolder(Path(run))
    for file in (folder.config, folder.model_arguments, folder.best):
        if not file.is_file():
            raise ValueError(f"{folder.path}: no trained run, {file.name} is missing")
    config = load_config(folder.config)
    try:
        arguments = json.loads(folder.model_arguments.read_text())
    except ValueError as error:
        raise ValueError(f"{folder.model_arguments}: not JSON ({error})") from error
    corpus = PreparedCorpus.open(config.corpus)
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


def evaluate_run(run: Path, split: str = "test") -> dict[str, Any]:
    """Score a run on a split, print the table, and keep it in RUN/evaluation.json.

    The file holds one entry per split that was scored.

    Raises:
        ValueError: see `load_run`.
    """
    loaded = load_run(run)
    scores = loaded.score(split)
    folder = RunFolder(Path(run))
    kept: dict[str, Any] = {}
    if folder.evaluation.is_file():
        kept = json.loads(folder.evaluation.read_text())
    folder.write_json(folder.evaluation, kept | {split: scores})
    print(f"{folder.path}: {loaded.config.model.name} on the {split} split")
    print(format_table(scores, loaded.accuracy_name))
    for name, fact in loaded.feed.facts().items():
        print(f"{name}: {fact}")
    return scores
