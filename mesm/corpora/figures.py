"""The manifest's figures about the clips written: taken by whoever writes them, added up once."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from mesm.config.modalities import Modality
from mesm.corpora.manifest import Averages, FaceCounts, SplitCounts
from mesm.corpora.splits import SPLITS

# One record per clip, of `fact_type`.
Facts = npt.NDArray[Any]


def fact_type(emotions: int) -> np.dtype[Any]:
    """The facts of a clip: its labels, sizes, and the sums over its spectrogram."""
    return np.dtype(
        [
            ("labels", np.int64, (emotions,)),
            ("words", np.int64),
            ("text", np.bool_),
            ("seconds", np.float64),
            ("frames", np.int64),
            ("found", np.int64),
            ("columns", np.int64),
            ("values", np.int64),
            ("total", np.float64),
            ("squares", np.float64),
        ]
    )


def facts_of(table: pa.Table, emotions: int, train: bool) -> Facts:
    """Take the facts of some rows; sums over sound only of those that train."""
    facts = np.zeros(table.num_rows, fact_type(emotions))
    texts = table["text"].to_pylist()
    facts["words"] = [len(text.split()) for text in texts]
    facts["text"] = [bool(text.strip()) for text in texts]
    facts["labels"] = table["labels"].to_pylist()
    facts["seconds"] = np.subtract(table["end"].to_pylist(), table["start"].to_pylist())
    found = table["face_found"].to_pylist()
    facts["frames"] = [len(frames) for frames in found]
    facts["found"] = [sum(frames) for frames in found]
    facts["columns"] = table["spectrogram_columns"].to_pylist()
    if train:
        sound = table["spectrogram"].combine_chunks()
        values, ends = np.from_dlpack(sound.values), np.from_dlpack(sound.offsets)
        for number, fact in enumerate(facts):
            if fact["columns"]:
                own = values[ends[number] : ends[number + 1]].astype(np.float64)
                fact["values"] = own.size
                fact["total"], fact["squares"] = own.sum(), np.square(own).sum()
    return facts


def _in_turn(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Add up over the first axis one after the other: how many write changes no last bit."""
    start = np.zeros((1, *values.shape[1:]))
    return np.asarray(np.add.accumulate(np.concatenate([start, values]), axis=0)[-1])


@dataclass(frozen=True)
class Figures:
    """The manifest's figures.

    Attributes:
        emotions: names of the labels.
        names: of the clips, in the order of their dialogs.
        splits: of each clip.
        facts: of each clip.
    """

    emotions: Sequence[str]
    names: Sequence[str]
    splits: Sequence[str]
    facts: Facts

    def _of(self, split: str) -> Facts:
        return self.facts[np.array(self.splits, np.str_) == split]

    @property
    def clips(self) -> int:
        """How many."""
        return len(self.facts)

    @cached_property
    def seconds(self) -> npt.NDArray[np.float64]:
        """Length of all clips of each emotion; last, of all clips."""
        return _in_turn(self._present * self.facts["seconds"][:, None])

    @property
    def _present(self) -> npt.NDArray[np.int64]:
        return np.column_stack([self.facts["labels"], np.ones(self.clips, np.int64)])

    def counts(self) -> dict[str, SplitCounts]:
        """Sizes per split."""
        found = {}
        for split in SPLITS:
            labels = self._of(split)["labels"]
            found[split] = SplitCounts(
                clips=len(labels),
                labels=dict(zip(self.emotions, labels.sum(axis=0).tolist(), strict=True)),
                no_emotion=int((~labels.any(axis=1)).sum()),
            )
        return found

    def averages(self) -> dict[str, Averages]:
        """Average length per emotion and over all clips."""
        words = (self._present * self.facts["words"][:, None]).sum(axis=0)
        number = np.maximum(self._present.sum(axis=0), 1)
        words, seconds = (words / number).round(4), (self.seconds / number).round(4)
        return {
            name: Averages(words=float(words[i]), seconds=float(seconds[i]))
            for i, name in enumerate([*self.emotions, "all"])
        }

    def faces(self) -> FaceCounts:
        """How often a face was found."""
        frames, found = self.facts["frames"], self.facts["found"]
        return FaceCounts(
            frames=int(frames.sum()),
            found=int(found.sum()),
            clips_without=self._named(np.flatnonzero((frames > 0) & (found == 0))),
        )

    def _named(self, numbers: npt.NDArray[np.intp]) -> list[str]:
        return [self.names[number] for number in numbers]

    @property
    def modalities(self) -> str:
        """The letters of those that some clip of the training split has."""
        there = _there(self._of("train"))
        return "".join(modality.letter for modality in Modality if there[modality].any())

    @property
    def without(self) -> dict[str, list[str]]:
        """The clips that lack a modality, by what they lack."""
        lacking = {
            modality.content: np.flatnonzero(~there)
            for modality, there in _there(self.facts).items()
            if not there.all()
        }
        # In the order in which the first clips lack them.
        return {
            content: self._named(lacking[content])
            for content in sorted(lacking, key=lambda content: int(lacking[content][0]))
        }

    def mean_and_std(self) -> tuple[float, float]:
        """Mean and standard deviation of the training split's spectrograms; 0 and 1 of no sound."""
        train = self._of("train")
        values = int(train["values"].sum())
        if not values:
            return 0.0, 1.0
        mean = float(_in_turn(train["total"])) / values
        squares = float(_in_turn(train["squares"]))
        return mean, math.sqrt(max(squares / values - mean * mean, 0.0))


def _there(facts: Facts) -> dict[Modality, npt.NDArray[np.bool_]]:
    """Which clips have which modality."""
    return {
        Modality.TEXT: facts["text"],
        Modality.AUDIO: facts["columns"] > 0,
        Modality.VIDEO: facts["frames"] > 0,
    }
