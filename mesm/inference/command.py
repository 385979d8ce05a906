"""`mesm predict`: recordings one after the other; a bad one costs a line, and the rest goes on."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from tqdm import tqdm

from mesm.corpora.table.problems import TableError
from mesm.inference.cutting import Words, cut
from mesm.inference.output import check_output, format_table, write_predictions
from mesm.inference.pieces import Person
from mesm.inference.pipeline import BATCH, Pipeline
from mesm.inference.recording import InputError, find_recordings, open_recording
from mesm.inference.results import Prediction


@dataclass(frozen=True)
class Request:
    """All that `mesm predict` was asked for.

    Attributes:
        inputs: files and folders.
        words: what was told about the recordings.
        person: as of `Pipeline.stream`.
        out: where predictions are written; None: nowhere.
    """

    inputs: tuple[Path, ...]
    words: Words = field(default_factory=Words)
    person: Person = None
    out: Path | None = None

    def recordings(self) -> list[Path]:
        """The files, in order and once each.

        Raises:
            InputError: a folder has none, what was told is of one recording and there are several,
                or predictions cannot be written.
        """
        if self.out is not None:
            check_output(self.out)
        files = list(dict.fromkeys(find_recordings(self.inputs)))
        told = {
            "--text": self.words.text,
            "--subtitles": self.words.subtitles,
            "--segments": self.words.segments,
        }
        for option, value in told.items():
            if value is not None and len(files) > 1:
                raise InputError(
                    f"{option} is about one recording, got {len(files)}; predict that one alone"
                )
        return files


def predict_all(
    run: Path, request: Request, show: Callable[[str], object], device: str | None = None
) -> list[str]:
    """Predict recordings, show each one's table, and write all predictions.

    Interrupted, it writes the predictions of the pieces that are finished.

    Args:
        run: folder of a trained run.
        request: what is wanted.
        show: is told what stands on the screen.
        device: as of `Pipeline.from_pretrained`.

    Returns:
        A line per recording that could not be predicted.

    Raises:
        ValueError: the run cannot be used, or the request makes no sense; nothing was done.
    """
    files = request.recordings()
    pipeline = Pipeline.from_pretrained(run, device)
    show(_head(pipeline))
    done: list[Prediction] = []
    failures: list[str] = []
    try:
        for file in files:
            here: list[Prediction] = []
            try:
                _predict(pipeline, file, request, here)
            except (InputError, TableError) as error:
                failures.append(" ".join(str(error).split()))
                tqdm.write(f"mesm: {failures[-1]}", file=sys.stderr)
            finally:
                done += here
                if here:
                    show(f"\n{file}\n{format_table(here, pipeline.emotions)}")
    finally:
        if request.out is not None:
            write_predictions(request.out, done, pipeline.emotions)
            show(f"{request.out}: {len(done)} predictions")
    return failures


def _predict(pipeline: Pipeline, file: Path, request: Request, done: list[Prediction]) -> None:
    """Predict one recording; each finished piece is in `done` at once."""
    recording = open_recording(file)
    spans = cut(recording, request.words)
    seconds = round(recording.seconds, 1)
    form = "{desc}: {percentage:3.0f}%|{bar}| {n:.0f}/{total:.0f} s [{elapsed}<{remaining}]"
    with tqdm(total=seconds, desc=file.name, bar_format=form, leave=False) as bar:
        waiting = []
        for piece in pipeline.read(recording, spans, request.person):
            waiting.append(piece)
            if len(waiting) == BATCH:
                done += pipeline.predict(waiting)
                bar.update(max(0.0, min(seconds, waiting[-1].end - recording.start) - bar.n))
                waiting = []
        if waiting:
            done += pipeline.predict(waiting)


def _head(pipeline: Pipeline) -> str:
    trained = pipeline.trained
    corpus = trained.preprocessing
    kind = "generated " if corpus.synthetic else ""
    lines = [
        f"{trained.title} of {trained.path} (weights {trained.weights[:12]}), trained on the "
        f"{kind}corpus {corpus.title}",
        f"probabilities in percent; * decided for, threshold: {trained.decider.policy}",
    ]
    if corpus.synthetic:
        lines.append("the corpus shows drawn faces: on people's, its answers mean nothing")
    return "\n".join([*lines, *trained.notes])


def check_person(value: str | None) -> Person:
    """Read the option --person: a number from 1 on, or "all".

    Raises:
        InputError: it is neither.
    """
    if value is None or value == "all":
        return value
    if value.isascii() and value.isdigit() and int(value) >= 1:
        return int(value)
    raise InputError(f"--person: wanted a number from 1 on, or all, got {value!r}")
