"""The models behind the page: recordings read once, and looked at as often as somebody wishes."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from mesm.config.p import BlockP
from mesm.inference.cutting import Words, cut
from mesm.inference.loading import load_trained
from mesm.inference.looking import Attention, look
from mesm.inference.pieces import Piece
from mesm.inference.pipeline import BATCH, Pipeline
from mesm.inference.recording import InputError, open_recording
from mesm.inference.results import Prediction
from mesm.inference.transcribing import Transcriber
from mesm.models import MESM
from mesm.web.costs import Cost, measure
from mesm.web.desk import Looked
from mesm.web.limits import Limits, check_subtitles, check_text


@dataclass(frozen=True)
class View:
    """One piece of a recording, looked at.

    Attributes:
        looked: the recording, with the predictions of all its pieces.
        place: which piece.
        attention: over the piece; None: the run is no MESM.
        cost: of the run on the piece.
        dense: of the dense run; None: none was given.
        dense_prediction: likewise.
    """

    looked: Looked
    place: int
    attention: Attention | None
    cost: Cost
    dense: Cost | None
    dense_prediction: Prediction | None

    @property
    def prediction(self) -> Prediction:
        """The prediction for the piece."""
        return self.looked.predictions[self.place]


class Studio:
    """A run, and if wanted a dense one beside it; one thing at a time is run on either.

    Args:
        pipeline: of the run.
        dense: of an FE2E with the same emotions; None: FLOPs are compared by reckoning.
        limits: of uploads.
        transcriber: finds the words of clips without any; None: these stay without.
    """

    def __init__(
        self,
        pipeline: Pipeline,
        dense: Pipeline | None,
        limits: Limits,
        transcriber: Transcriber | None = None,
    ) -> None:
        self.pipeline = pipeline
        self.transcriber = transcriber
        self.dense = dense
        self.limits = limits
        self._lock = threading.Lock()

    @classmethod
    def load(
        cls,
        run: Path | str,
        dense: Path | str | None = None,
        limits: Limits | None = None,
        device: str | None = None,
        mtcnn: Path | None = None,
        transcribe: Path | None = None,
    ) -> Studio:
        """Load both models, and the one that finds words.

        Raises:
            ValueError: a run or the folder to transcribe by cannot be used, or the dense one is no
                FE2E of the same emotions.
        """
        pipeline = Pipeline.from_pretrained(run, device, mtcnn)
        beside = None
        if dense is not None:
            trained = load_trained(dense, device)
            if isinstance(trained.model, MESM):
                raise ValueError(
                    f"--dense {dense}: is {trained.title}, wanted FE2E, whose convolutions are "
                    "dense; name a run of it, or leave --dense out"
                )
            if trained.emotions != pipeline.emotions:
                raise ValueError(
                    f"--dense {dense}: tells {', '.join(trained.emotions)} apart, and {run} "
                    f"{', '.join(pipeline.emotions)}; name an FE2E of the same corpus"
                )
            beside = Pipeline(trained, mtcnn)
        transcriber = None
        if transcribe is not None:
            transcriber = Transcriber(transcribe, str(pipeline.trained.device))
        return cls(pipeline, beside, limits or Limits(), transcriber)

    @property
    def own_p(self) -> BlockP | None:
        """The run's own p; None: it is no MESM."""
        if not isinstance(self.pipeline.trained.model, MESM):
            return None
        found: BlockP = self.pipeline.trained.settings.p  # type: ignore[attr-defined]
        return found

    def read(
        self,
        file: Path,
        text: str = "",
        subtitles: Path | None = None,
        before: Looked | None = None,
    ) -> Looked:
        """Read a recording and predict its pieces by the run's own p.

        Where all but a typed text is as before, nothing is decoded again.

        Args:
            file: the recording.
            text: what is said; of one piece.
            subtitles: a file of SRT or WebVTT, in the text's place.
            before: what was read last.

        Raises:
            InputError: the file, or what was said about it, cannot be used; names it and the mend.
        """
        if text.strip() and subtitles is not None:
            raise InputError("there is a typed text and a file of subtitles; give one of them")
        check_text(text)
        self.limits.check_file(file)
        if subtitles is not None:
            check_subtitles(subtitles)
        source = (str(file), str(subtitles), "" if text.strip() else "untold")
        with self._lock:
            if before is not None and before.source[:2] == source[:2] and _retold(before, text):
                pieces = [replace(piece, text=text.strip()) for piece in before.pieces]
            else:
                recording = open_recording(file)
                self.limits.check_length(recording)
                check_text(text, recording)
                words = Words(text.strip() or None, subtitles, unaided=self.transcriber is not None)
                spans = cut(recording, words)
                pieces = list(self.pipeline.read(recording, spans, None, self.transcriber))
            return Looked(file.name, source, pieces, self._predict(pieces, None))

    def view(self, looked: Looked, place: int, p: BlockP | None = None) -> View:
        """Look at a piece; the models run, nothing is decoded.

        Args:
            looked: of `read`.
            place: which piece.
            p: another p than the run's own.
        """
        with self._lock:
            if p != looked.p:
                looked.predictions, looked.p = self._predict(looked.pieces, p), p
            piece = looked.pieces[place]
            attention = None
            if self.own_p is not None:
                attention = look(self.pipeline, piece, p)
            cost = measure(self.pipeline, piece, p, attention)
            dense_prediction = None
            if self.dense is not None:
                if place not in looked.dense:
                    looked.dense[place] = measure(self.dense, piece)
                (dense_prediction,) = self.dense.predict([piece])
            return View(looked, place, attention, cost, looked.dense.get(place), dense_prediction)

    def _predict(self, pieces: Sequence[Piece], p: BlockP | None) -> list[Prediction]:
        found: list[Prediction] = []
        for start in range(0, len(pieces), BATCH):
            found += self.pipeline.predict(pieces[start : start + BATCH], p)
        return found


def _retold(before: Looked, text: str) -> bool:
    """Whether the piece that was read needs no more than other words."""
    typed = before.source[2] == "" or before.pieces[0].text is None
    return typed and len(before.pieces) == 1 and bool(text.strip())
