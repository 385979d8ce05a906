"""Runs on folds as `mesm train` and `mesm evaluate` leave them, made without a training."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch

from mesm.config.files import dump_config, load_config
from mesm.data.corpus_folder import in_fold, open_corpus, write_fold
from mesm.evaluation.bootstrap import Bootstrap
from mesm.evaluation.evaluate import score_run
from mesm.evaluation.predictions import Predictions, origin_of
from mesm.evaluation.run import Run
from mesm.runs.files import write_beside
from mesm.runs.folder import RunFolder


def write_run(path: Path, corpus: Path, *overrides: str, system: str = "fe2e") -> Path:
    """A scored run whose logits are drawn, by its fold and seed; weights are a few bytes."""
    config = load_config(f"iemocap_{system}", [f"corpus={corpus}", *overrides])
    folder = RunFolder(path)
    path.mkdir(parents=True)
    folder.best.write_bytes(f"{overrides}".encode())
    folder.model_arguments.write_text("{}")
    folder.tokenizer.write_text("{}")
    read = in_fold(open_corpus(corpus), config.fold, folder)
    write_fold(read, folder)
    write_beside(folder.config, dump_config(config))
    emotions = list(read.manifest.emotions)
    index = 0 if config.fold is None else config.fold.index
    generator = torch.Generator().manual_seed(100 * index + config.training.seed)
    for split in ("valid", "test"):
        clips = read.split(split)
        labels = torch.from_numpy(clips.labels).float()
        # Every fold has logits of another height, so that no threshold fits all.
        logits = torch.randn(labels.shape, generator=generator) + 2 * labels - index
        origin = origin_of(folder, config)
        found = Predictions(emotions, clips.clip_ids, clips.dialogs, logits, labels, origin)
        found.write(folder.predictions(split))
    scores: dict[str, Any] = score_run(Run(path), "test", Bootstrap(draws=2))
    folder.evaluation.write_text(json.dumps({"test": scores}))
    return path
