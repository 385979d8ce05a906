"""Damaged raw corpora through `mesm prepare` and `mesm features`."""

from __future__ import annotations

import random
import re
from pathlib import Path
from typing import Any

import numpy as np

from mesm.runs.files import read_json
from tests.faults import damage
from tests.faults.base import FACES, Base, prepared_rows
from tests.faults.damage import Damage
from tests.faults.judge import beyond_float32, ended, not_finite, stray
from tests.faults.outcome import Outcome
from tests.faults.process import Result, run

NUMBER = {
    # Times and ratings, and no numbers inside names.
    "iemocap": re.compile(r"(?<=\[)\d+\.\d+|(?<= - )\d+\.\d+(?=\])"),
    "mosei": re.compile(r"(?<=___)\d+\.\d+(?=___)|(?<=,)-?\d(?=,\d*,)"),
}


def prepare(base: Base, seed: int) -> Outcome:
    """One raw corpus with one damage, prepared."""
    rng = random.Random(f"prepare {seed}")
    layout = rng.choice(("iemocap", "mosei"))
    with base.sandbox(layout) as folder:
        raw = folder / layout
        file, done = hurt(raw, layout, rng)
        result = run(["prepare", layout, layout, "out", *FACES], folder)
        what = f"prepare {layout}, {done.what}"
        return _named(what, _judge(base, layout, folder, file, done, result))


def hurt(raw: Path, layout: str, rng: random.Random) -> tuple[Path | None, Damage]:
    """Damage one file of a raw corpus, which is given too, or its folders."""
    kind = rng.choice(("wav", "wav", "video", "text", "text", "text", "harmless", "folder"))
    if kind == "folder":
        return None, damage.folder_tricks(raw, rng)
    patterns = {
        "wav": ["*.wav"],
        "video": ["*.avi", "*.mp4"],
        "text": ["EmoEvaluation/*.txt", "transcriptions/*.txt", "Labels/*.csv", "Combined/*.txt"],
    }
    files = sorted(
        file for pattern in patterns.get(kind, patterns["text"]) for file in raw.rglob(pattern)
    )
    file = rng.choice(files)
    if kind == "wav":
        return file, damage.wav(file, rng)
    if kind == "video":
        return file, damage.bytes_of(file, rng, damage.FACES)
    if kind == "harmless":
        return file, damage.harmless_text(file, rng)
    return file, damage.lines_of(file, rng, NUMBER[layout])


def _named(what: str, outcome: Outcome) -> Outcome:
    return Outcome(outcome.verdict, f"{what}: {outcome.what}")


def _judge(
    base: Base, layout: str, folder: Path, file: Path | None, done: Damage, result: Result
) -> Outcome:
    bad = ended(result)
    if outside := stray(folder, (layout, "out")):
        return Outcome("wrong", outside)
    if bad is not None:
        if bad.verdict == "refused" and done.harmless:
            return Outcome("wrong", f"refused, though nothing is wrong: {bad.what}")
        return bad
    out = folder / "out"
    if problem := not_finite(out):
        return Outcome("wrong", f"not finite: {problem}")
    if problem := _statistics(out):
        return Outcome("wrong", problem)
    manifest = read_json(out / "manifest.json")
    try:
        rows = prepared_rows(out)
    except ValueError as error:
        return Outcome("wrong", str(error))
    wanted = base.rows[layout]
    for clip_id in rows:
        if "/" in clip_id or not clip_id.isprintable() or len(clip_id) > 250:
            return Outcome("wrong", f"a clip with the id {clip_id[:60]!r}")
    said = result.out + result.err + " ".join(manifest["notes"])
    for clip_id, row in wanted.items():
        if clip_id not in rows:
            blamed = [s for s in manifest["skipped"] if s["clip_id"] == clip_id]
            about = [s for s in manifest["skipped"] if file and file.name in s["file"]]
            if done.harmless:
                return Outcome("wrong", f"{clip_id} is left out, though nothing is wrong")
            told = blamed or about or (file is not None and file.name in said)
            if not told and not may_vanish(done):
                return Outcome("wrong", f"{clip_id} is gone without a word")
        else:
            other = _differing(row, rows[clip_id])
            own = file is None or file.suffix == ".csv" or file.stem == row["dialog"]
            if other - (done.may_change if own else damage.NOTHING):
                return Outcome("wrong", f"{clip_id} has other {', '.join(sorted(other))}")
    if done.harmless and rows.keys() - wanted.keys():
        return Outcome("wrong", "clips that were not there")
    return Outcome("right" if rows.keys() == wanted.keys() else "skipped", "prepared")


def may_vanish(done: Damage) -> bool:
    """Whether nothing is left that could tell of a clip."""
    return any(
        word in done.what
        for word in (
            "delete",
            "truncate",
            "empty",
            "swap",
            "folder",
            "loop",
            "file",
            "fifo",
            "flip",
        )
    )


def _differing(row: dict[str, Any], other: dict[str, Any]) -> set[str]:
    return {name for name in row if name != "split" and row[name] != other[name]}


def _statistics(out: Path) -> str | None:
    """How the manifest's figures differ from its rows, if they do."""
    manifest = read_json(out / "manifest.json")
    rows = prepared_rows(out).values()
    values = [np.array(row["spectrogram"]) for row in rows if row["split"] == "train"]
    flat = np.concatenate(values)
    if abs(flat.mean() - manifest["spectrogram_mean"]) > 1e-3:
        return f"spectrogram_mean {manifest['spectrogram_mean']}, the rows' is {flat.mean()}"
    if abs(flat.std() - manifest["spectrogram_std"]) > 1e-3 and flat.std() > 1e-3:
        return f"spectrogram_std {manifest['spectrogram_std']}, the rows' is {flat.std()}"
    if not manifest["spectrogram_std"] > 0:
        return f"spectrogram_std is {manifest['spectrogram_std']}"
    return None


def features(base: Base, seed: int) -> Outcome:
    """Hand-crafted features from a raw corpus with a damaged OpenFace, GloVe or sound file."""
    rng = random.Random(f"features {seed}")
    with base.sandbox("iemocap", "prep") as folder:
        raw = folder / "iemocap"
        kind = rng.choice(("openface", "openface", "openface", "glove", "wav", "folder"))
        if kind == "openface":
            file = rng.choice(sorted((raw / "OpenFace").glob("*.csv")))
            done = damage.table_of_numbers(file, rng, ",")
        elif kind == "glove":
            done = damage.bytes_of(raw / "glove.txt.gz", rng, damage.ANY)
        elif kind == "wav":
            done = damage.wav(rng.choice(sorted(raw.rglob("*.wav"))), rng)
        else:
            done = damage.folder_tricks(raw, rng)
        result = run(["features", "prep", "--raw", "iemocap", "--workers", "1"], folder)
        what = f"features, {done.what}"
        bad = ended(result)
        if outside := stray(folder, ("iemocap", "prep")):
            return Outcome("wrong", f"{what}: {outside}")
        if bad is not None:
            return _named(what, bad)
        if problem := not_finite(folder / "prep"):
            return Outcome("wrong", f"{what}: not finite: {problem}")
        if beyond_float32(read_json(folder / "prep/features/features.json")):
            return Outcome("wrong", f"{what}: figures beyond float32 in features.json")
        return Outcome("right", what)
