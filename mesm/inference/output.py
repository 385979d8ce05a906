"""Predictions on the screen and in files."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from mesm.inference.recording import InputError
from mesm.inference.results import Prediction, columns
from mesm.runs.files import check_folder, write_beside

# Letters of a text in a table.
SHOWN = 40


def _json_lines(predictions: Sequence[Prediction], emotions: Sequence[str]) -> bytes:
    del emotions
    lines = (json.dumps(one.row(), ensure_ascii=False, allow_nan=False) for one in predictions)
    return "".join(f"{line}\n" for line in lines).encode()


def _csv(predictions: Sequence[Prediction], emotions: Sequence[str]) -> bytes:
    found = columns(predictions, emotions)
    stream = io.StringIO()
    table = csv.writer(stream, lineterminator="\n")
    table.writerow(found)
    table.writerows(zip(*found.values(), strict=True))
    return stream.getvalue().encode()


def _parquet(predictions: Sequence[Prediction], emotions: Sequence[str]) -> bytes:
    found = columns(predictions, emotions)
    numbers = {name: pa.int32() for name in ("faces", "frames", "people", "person")}
    texts = ("file", "text", "policy", "decided", "missing", "notes", "model", "weights")
    kinds = {**numbers, **{name: pa.string() for name in texts}}
    table = pa.table(
        {name: pa.array(values, kinds.get(name, pa.float64())) for name, values in found.items()}
    )
    stream = io.BytesIO()
    pq.write_table(table, stream)
    return stream.getvalue()


_WRITERS: dict[str, Callable[[Sequence[Prediction], Sequence[str]], bytes]] = {
    ".jsonl": _json_lines,
    ".csv": _csv,
    ".parquet": _parquet,
}


def check_output(file: Path) -> Path:
    """Refuse, with an InputError, a file that predictions cannot be written to."""
    if file.suffix.lower() not in _WRITERS:
        raise InputError(f"--out {file}: wanted a file that ends with {', '.join(_WRITERS)}")
    if file.is_dir():
        raise InputError(f"--out {file} is a folder; name a file in it")
    check_folder(file.parent)
    return file


def check_place(file: Path) -> None:
    """Try whether a file can be written; an OSError that names it where that cannot be.

    An hour's work is lost otherwise.
    """
    beside = file.with_name(f".{file.name}.partial")
    try:
        if not beside.exists():
            beside.touch()
            beside.unlink()
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(file)) from error


def write_predictions(
    file: Path, predictions: Sequence[Prediction], emotions: Sequence[str]
) -> None:
    """Write predictions; the file appears whole or not at all.

    Args:
        file: its ending says the form: .jsonl, .csv or .parquet.
        predictions: a line each.
        emotions: the run's names, for the columns.
    """
    content = _WRITERS[file.suffix.lower()](predictions, emotions)
    file.parent.mkdir(parents=True, exist_ok=True)
    write_beside(file, content)


def format_table(predictions: Sequence[Prediction], emotions: Sequence[str]) -> str:
    """A line per piece: times, probabilities in percent, a star at those decided for.

    Args:
        predictions: all of one recording.
        emotions: the run's names.
    """
    wide = [max(len(name), 5) + 2 for name in emotions]
    several = any(one.person is not None for one in predictions)
    heads = "".join(f"{name:>{width}}" for name, width in zip(emotions, wide, strict=True))
    person = f"{'person':>8}" if several else ""
    lines = [f"{'start':>10}{'end':>11}{person}{heads}{'faces':>8}{'people':>8}  without / text"]
    for one in predictions:
        cells = ""
        for name, width in zip(emotions, wide, strict=True):
            star = "*" if name in one.decided else " "
            cells += f"{100 * one.probabilities[name]:>{width - 1}.1f}{star}"
        who = f"{one.person or '–':>8}" if several else ""
        faces = f"{one.faces}/{one.frames}"
        lacks = f"no {', no '.join(one.missing)}" if one.missing else ""
        said = "; ".join(filter(None, (lacks, _shorten(one.text), *one.notes)))
        lines.append(
            f"{_clock(one.start):>10}{_clock(one.end):>11}{who}{cells}{faces:>8}{one.people:>8}"
            f"  {said}"
        )
    return "\n".join(line.rstrip() for line in lines)


def _shorten(text: str | None) -> str:
    if not text or not text.strip():
        return ""
    words = " ".join(text.split())
    return f"“{words if len(words) <= SHOWN else words[: SHOWN - 1].rstrip() + '…'}”"


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds, 1), 60)
    hours, minutes = divmod(int(minutes), 60)
    return f"{hours}:{minutes:02}:{rest:04.1f}" if hours else f"{minutes}:{rest:04.1f}"
