"""Damaged files through the package's readers, called in process."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable
from contextlib import chdir
from pathlib import Path
from typing import Any

import numpy as np

from tests.faults import damage, raw
from tests.faults.base import Base, scratch
from tests.faults.damage import NO_PIPE, Damage
from tests.faults.held import weights
from tests.faults.outcome import Outcome, one_line

MOST = 1e10  # no right figure of sound, faces or action units is beyond


def read(base: Base, seed: int) -> Outcome:
    """One damaged file read by its reader."""
    rng = random.Random(f"read {seed}")
    reader = rng.choice(READERS)
    try:
        return reader(base, scratch(), rng)
    except _Refused as refused:
        return refused.outcome


class _Refused(Exception):
    def __init__(self, outcome: Outcome) -> None:
        super().__init__(outcome.what)
        self.outcome = outcome


def _try(what: str, call: Callable[[], Any], names: tuple[str, ...]) -> Any:
    """Call a reader; a refusal must be a ValueError or an OSError that names a file."""
    try:
        return call()
    except (ValueError, OSError) as error:
        said = str(error)
        kind = type(error).__name__
        if "\n" in said.strip() or "pydantic" in said or len(said) > 1200:
            raise _Refused(Outcome("traceback", f"{what}: a dump: {one_line(said)}")) from error
        if not any(name in said for name in names):
            problem = f"{what}: names no file: {kind}: {one_line(said)}"
            raise _Refused(Outcome("traceback", problem)) from error
        raise _Refused(Outcome("refused", f"{what}: {one_line(said)}")) from error
    except Exception as error:
        problem = f"{what}: {type(error).__name__}: {one_line(str(error))}"
        raise _Refused(Outcome("traceback", problem)) from error


def _copy(file: Path, folder: Path) -> Path:
    return Path(shutil.copy(file, folder / file.name))


def _sane(values: Any) -> bool:
    array = np.asarray(values)
    return bool(np.isfinite(array).all() and (np.abs(array) < MOST).all())


def _wav(base: Base, folder: Path, rng: random.Random) -> Outcome:
    from mesm.inputs.spectrograms import log_mel
    from mesm.inputs.waveforms import read_waveform

    layout = rng.choice(("iemocap", "mosei"))
    file = _copy(rng.choice(sorted((base.folder / layout).rglob("*.wav"))), folder)
    done = damage.wav(file, rng, NO_PIPE)
    start = rng.uniform(-0.1, 8)
    end = start + rng.choice((0.01, 0.5, 2.0, 6.0))
    channel = rng.choice((None, 0, 1)) if layout == "iemocap" else None
    what = f"sound {done.what}, {start:.3f} to {end:.3f} s of channel {channel}"
    waveform = _try(what, lambda: read_waveform(file, start, end, channel), (file.name,))
    columns = log_mel(waveform)
    if not _sane(waveform) or not _sane(columns):
        return Outcome("wrong", f"{what}: not finite")
    if not 0 < len(waveform) <= (end - start) * 16_000 + 2:
        return Outcome("wrong", f"{what}: {len(waveform)} samples")
    return Outcome("right", what)


def _video(base: Base, folder: Path, rng: random.Random) -> Outcome:
    from mesm.inputs.video import frames_at

    files = sorted([*base.folder.rglob("*.avi"), *base.folder.rglob("*.mp4")])
    file = _copy(rng.choice([f for f in files if "undisturbed" not in f.parts]), folder)
    done = damage.bytes_of(file, rng, damage.FACES, NO_PIPE)
    what = f"video {done.what}"
    instants = sorted(rng.uniform(0, 10) for _ in range(3))
    frames = _try(what, lambda: list(frames_at(file, instants)), (file.name,))
    if len(frames) != len(instants):
        return Outcome("wrong", f"{what}: {len(frames)} frames for {len(instants)} instants")
    return Outcome("right", what)


def _openface(base: Base, folder: Path, rng: random.Random) -> Outcome:
    from mesm.features.openface import check_openface, read_openface

    file = _copy(rng.choice(sorted((base.folder / "iemocap/OpenFace").glob("*.csv"))), folder)
    wanted = read_openface(file, 0.0, 2.0, 0.1)
    done = damage.table_of_numbers(file, rng, ",", NO_PIPE)
    what = f"OpenFace {done.what}"

    def call() -> Any:
        check_openface(file, two_people=False)
        return read_openface(file, 0.0, 2.0, 0.1)

    found = _try(what, call, (file.name,))
    known = np.isfinite(found)
    if not _sane(found[known]) or np.isinf(found).any():
        return Outcome("wrong", f"{what}: figures that no face has")
    if found.shape != wanted.shape and "cell" in done.what:
        return Outcome("wrong", f"{what}: {len(found)} rows, not {len(wanted)}")
    if "cell" in done.what:
        # One row of the file feeds at most one row of the clip.
        differing = (~((found == wanted) | (np.isnan(found) & np.isnan(wanted)))).any(1).sum()
        if differing > 1 and "-5" not in done.what:
            return Outcome("wrong", f"{what}: {differing} rows changed")
    return Outcome("right", what)


def _glove(base: Base, folder: Path, rng: random.Random) -> Outcome:
    from mesm.features.glove import read_vectors

    words = ["the", "happy", "sad", "furious"]
    source = base.folder / "iemocap/glove.txt.gz"
    wanted = read_vectors(source, words)
    file = _copy(source, folder)
    done = damage.bytes_of(file, rng, damage.NOTHING, NO_PIPE)
    what = f"GloVe {done.what}"
    found = _try(what, lambda: read_vectors(file, words), (file.name,))
    if not all(_sane(vector) for vector in found.values()):
        return Outcome("wrong", f"{what}: not finite")
    same = found.keys() == wanted.keys() and all((found[w] == wanted[w]).all() for w in wanted)
    # An end marker's bytes and gzip's heading are nobody's numbers.
    return Outcome("right" if same else "wrong", f"{what}{'' if same else ': other vectors'}")


def _glove_text(base: Base, folder: Path, rng: random.Random) -> Outcome:
    from mesm.features.glove import read_vectors

    file = folder / "glove.txt"
    numbers = " ".join(f"{rng.gauss(0, 1):.4f}" for _ in range(300))
    file.write_text(f"the {numbers}\nhappy {numbers}\n")
    done = damage.table_of_numbers(file, rng, " ", NO_PIPE)
    what = f"GloVe {done.what}"
    found = _try(what, lambda: read_vectors(file, ["the", "happy"]), (file.name,))
    sane = all(_sane(vector) for vector in found.values())
    return Outcome("right" if sane else "wrong", what)


def _labels(base: Base, folder: Path, rng: random.Random) -> Outcome:
    """Labels and transcripts: what is not damaged stays as it is, or is blamed on the file."""
    from mesm.corpora.registry import find_corpus

    layout = rng.choice(("iemocap", "mosei"))
    reader = find_corpus(layout).reader
    place = folder / layout
    media = shutil.ignore_patterns("*.wav", "*.avi", "*.mp4", "OpenFace", "glove*")
    shutil.copytree(base.folder / layout, place, ignore=media)
    wanted = {u.clip_id: u for u in reader(place).utterances}
    patterns = ("EmoEvaluation/*.txt", "transcriptions/*.txt", "Labels/*.csv", "Combined/*.txt")
    files = sorted(file for pattern in patterns for file in place.rglob(pattern))
    file = rng.choice(files)
    if rng.random() < 0.15:
        done = damage.harmless_text(file, rng)
    else:
        done = damage.lines_of(file, rng, raw.NUMBER[layout], NO_PIPE)
    what = f"{layout} {done.what}"
    corpus = _try(what, lambda: reader(place), (file.name, layout, file.parent.name))
    found = {u.clip_id: u for u in corpus.utterances}
    about = " ".join([*(f"{s.clip_id} {s.file}" for s in corpus.skipped), *corpus.notes])
    for clip_id, utterance in wanted.items():
        own = file.suffix == ".csv" or file.stem == utterance.dialog
        if clip_id not in found:
            named = clip_id in about and file.name in about
            if done.harmless or not own or not (named or raw.may_vanish(done)):
                return Outcome("wrong", f"{what}: {clip_id} is gone, {one_line(about, 150)!r}")
            continue
        other = {
            name
            for name in ("text", "labels", "start", "end", "speaker", "dialog")
            if getattr(found[clip_id], name) != getattr(utterance, name)
        }
        if other - (done.may_change if own else damage.NOTHING):
            return Outcome("wrong", f"{what}: {clip_id} has other {', '.join(sorted(other))}")
    for utterance in found.values():
        if not np.isfinite([utterance.start, utterance.end]).all():
            return Outcome("wrong", f"{what}: {utterance.clip_id} has a time that is not finite")
        if "/" in utterance.clip_id or not utterance.clip_id.isprintable():
            return Outcome("wrong", f"{what}: the id {utterance.clip_id[:60]!r} is taken")
    if done.harmless and (found != wanted):
        return Outcome("wrong", f"{what}: other utterances")
    return Outcome("right" if found.keys() == wanted.keys() else "skipped", what)


def _prepared(base: Base, folder: Path, rng: random.Random) -> Outcome:
    from mesm.corpora.prepared import PreparedCorpus

    prep = folder / "prep"
    shutil.copytree(base.folder / "prep", prep)
    file = rng.choice([prep / "manifest.json", *sorted(prep.glob("data/*.parquet"))])
    before = file.read_bytes()
    is_data = file.suffix == ".parquet"
    hurt: Damage = (
        damage.bytes_of(file, rng, damage.NOTHING, NO_PIPE)
        if is_data
        else damage.json_value(file, rng)
    )
    what = f"prepared corpus, {hurt.what}"

    def call() -> Any:
        corpus = PreparedCorpus.open(prep)
        corpus.verify()
        return [clip for name in ("train", "valid", "test") for clip in corpus.split(name)]

    clips = _try(what, call, (file.name, str(prep)))
    if is_data and not (file.is_file() and file.read_bytes() == before):
        return Outcome("wrong", f"{what}: taken as whole")
    if not all(_sane(clip.spectrogram) for clip in clips):
        return Outcome("wrong", f"{what}: not finite")
    return Outcome("right", what)


def _store(base: Base, folder: Path, rng: random.Random) -> Outcome:
    from mesm.corpora.prepared import PreparedCorpus
    from mesm.features.store import FeatureStore

    prep = folder / "prep"
    shutil.copytree(base.folder / "prep", prep)
    file = rng.choice(sorted((prep / "features").iterdir()))
    is_data = file.suffix == ".parquet"
    hurt = (
        damage.bytes_of(file, rng, damage.NOTHING, NO_PIPE)
        if is_data
        else damage.json_value(file, rng)
    )
    what = f"features, {hurt.what}"

    def call() -> Any:
        corpus = PreparedCorpus.open(prep)
        store = FeatureStore.open(corpus)
        return [store.clip(name) for name in corpus.split("test").clip_ids]

    for clip in _try(what, call, (file.name, str(prep))):
        if not (_sane(clip.audio) and _sane(clip.video) and _sane(clip.text)):
            return Outcome("wrong", f"{what}: not finite")
    return Outcome("right", what)


def _run_files(base: Base, folder: Path, rng: random.Random) -> Outcome:
    """The JSON, YAML and Parquet files of a run, asked for one by one."""
    from mesm.data.corpus_folder import kept_place
    from mesm.evaluation.calibration import Temperatures
    from mesm.evaluation.predictions import Predictions
    from mesm.evaluation.run import Run
    from mesm.runs.checkpoints import read_progress
    from mesm.runs.folder import RunFolder
    from mesm.runs.hashes import sha256

    run = folder / "run"
    shutil.copytree(base.folder / "run", run)
    asks: dict[str, Callable[[], Any]] = {
        "evaluation.json": lambda: Run(run).scores,
        "metrics.jsonl": lambda: Run(run).history,
        "temperatures.json": lambda: Temperatures.read(
            RunFolder(run), sha256(RunFolder(run).best), Run(run).emotions
        ),
        "sweep.json": lambda: Run(run).sweep,
        "config.yaml": lambda: (Run(run).settings, Run(run).config),
        "corpus.json": lambda: kept_place(RunFolder(run)),
        "predictions/test.parquet": lambda: Predictions.read(run / "predictions/test.parquet"),
        "last/state.json": lambda: read_progress(RunFolder(run)),
    }
    name = rng.choice(list(asks))
    file = run / name
    if file.suffix == ".parquet":
        hurt = damage.bytes_of(file, rng, damage.NOTHING, NO_PIPE)
    elif file.suffix == ".yaml" or rng.random() < 0.3:
        hurt = damage.structure(file, rng)
    else:
        hurt = damage.json_value(file, rng)
    what = f"run, {hurt.what}"
    _try(what, asks[name], (file.name, str(run)))
    return Outcome("right", what)


def _weights(base: Base, folder: Path, rng: random.Random) -> Outcome:
    from mesm.evaluation.run import Run
    from mesm.runs.checkpoints import load_weights

    base.take("prep", folder)
    base.take("run", folder)
    file = folder / "run/model.safetensors"
    with chdir(folder):  # a run may name its corpus as seen from there
        model = Run(folder / "run").model
    hurt = weights(file, rng)
    what = f"weights {hurt.what}"
    _try(what, lambda: load_weights(model, file), (file.name,))
    sane = all(_sane(v.detach().float().numpy()) for v in model.state_dict().values())
    return Outcome("right" if sane else "wrong", what)


READERS = [_wav, _wav, _video, _openface, _openface, _glove, _glove_text]
READERS += [_labels] * 6 + [_prepared, _prepared, _store, _run_files, _run_files, _weights]
