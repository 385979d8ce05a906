"""`mesm predict`: recordings one after the other; a bad one costs a line, and the rest goes on."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain, count, islice
from pathlib import Path

from tqdm import tqdm

from mesm.corpora.table.problems import TableError
from mesm.inference.cutting import Words, cut
from mesm.inference.film import Shown, check_film, write_film
from mesm.inference.looking import check_looks, draw_piece, look
from mesm.inference.output import (
    check_output,
    check_place,
    format_table,
    write_predictions,
)
from mesm.inference.pieces import Person, Piece
from mesm.inference.pipeline import BATCH, Pipeline
from mesm.inference.recording import InputError, find_recordings, open_recording, printable
from mesm.inference.results import Prediction
from mesm.inference.transcribing import Transcriber
from mesm.models import MESM
from mesm.runs.files import check_folder

# Bytes of a recording's name in those of its pictures.
LONGEST_STEM = 60


@dataclass(frozen=True)
class Request:
    """All that `mesm predict` was asked for.

    Attributes:
        inputs: files and folders.
        words: what was told about the recordings.
        person: as of `Pipeline.stream`.
        out: where predictions are written; None: nowhere.
        pictures: folder of pictures of what a MESM keeps; None: none are drawn.
        film: where the recording with its emotions beside it is written; None: nowhere.
        transcribe: folder of a speech-recognition model; None: nothing is transcribed.
    """

    inputs: tuple[Path, ...]
    words: Words = field(default_factory=Words)
    person: Person = None
    out: Path | None = None
    pictures: Path | None = None
    film: Path | None = None
    transcribe: Path | None = None

    def recordings(self) -> list[Path]:
        """The files, in order and once each.

        Raises:
            InputError: a folder has none, what was told is of one recording and there are several,
                or predictions cannot be written.
        """
        if self.out is not None:
            check_output(self.out)
        if self.pictures is not None:
            check_folder(self.pictures)
        if self.film is not None:
            check_film(self.film)
        if self.transcribe is not None and (self.words.text or self.words.subtitles):
            raise InputError(
                "--transcribe finds the words; leave --text and --subtitles out, or --transcribe"
            )
        files = list(dict.fromkeys(find_recordings(self.inputs)))
        self._check_overwriting(files)
        told = {
            "--text": self.words.text,
            "--subtitles": self.words.subtitles,
            "--segments": self.words.segments,
            "--video": self.film,
        }
        for option, value in told.items():
            if value is not None and len(files) > 1:
                raise InputError(
                    f"{option} is about one recording, got {len(files)}; predict that one alone"
                )
        return files

    def _check_overwriting(self, files: Sequence[Path]) -> None:
        """Refuse to write onto a file that is read."""
        read = [*files, *filter(None, (self.words.subtitles, self.words.segments))]
        for option, place in (("--out", self.out), ("--video", self.film)):
            if place is None or not place.exists():
                continue
            same = next((one for one in read if one.exists() and one.samefile(place)), None)
            if same is not None:
                what = "is the recording itself" if same in files else f"is {same}, which is read"
                raise InputError(f"{option} {place} {what}; name another file")

    def make_places(self) -> None:
        """Make the folders that are written into, and try whether that can be.

        Raises:
            OSError: it cannot; names the file or folder.
        """
        if self.pictures is not None:
            self.pictures.mkdir(parents=True, exist_ok=True)
            check_place(self.pictures / "x")
        if self.out is not None:
            self.out.parent.mkdir(parents=True, exist_ok=True)
            check_place(self.out)
        if self.film is not None:
            check_place(self.film)


def predict_all(
    run: Path | str,
    request: Request,
    show: Callable[[str], object],
    device: str | None = None,
    mtcnn: Path | None = None,
) -> list[str]:
    """Predict recordings, show each one's table, and write all predictions.

    Interrupted, it writes the predictions of the pieces that are finished.

    Args:
        run: as of `mesm.inference.loading.load_trained`.
        request: what is wanted.
        show: is told what stands on the screen.
        device: as of `Pipeline.from_pretrained`.
        mtcnn: likewise.

    Returns:
        A line per recording that could not be predicted.

    Raises:
        ValueError: the run cannot be used, or the request makes no sense; nothing was done.
    """
    files = request.recordings()
    pipeline = Pipeline.from_pretrained(run, device, mtcnn)
    if request.pictures is not None:
        check_looks(pipeline)
    transcriber = None
    if request.transcribe is not None:
        transcriber = Transcriber(request.transcribe, str(pipeline.trained.device))
    request.make_places()

    def say(text: str) -> None:
        show("\n".join(map(printable, text.split("\n"))))

    work = _Work(pipeline, request, transcriber, say)
    say(_head(pipeline))
    done: list[Prediction] = []
    failures: list[str] = []
    try:
        for file in files:
            here: list[Prediction] = []
            try:
                work.predict(file, here)
            except (InputError, TableError) as error:
                failures.append(printable(" ".join(str(error).split())))
                tqdm.write(f"mesm: {failures[-1]}", file=sys.stderr)
            finally:
                done += here
                if here:
                    say(f"\n{printable(str(file))}\n{format_table(here, pipeline.emotions)}")
    finally:
        if request.pictures is not None:
            say(f"{request.pictures}: pictures of what each block keeps")
        if request.out is not None:
            write_predictions(request.out, done, pipeline.emotions)
            say(f"{request.out}: {len(done)} predictions")
    return failures


@dataclass
class _Work:
    """The work on one recording after the other."""

    pipeline: Pipeline
    request: Request
    transcriber: Transcriber | None
    show: Callable[[str], object]
    names: set[str] = field(default_factory=set)

    def predict(self, file: Path, done: list[Prediction]) -> None:
        """Predict a recording; each finished piece is in `done` at once."""
        recording = open_recording(file)
        if self.request.film is not None and not recording.pictures:
            raise InputError(f"{file} has no pictures, so --video has nothing to show")
        words = replace(self.request.words, unaided=self.transcriber is not None)
        spans = cut(recording, words)
        seconds = round(recording.seconds, 1)
        form = "{desc}: {percentage:3.0f}%|{bar}| {n:.0f}/{total:.0f} s [{elapsed}<{remaining}]"
        shown: list[Shown] = []
        name = self._name(file)
        pieces = self.pipeline.read(recording, spans, self.request.person, self.transcriber)
        with tqdm(total=seconds, desc=printable(file.name), bar_format=form, leave=False) as bar:
            while batch := list(islice(pieces, BATCH)):
                found = self.pipeline.predict(batch)
                done += found
                for piece, prediction in zip(batch, found, strict=True):
                    self._look(piece, prediction, f"{name}-{len(shown):03}", shown)
                bar.update(max(0.0, min(seconds, batch[-1].end - recording.start) - bar.n))
        if self.request.film is not None:
            write_film(self.request.film, recording, shown)
            self.show(str(self.request.film))

    def _look(self, piece: Piece, prediction: Prediction, name: str, shown: list[Shown]) -> None:
        """Draw a piece, and keep what a film needs of it, where these are wanted."""
        attention = None
        drawn = self.request.pictures is not None or self.request.film is not None
        if drawn and isinstance(self.pipeline.trained.model, MESM):
            attention = look(self.pipeline, piece)
        if attention is not None and self.request.pictures is not None:
            draw_piece(attention, prediction, self.request.pictures, name)
        shown.append(Shown.of(prediction, attention if self.request.film is not None else None))

    def _name(self, file: Path) -> str:
        """The beginning of the names of a recording's pictures; no two recordings have one."""
        stem = os.fsencode(file.stem)[:LONGEST_STEM].decode(errors="ignore")
        numbered = chain([stem], (f"{stem}.{number}" for number in count(2)))
        name = next(name for name in numbered if name not in self.names)
        self.names.add(name)
        return name


def _head(pipeline: Pipeline) -> str:
    trained = pipeline.trained
    corpus = trained.preprocessing
    kind = "generated " if corpus.synthetic else ""
    lines = [
        f"{trained.title} of {trained.name} (weights {trained.weights[:12]}), trained on the "
        f"{kind}corpus {corpus.title}",
        f"probabilities in percent; * decided for, threshold: {trained.decider.policy}",
    ]
    if corpus.synthetic:
        lines.append(
            "it knows drawn faces and made-up sounds only: of people its answers mean nothing"
        )
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
