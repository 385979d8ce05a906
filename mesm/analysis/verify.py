"""Whether a prepared corpus or a run is whole, looked at file by file; nothing is mended."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mesm.analysis.verify_corpus import Examined, examine_corpus
from mesm.config.end_to_end import FE2ESettings
from mesm.config.experiment import ExperimentConfig
from mesm.config.yaml_text import read_text
from mesm.corpora.manifest import MANIFEST
from mesm.corpora.prepared import PreparedCorpus
from mesm.corpora.splits import SPLITS
from mesm.data.corpus_folder import in_fold, locate_corpus
from mesm.data.feed import Feed
from mesm.evaluation.predictions import Predictions, origin_of
from mesm.evaluation.run import Run
from mesm.evaluation.task import task_of
from mesm.models.build import Model, arguments_of, differing_arguments, restore_model
from mesm.models.registry import open_feed
from mesm.runs.checkpoints import MEND, REMAKE, Progress, load_last, read_progress
from mesm.runs.documents import (
    Attention,
    Evaluation,
    PreprocessingDocument,
    Sweep,
    TemperatureDocument,
    ThresholdDocument,
)
from mesm.runs.files import read_json
from mesm.runs.hashes import sha256
from mesm.training.optimizer import make_optimizer

# The files that make a folder a run, though others of it are missing.
RUN_FILES = ("config.yaml", "model.safetensors", "metrics.jsonl", "last/state.json")
SWEEPS = ("sweep.json", "retrain.json", "budget.json")
RESUME = "the same `mesm train` goes on with it"


def verify(path: Path, corpus: Path | None = None) -> list[str]:
    """Find everything that is wrong with a prepared corpus or a run.

    Args:
        path: its folder; see `examine`.
        corpus: likewise.

    Returns:
        One line per finding; none: it is whole.

    Raises:
        ValueError: `path` is neither a prepared corpus nor a run.
    """
    return examine(path, corpus).findings


def examine(path: Path, corpus: Path | None = None) -> Examined:
    """Look at every file of a prepared corpus or of a run; the corpus of a run as well.

    A corpus is looked at for hashes, computed anew; that each clip decodes, with finite values;
    counts; the hand-crafted features if there are any. A run is looked at for settings, weights,
    checkpoint, metrics, kept predictions, scores, sweeps and explanations, and whether these are
    of one another. Nothing is written but remembered hashes (see `mesm.runs.hashes`).

    Args:
        path: the folder that `mesm prepare` or `mesm train` made.
        corpus: where a run's corpus lies; None: where the run finds it.

    Raises:
        ValueError: `path` is neither, or is no run and a corpus is given.
    """
    found = Examined()
    if any((path / name).is_file() for name in RUN_FILES):
        _examine_run(path, found, {}, corpus)
    elif corpus is not None:
        raise ValueError(f"{path}: is no run, so --corpus would have no effect; leave it out")
    elif (path / MANIFEST).is_file() or any(path.glob("data/*.parquet")):
        examine_corpus(path, found)
    else:
        raise ValueError(_neither(path))
    return found


def _neither(path: Path) -> str:
    if not path.is_dir():
        got = "no such folder" if not path.exists() else "a file"
    elif (path / "experiment.json").is_file():
        got = "an experiment, whose runs are looked at one by one"
    else:
        got = f"neither {MANIFEST} nor config.yaml in it"
    return (
        f"{path}: wanted a prepared corpus or a run, got {got}; name the folder that "
        "`mesm prepare` or `mesm train` made"
    )


def _examine_run(
    path: Path,
    found: Examined,
    corpora: dict[Path, PreparedCorpus | None],
    given: Path | None,
) -> None:
    """Look at a run, and at those that `mesm sweep --retrain` made in it.

    Args:
        path: its folder.
        found: findings are added to it.
        corpora: those that have been looked at, by their folders; grows.
        given: where the corpus lies; None: where the run finds it.
    """
    run = Run(path, device="cpu")
    config = found.attempt(lambda: run.config)
    progress = found.attempt(read_progress, run.folder)
    if progress is not None and not progress.finished:
        found.checked.append(f"{path.name} is unfinished after epoch {progress.epoch}")
    if run.folder.diverged.exists():
        reason = found.attempt(read_text, run.folder.diverged) or ""
        found.add(f"{run.folder.diverged}: the training diverged: {reason[:500]}")
    corpus, feed, weights = None, None, False
    if config is not None:
        corpus = _corpus_of(run, config, found, corpora, given)
        if corpus is not None:
            feed = found.attempt(open_feed, config, corpus, run.folder)
        weights = _examine_model(run, config, feed, progress, found)
    _examine_metrics(run, progress, found)
    if corpus is not None and progress is not None:
        _compare_corpus(run, corpus, progress, found)
    if config is not None and corpus is not None:
        found.attempt(
            task_of(config.training.loss, corpus.manifest.single_label).check_corpus, corpus
        )
        _examine_predictions(run, config, corpus, weights, found)
    _examine_documents(run, weights, found)
    for inner in sorted(path.glob("retrain/*/")):
        if any((inner / name).is_file() for name in RUN_FILES):
            _examine_run(inner, found, corpora, given)


def _corpus_of(
    run: Run,
    config: ExperimentConfig,
    found: Examined,
    corpora: dict[Path, PreparedCorpus | None],
    given: Path | None,
) -> PreparedCorpus | None:
    folder = found.attempt(locate_corpus, run.folder, config.corpus, given)
    if folder is None:
        return None
    place = folder.resolve()
    if place not in corpora:
        there = examine_corpus(folder, found) is not None
        # Opening tells the same damage again, in the same words, which are noted once.
        corpora[place] = found.attempt(PreparedCorpus.open, folder) if there else None
    corpus = corpora[place]
    return corpus and found.attempt(in_fold, corpus, config.fold, run.folder)


def _examine_model(
    run: Run,
    config: ExperimentConfig,
    feed: Feed | None,
    progress: Progress | None,
    found: Examined,
) -> bool:
    """Load weights and checkpoint; whether the weights, and what goes with them, are whole."""
    folder = run.folder
    if progress is None and not folder.best.is_file() and not folder.metrics.is_file():
        found.add(f"{folder.best}: missing, as no epoch has ended yet; {RESUME}")
        return False
    restored = found.attempt(restore_model, config.model.name, folder)
    if restored is None:
        return False
    model, arguments = restored
    found.checked.append("weights")
    fits = feed is None or found.attempt(_check_fit, run, config, feed, arguments) is not None
    if progress is not None and progress.epoch > 0:
        found.attempt(_load_checkpoint, model, config, run)
        found.checked.append("checkpoint")
    return fits


def _check_fit(
    run: Run, config: ExperimentConfig, feed: Feed, arguments: Mapping[str, Any]
) -> bool:
    feed.reopen()
    feed.check_model(arguments)
    text = config.model.text.path if isinstance(config.model, FE2ESettings) else None
    if text is not None and not text.exists():
        return True  # once started, a run does without the folder of its text model
    own = arguments_of(config.model, feed.sizes())
    differing = differing_arguments(arguments, own)
    if differing:
        raise ValueError(
            f"{run.folder.model_arguments}: its model has another {', '.join(differing)} than "
            f"{run.folder.config} says; {MEND}"
        )
    return True


def _load_checkpoint(model: Model, config: ExperimentConfig, run: Run) -> None:
    load_last(model, make_optimizer(model, config.training), run.folder)


def _examine_metrics(run: Run, progress: Progress | None, found: Examined) -> None:
    file = run.folder.metrics
    history = found.attempt(lambda: run.history)
    if history is None:
        return
    if progress is None:
        if not history and run.folder.best.is_file():
            found.add(f"{file}: missing or empty; copy it again from where it is whole")
    elif progress.finished and history != progress.history:
        found.add(
            f"{file}: has {len(history)} records that are not the {len(progress.history)} of "
            f"{run.folder.last}; {REMAKE}"
        )
    found.checked.append("metrics")


def _compare_corpus(run: Run, corpus: PreparedCorpus, progress: Progress, found: Examined) -> None:
    counts = {name: count.clips for name, count in corpus.manifest.counts.items()}
    facts = {"emotions": list(corpus.manifest.emotions), "clips": counts}
    if progress.corpus != facts:
        found.add(
            f"{run.folder.last}: was trained on another corpus than {corpus.path}: "
            f"{progress.corpus}, now {facts}; prepare that one again, or train another run"
        )


def _examine_predictions(
    run: Run, config: ExperimentConfig, corpus: PreparedCorpus, weights: bool, found: Examined
) -> None:
    files = sorted((run.path / "predictions").glob("*.parquet"))
    located = config.model_copy(update={"corpus": corpus.path})
    origin = found.attempt(origin_of, run.folder, located) if files and weights else None
    for file in files:
        found.attempt(_check_predictions, file, run, corpus, origin)
    if files:
        found.checked.append("predictions")


def _check_predictions(
    file: Path, run: Run, corpus: PreparedCorpus, origin: Mapping[str, str] | None
) -> None:
    split = file.stem
    if split not in SPLITS:
        raise ValueError(f"{file}: is of no split; delete it")
    mend = f"delete it and run `mesm evaluate {run.path} --split {split}`"
    kept = Predictions.read(file)
    clips = corpus.split(split)
    if not kept.fits(corpus.manifest.emotions, clips.clip_ids, clips.dialogs, clips.labels):
        raise ValueError(f"{file}: not finite logits of just the clips of {corpus.path}; {mend}")
    stale = [name for name in origin or {} if kept.origin.get(name) != (origin or {})[name]]
    if stale:
        raise ValueError(f"{file}: made before a change of {', '.join(stale)}; {mend}")


def _examine_documents(run: Run, weights: bool, found: Examined) -> None:
    file = run.folder.evaluation
    scored: Mapping[str, Any] = found.attempt(read_json, file, Evaluation) or {}
    if file.is_file():
        found.checked.append("scores")
    hashed = sha256(run.folder.best) if weights and scored else None
    for split in SPLITS:
        record = scored.get(split, {}).get("weights")
        kept = record.get("sha256") if isinstance(record, dict) else None
        if hashed is not None and kept is not None and kept != hashed:
            found.add(
                f"{file}: the scores of the {split} split are of other weights than "
                f"{run.folder.best.name}; run `mesm evaluate {run.path} --split {split}`"
            )
    documents: list[tuple[Path, Any]] = [(run.path / name, Sweep) for name in SWEEPS]
    documents.append((run.folder.temperatures, TemperatureDocument))
    documents.append((run.folder.thresholds, ThresholdDocument))
    documents.append((run.folder.preprocessing, PreprocessingDocument))
    documents.append((run.path / "explain" / "action_units.json", Attention))
    documents += [(file, dict) for file in sorted((run.path / "explain").glob("*/*.json"))]
    for document, shape in documents:
        if document.exists():
            found.attempt(read_json, document, shape)
            found.checked.append(document.name)
