"""A trained run made to a folder that stands for itself; nothing of its corpus but statistics."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from importlib import metadata
from itertools import islice
from pathlib import Path, PurePath
from typing import Any

from mesm.analysis.costs import FlopTally, dense_flops_per_frame
from mesm.analysis.sweep import retrained
from mesm.config.end_to_end import FE2ESettings
from mesm.data.feed import EndToEndFeed
from mesm.data.preprocessing import Preprocessing
from mesm.evaluation.metrics import is_single_label
from mesm.evaluation.run import Run
from mesm.inputs.subwords import UnigramSubwords
from mesm.models.late_fusion import LateFusionModel
from mesm.models.registry import SYSTEMS
from mesm.plots.p_curve import draw_p_curve
from mesm.plots.style import save_png
from mesm.publishing.card import CardFacts, card
from mesm.publishing.contents import (
    CARD,
    CONFIG,
    CURVE,
    FILES,
    HASHED,
    METRICS,
    PREPROCESSOR,
    TOKENIZER,
    WEIGHTS,
    Config,
    Preprocessor,
    fixed,
    is_published,
)
from mesm.publishing.load import MODELS
from mesm.publishing.terms import Licence, licence_of
from mesm.publishing.tokenizers import check_tokenizer
from mesm.runs.checkpoints import read_arguments, read_progress
from mesm.runs.documents import ShownSweep
from mesm.runs.files import check_folder, owned, read_json, write_beside
from mesm.runs.folder import json_text
from mesm.runs.hashes import sealed, sha256
from mesm.runs.ordinary import naming

# Test clips whose FLOPs are counted.
COUNTED = 32
# Where files are until all are written.
STAGE = ".mesm-publish"


def publish(
    run: Path,
    out: Path,
    *,
    licence: str | None = None,
    name: str | None = None,
    corpus: Path | None = None,
) -> Path:
    """Write a trained and scored FE2E or MESM into a folder that needs neither run nor corpus.

    The folder holds weights, settings, subwords, how inputs are made, thresholds, temperatures,
    the emotions' names, scores with intervals, the picture of a sweep if there is one, and a model
    card. `mesm.publishing.load.load_published` reads it. No path of this machine is in it.

    Args:
        run: the run's folder.
        out: the folder; new, empty, or one that was published before. Other files in it that begin
            with a dot, as git has them, stay.
        licence: of the model, as the hub calls it; None: what follows from the corpus'.
        name: of the model, for its card; None: the folder's.
        corpus: where the run's corpus lies; None: where the run finds it.

    Returns:
        The folder.

    Raises:
        ValueError: not a finished run of such a system, not scored with its present weights, a
            licence that is unknown or must be said, or `out` holds something else. Nothing is
            written.
    """
    opened = Run.open(run, device="cpu", corpus=corpus)
    _check_run(opened)
    _check_folder(out)
    terms = licence_of(opened.manifest, licence)
    # Where the folder cannot be written to, this tells so before any work.
    with owned(out, "publishing into"), _staging(out / STAGE) as stage:
        _write(opened, stage, _facts(opened, name or out.resolve().name, terms))
        _put_in_place(stage, out)
    return out


def _check_run(run: Run) -> None:
    """Refuse before any work."""
    if run.system not in MODELS:
        title = SYSTEMS[run.system].title
        raise ValueError(
            f"{run.path}: {title} reads hand-crafted features (GloVe, DisVoice, OpenFace), which "
            "nobody can make of a recording with a folder alone; publish a run of "
            f"{' or '.join(SYSTEMS[one].title for one in MODELS)}"
        )
    progress = read_progress(run.folder)
    if progress is not None and not progress.finished:
        raise ValueError(
            f"{run.path}: is still in training, {progress.epoch} epochs done; finish that first, "
            "with the same mesm train"
        )
    command = f"run `mesm evaluate {run.path}`"
    run.check_scored()
    record = run.scores.get("weights") or {}
    if record.get("sha256") != sha256(run.folder.best):
        raise ValueError(f"{run.path}: its scores are of other weights than it has now; {command}")
    if "intervals" not in run.scores:
        raise ValueError(f"{run.path}: its scores have no intervals; {command}")


def _check_folder(out: Path) -> None:
    """Refuse, with a ValueError, a place that holds something else."""
    check_folder(out)
    if not out.is_dir():
        return
    there = [place.name for place in sorted(out.iterdir()) if not place.name.startswith(".")]
    other = [name for name in there if name not in FILES]
    if other:
        raise ValueError(
            f"{out}: holds {other[0]}, which is no part of a published model; name another folder"
        )
    # Where a publication was killed, the files may be there without their config.json.
    if there and not (out / STAGE).is_dir() and not is_published(out):
        raise ValueError(
            f"{out}: holds {there[0]}, but no {CONFIG} of a published model, so that file is "
            "somebody's else; name another folder, or delete it"
        )


def _facts(run: Run, name: str, licence: Licence) -> CardFacts:
    progress = read_progress(run.folder)
    swept = read_json(run.path / "sweep.json", ShownSweep) is not None
    return CardFacts(
        name=name,
        config=run.config,
        manifest=run.manifest,
        headline=run.accuracy_name,
        scores=run.scores,
        licence=licence,
        flops=count_flops(run),
        parameters=sum(value.numel() for value in run.model.parameters()),
        epochs=len(run.history),
        # Earlier runs did not note it.
        processes=1 if progress is None else progress.processes or 1,
        curve=swept,
    )


def count_flops(run: Run) -> dict[str, float]:
    """FLOPs of the feature extraction per clip, over the first test clips.

    Returns:
        "clips", how many; "total", as the model is; "dense", of FE2E's extractors of its widths.
    """
    model, tally = run.model, FlopTally()
    assert isinstance(model, LateFusionModel)
    dense, clips = 0.0, 0
    per_frame = dense_flops_per_frame(model)
    size = run.config.training.batch_size
    for batch in islice(run.batches("test", size), -(-COUNTED // size)):
        tally.count(model, batch)
        frames = {"face": len(batch.faces), "audio": len(batch.spectrograms)}
        dense += sum(flops * frames[name] for name, flops in per_frame.items())
        clips += len(batch)
    return {"clips": clips, "total": tally.per_clip(clips)["total"], "dense": dense / clips}


def _preprocessor(run: Run) -> Preprocessor:
    settings = run.config.model
    assert isinstance(settings, FE2ESettings)
    assert isinstance(run.feed, EndToEndFeed)
    learnt = isinstance(run.feed.tokenizer, UnigramSubwords)
    values = asdict(Preprocessing.of(run.corpus))
    values |= {name: list(values[name]) for name in ("emotions", "lacking")}
    return Preprocessor(
        **values,
        sound=settings.sound,
        subwords="learnt" if learnt else "pretrained",
        max_text_length=settings.text.max_length,
        fixed=fixed(),
    )


def _config(run: Run, files: dict[Any, str]) -> Config:
    threshold = run.scores["threshold"]
    if run.temperatures is None:  # as in earlier runs
        run.predictions("valid")
    temperatures = run.temperatures
    assert temperatures is not None
    single = is_single_label(run.scores)
    values = None if single else [threshold["values"][emotion] for emotion in run.emotions]
    return Config(
        format=1,
        library="mesm",
        version=metadata.version("mesm"),
        system=run.system,  # type: ignore[arg-type]
        arguments=read_arguments(run.folder),
        settings=without_places(run.config.model.model_dump()),
        task="single_label" if single else "multi_label",
        threshold={"policy": threshold["policy"], "values": values},  # type: ignore[arg-type]
        calibration={  # type: ignore[arg-type]
            "values": temperatures.values,
            "notes": temperatures.notes,
            "split": temperatures.split,
            "clips": temperatures.clips,
        },
        files=files,
    )


def without_places(values: Any) -> Any:
    """Settings as JSON values; of a file's or folder's path nothing but the last name."""
    if isinstance(values, dict):
        return {key: without_places(value) for key, value in values.items()}
    if isinstance(values, list | tuple):
        return [without_places(value) for value in values]
    return values.name if isinstance(values, PurePath) else values


def _write(run: Run, stage: Path, facts: CardFacts) -> None:
    """Write all files into a folder of their own."""
    read = _preprocessor(run)
    assert isinstance(run.feed, EndToEndFeed)
    with naming(stage / WEIGHTS):
        shutil.copyfile(run.folder.best, stage / WEIGHTS)
    run.feed.tokenizer.save(stage / TOKENIZER)
    try:
        check_tokenizer(stage / TOKENIZER)  # as whoever loads it will
    except ValueError as error:
        raise ValueError(str(error).replace(str(stage), str(run.path))) from error
    _write_json(stage / PREPROCESSOR, read.model_dump(mode="json"))
    if facts.curve:
        assert run.sweep is not None
        picture = draw_p_curve(run.sweep, retrained(run.path, run.sweep["split"]))
        save_png(picture, stage / CURVE)
    _write_json(stage / METRICS, {"test": facts.scores, "flops_per_clip": facts.flops})
    write_beside(stage / CARD, card(facts))
    files = {name: sha256(stage / name) for name in HASHED}
    if files[WEIGHTS] != run.origin["weights"]:
        raise ValueError(f"{run.path}: its weights changed meanwhile; publish it again")
    _write_json(stage / CONFIG, sealed(_config(run, files).model_dump(mode="json")))


def _put_in_place(stage: Path, out: Path) -> None:
    """Move the files to where they belong, config.json last.

    A folder without that file is no published model, and one with files of another is refused by
    their hashes, so no kill leaves what would be taken for whole.
    """
    (out / CONFIG).unlink(missing_ok=True)
    (out / CURVE).unlink(missing_ok=True)
    for name in (*FILES[1:], CONFIG):
        if (stage / name).exists():
            (stage / name).replace(out / name)


@contextmanager
def _staging(folder: Path) -> Iterator[Path]:
    """A new folder, which is gone in the end."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _write_json(file: Path, values: Any) -> None:
    write_beside(file, json_text(values, file, indent=2) + "\n")
