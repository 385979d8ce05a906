"""CMU-MOSEI's labels as its makers' SDK has them: one HDF5 file, by video and seconds."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from mesm.corpora.utterances import RawCorpus

if TYPE_CHECKING:
    import h5py

GROUP = "All Labels"
# The file's columns, and those of them in the order of the corpus' emotions.
COLUMNS = ("sentiment", "happy", "sad", "anger", "surprise", "disgust", "fear")
EMOTIONS = ("anger", "disgust", "fear", "happy", "sad", "surprise")
# Seconds by which a segment's times may differ from its transcript's: both are written alike.
TOLERANCE = 0.01


class Segment(NamedTuple):
    """A labelled part of a video: its seconds, and how much there is of each emotion."""

    start: float
    end: float
    answers: tuple[float, ...]


class SdkLabels(NamedTuple):
    """The labels of one file, by video."""

    file: Path
    segments: dict[str, list[Segment]]

    def find(self, video: str, start: float, end: float) -> Segment | None:
        """The segment of a transcript's line; None: there is none.

        Raises:
            ValueError: several segments with different labels have these times.
        """
        found = [
            segment
            for segment in self.segments.get(video, [])
            if max(abs(segment.start - start), abs(segment.end - end)) <= TOLERANCE
        ]
        if len({tuple(value > 0 for value in segment.answers) for segment in found}) > 1:
            raise ValueError(f"{len(found)} labels from {start:.2f} s to {end:.2f} s")
        return found[0] if found else None


def read_sdk(corpus: RawCorpus, files: list[Path]) -> SdkLabels | None:
    """Read the first of some files that holds labels; others and broken segments are noted.

    Args:
        corpus: where notes and what is left out go.
        files: HDF5 files, such as CMU_MOSEI_Labels.csd.

    Returns:
        The labels; None: no file holds any.

    Raises:
        ValueError: there are files, and h5py is missing; says how to install it.
    """
    if not files:
        return None
    try:
        import h5py
    except ImportError:
        raise ValueError(
            f"{files[0]} cannot be read without h5py: pip install h5py, or move the file away"
        ) from None
    labels = None
    for file in files:
        if labels is not None:
            corpus.notes.append(f"passed over {corpus.relative(file)}: labels are read already")
            continue
        try:
            with h5py.File(file, "r") as content:
                labels = SdkLabels(file, _read(corpus, file, content))
        except (OSError, KeyError, RuntimeError, TypeError, ValueError) as error:
            reason = str(error).strip("'\"").splitlines()[0][:120]
            corpus.notes.append(f"passed over {corpus.relative(file)}: {reason}")
    return labels


def _read(corpus: RawCorpus, file: Path, content: h5py.File) -> dict[str, list[Segment]]:
    if GROUP not in content:
        raise ValueError(f"no group {GROUP!r}")
    named = content.get(f"{GROUP}/metadata/dimension names")
    if named is not None:
        names = json.loads(named[()][0])
        # Files may write happiness for happy.
        if [str(name)[:3].lower() for name in names] != [name[:3] for name in COLUMNS]:
            raise ValueError(f"columns {names}, wanted {', '.join(COLUMNS)}")
    places = [COLUMNS.index(emotion) for emotion in EMOTIONS]
    segments: dict[str, list[Segment]] = {}
    for video, data in content[f"{GROUP}/data"].items():
        try:
            values, times = _pair(data)
        except (OSError, KeyError, RuntimeError, TypeError, ValueError, AttributeError) as error:
            reason = str(error).strip("'\"").splitlines()[0][:120]
            corpus.skip(video, "unreadable label", file, detail=reason)
            continue
        for (start, end), row in zip(times, values, strict=True):
            answers = tuple(row[place] for place in places)
            if not all(map(math.isfinite, (start, end))):
                corpus.skip(video, "unreadable label", file, detail=f"from {start} s to {end} s")
            elif not all(0 <= value < math.inf for value in answers):
                detail = f"{start:.2f} s to {end:.2f} s: wanted numbers of at least 0"
                corpus.skip(video, "unreadable label", file, detail=detail)
            else:
                segments.setdefault(video, []).append(Segment(start, end, answers))
    return segments


def _pair(data: Any) -> tuple[list[list[float]], list[list[float]]]:
    """A video's values (n, 7) and times (n, 2)."""
    values, times = data["features"][()], data["intervals"][()]
    if values.shape != (len(values), len(COLUMNS)) or times.shape != (len(values), 2):
        raise ValueError(
            f"features {values.shape} and intervals {times.shape}, wanted (n, {len(COLUMNS)}) and "
            "(n, 2)"
        )
    return values.astype(float).tolist(), times.astype(float).tolist()
