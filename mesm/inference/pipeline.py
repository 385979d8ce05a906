"""Trained runs on recordings: from a file to the emotions of its pieces."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import overload

import numpy as np
import torch
from torch import Tensor

from mesm.config.modalities import Modality
from mesm.config.p import BlockP
from mesm.data.batch import Batch
from mesm.data.clips import Sample, normalise_faces
from mesm.evaluation.metrics import Thresholds
from mesm.inference.cutting import Span, Words, cut
from mesm.inference.loading import Trained, load_trained
from mesm.inference.pieces import Person, Piece, check_chosen, read_pieces
from mesm.inference.recording import InputError, Recording, open_recording
from mesm.inference.results import NO_FACE, Predicted, Prediction
from mesm.inference.transcribing import Transcriber
from mesm.inputs.face_detector import FaceDetector
from mesm.inputs.spectrograms import chunk
from mesm.models import MESM

# Pieces that the model is given at a time.
BATCH = 8


class Pipeline:
    """Predicts emotions of recordings by a trained run.

    Without a modality that the model reads, a piece is predicted from what there is. A run whose
    corpus had clips without it has learnt what their absence says, and is asked as `mesm evaluate`
    asks it: no frames, or an empty text. Any other run has not, so that modality's branch is left
    out of the weighted sum of logits, and a MESM's query has no part of it: where the text alone
    asks, the query is zero, and the attention goes by the maps.

    Attributes:
        trained: the run.
        detector: finds the faces, as in the run's corpus.
    """

    def __init__(self, trained: Trained, mtcnn: Path | None = None) -> None:
        self.trained = trained
        size = trained.preprocessing.min_face_size
        self.detector = FaceDetector(size, weights=mtcnn, device=str(trained.device))

    @classmethod
    def from_pretrained(
        cls, run: Path | str, device: str | None = None, mtcnn: Path | str | None = None
    ) -> Pipeline:
        """Load a run or a published model.

        Args:
            run: its folder, "hub:USER/NAME", or "demo" for the model that comes with the library.
            device: "cpu", "cuda" or "cuda:N"; None: the GPU if there is one.
            mtcnn: folder of the face detector's weights; None: those of the installed
                facenet-pytorch.

        Raises:
            ValueError: as `mesm.inference.loading.load_trained`, or the weights are damaged.
            FileNotFoundError: the face detector's weights are missing; says how to install them.
        """
        return cls(load_trained(run, device), _path(mtcnn))

    @property
    def emotions(self) -> tuple[str, ...]:
        """E names."""
        return self.trained.emotions

    @overload
    def __call__(  # type: ignore[overload-overlap]
        self, recordings: Path | str, text: str | None = None, **told: object
    ) -> Predicted: ...

    @overload
    def __call__(
        self,
        recordings: Sequence[Path | str],
        text: Sequence[str | None] | None = None,
        **told: object,
    ) -> list[Predicted]: ...

    def __call__(
        self,
        recordings: Path | str | Sequence[Path | str],
        text: str | Sequence[str | None] | None = None,
        **told: object,
    ) -> Predicted | list[Predicted]:
        """Predict a recording, or several.

        Args:
            recordings: files.
            text: what is said in it, or in each.
            told: as of `stream`.

        Returns:
            The pieces' predictions, a list of them for several recordings.

        Raises:
            InputError: a file, or what was said about it, cannot be used.
        """
        if isinstance(recordings, str | Path):
            if text is not None and not isinstance(text, str):
                raise InputError("wanted one text for one recording")
            file = Path(recordings)
            return Predicted(file, tuple(self.stream(file, text=text, **told)))  # type: ignore[arg-type]
        texts = [None] * len(recordings) if text is None else text
        if isinstance(texts, str) or len(texts) != len(recordings):
            raise InputError(f"wanted {len(recordings)} texts, one for each recording")
        return [self(file, said, **told) for file, said in zip(recordings, texts, strict=True)]

    def stream(
        self,
        recording: Path | str,
        *,
        text: str | None = None,
        subtitles: Path | str | None = None,
        segments: Path | str | None = None,
        transcriber: Transcriber | None = None,
        person: Person = None,
        p: BlockP | None = None,
    ) -> Iterator[Prediction]:
        """Predict the pieces of a recording as soon as they are decoded.

        Args:
            recording: the file.
            text: all that is said in it; for recordings of at most 15 s.
            subtitles: SRT or WebVTT; None: a file of the recording's stem beside it, else a stream
                inside the recording.
            segments: a table (CSV, JSON Lines or Parquet) with start, end and, if wanted, text.
            transcriber: says what is spoken, instead of subtitles that were not named.
            person: whose face: 1 for who is seen longest in a piece, and so on; "all": each;
                None: by the run's own rule.
            p: another p than a MESM's own.

        Raises:
            InputError: the file, or what was said about it, cannot be used.
        """
        opened = open_recording(Path(recording))
        words = Words(text, _path(subtitles), _path(segments), unaided=transcriber is not None)
        pieces = self.read(opened, cut(opened, words), person, transcriber)
        while batch := list(islice(pieces, BATCH)):
            yield from self.predict(batch, p)

    def read(
        self,
        recording: Recording,
        spans: Sequence[Span],
        person: Person = None,
        transcriber: Transcriber | None = None,
    ) -> Iterator[Piece]:
        """Decode the pieces of a recording that have something of which the model reads.

        Media that the model does not read are not decoded.

        Args:
            recording: what is read.
            spans: its pieces, by rising starts.
            person: as of `stream`.
            transcriber: likewise.

        Raises:
            InputError: no piece has anything that the model reads, or there can be no such person.
        """
        check_chosen(person)
        reads = self.trained.reads
        wanted = replace(
            recording,
            sound=recording.sound and ("sound" in reads or transcriber is not None),
            pictures=recording.pictures and "pictures" in reads,
        )
        notes, found = "", False
        pieces = read_pieces(
            *(wanted, spans, self.detector),
            rule=self.trained.preprocessing.faces,
            person=person,
            transcribe=transcriber,
        )
        for piece in pieces:
            if set(reads) <= set(piece.missing):
                notes = notes or "; ".join(piece.notes)
                continue
            found = True
            yield piece
        if not found:
            why = f" ({notes})" if notes else ""
            raise InputError(
                f"{recording.path} has no {' and no '.join(reads)}{why}, which is what "
                f"{self.trained.name} reads; give that, or take another run"
            )

    @torch.inference_mode()
    def predict(self, pieces: Sequence[Piece], p: BlockP | None = None) -> list[Prediction]:
        """Predict pieces that were read, all of them as one batch.

        Args:
            pieces: at least one.
            p: another p than a MESM's own.

        Raises:
            ValueError: the run is no MESM and a p is given, or p is not in (0, 1].
        """
        with self.at_p(p):
            logits = self._logits(pieces)
        trained = self.trained
        odd = (~logits.isfinite().all(dim=1)).nonzero()
        if len(odd):
            place = pieces[int(odd[0])]
            raise InputError(
                f"{place.file}: the logits from {place.start:.2f} s on are not finite numbers; "
                f"{trained.path} diverged, or the recording is damaged"
            )
        single = trained.task.loss == "cross_entropy"
        scores = logits.double()
        probabilities = scores.softmax(1) if single else scores.sigmoid()
        calibrated = None
        if trained.temperatures is not None:
            calibrated = trained.temperatures.probabilities(logits)
        decisions = trained.decider.decide(logits)
        return [
            self._prediction(
                piece,
                probabilities[row],
                None if calibrated is None else calibrated[row],
                decisions[row],
            )
            for row, piece in enumerate(pieces)
        ]

    @contextmanager
    def at_p(self, p: BlockP | None) -> Iterator[None]:
        """Keep another share of a MESM's attention meanwhile; None: its own.

        Raises:
            ValueError: the run is no MESM, or p is not in (0, 1] for every block.
        """
        if p is None:
            yield
            return
        model, own = self.trained.model, getattr(self.trained.settings, "p", None)
        if not isinstance(model, MESM) or own is None:
            raise ValueError(
                f"{self.trained.path}: has no p, which MESM's attention has; leave it out"
            )
        model.set_p(p)  # type: ignore[arg-type]
        try:
            yield
        finally:
            model.set_p(own)

    def batch(self, pieces: Sequence[Piece]) -> Batch:
        """Pieces as the model's input, on its device."""
        preprocessing = self.trained.preprocessing
        mean, std = preprocessing.spectrogram_mean, preprocessing.spectrogram_std
        samples = [
            Sample(
                clip_id=str(number),
                text=piece.text or "",
                faces=normalise_faces(piece.faces),
                chunks=chunk(piece.spectrogram, mean, std, self.trained.settings.sound),
                labels=torch.zeros(len(self.emotions)),
            )
            for number, piece in enumerate(pieces)
        ]
        batch = self.trained.collate(samples)
        there = torch.from_numpy(self._there(pieces)[0])
        if not bool(there.all()):
            batch = replace(batch, text_there=there)
        return batch.to(self.trained.device)

    def _there(self, pieces: Sequence[Piece]) -> np.ndarray:
        """(3, N) bool: False where a modality is missing and the run has no answer to that."""
        known = self.trained.preprocessing.lacking
        return np.array(
            [
                [m.content in known or m.content not in piece.missing for piece in pieces]
                for m in Modality
            ]
        )

    def _logits(self, pieces: Sequence[Piece]) -> Tensor:
        """(N, E) float32, on the CPU."""
        model = self.trained.model
        found = model(self.batch(pieces), branches=True)
        there = self._there(pieces)
        if there.all():
            return found.logits.float().cpu()
        rows = [row for row, m in zip(there, Modality, strict=True) if m.letter in model.modalities]
        counted = torch.from_numpy(np.stack(rows)).to(found.branches)[:, :, None]
        fused: Tensor = model.fuse(found.branches * counted)
        return fused.float().cpu()

    def _prediction(
        self, piece: Piece, probabilities: Tensor, calibrated: Tensor | None, decisions: Tensor
    ) -> Prediction:
        trained, names = self.trained, self.emotions
        decider = trained.decider
        thresholds = None
        if isinstance(decider, Thresholds):
            thresholds = dict(zip(names, decider.values, strict=True))
        missing = tuple(name for name in piece.missing if name in trained.reads)
        notes = piece.notes
        if len(piece.faces) and not piece.face_found.any():
            notes = (*notes, NO_FACE)
        return Prediction(
            file=piece.file,
            start=piece.start,
            end=piece.end,
            text=piece.text,
            probabilities=dict(zip(names, probabilities.tolist(), strict=True)),
            calibrated=(
                None if calibrated is None else dict(zip(names, calibrated.tolist(), strict=True))
            ),
            thresholds=thresholds,
            policy=decider.policy,
            decided=tuple(n for n, yes in zip(names, decisions.tolist(), strict=True) if yes),
            faces=int(piece.face_found.sum()),
            frames=len(piece.faces),
            people=piece.people,
            person=piece.person,
            missing=missing,
            notes=notes,
            system=trained.title,
            weights=trained.weights,
        )


def _path(place: Path | str | None) -> Path | None:
    return None if place is None else Path(place)
