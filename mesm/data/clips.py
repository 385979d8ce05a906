"""Prepared clips to batches: normalisation, chunks, collation, and an order that a seed fixes."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from mesm.data.augment import augment_faces, augment_spectrogram
from mesm.data.batch import CHUNK_SHAPE, FACE_SHAPE, Batch
from mesm.inputs.spectrograms import CHUNK_COLUMNS, chunk
from mesm.runs.processes import shielded

if TYPE_CHECKING:
    from mesm.config.modalities import Sound
    from mesm.corpora.prepared import Clip, PreparedCorpus
    from mesm.inputs.subwords import Subwords

# Means and deviations per RGB channel on values of 0-255, as the paper's code has them.
FACE_MEAN = (159.0, 111.0, 102.0)
FACE_STD = (37.0, 33.0, 32.0)
# Decoded clips stay in memory until they take this much; IEMOCAP fits, CMU-MOSEI does not.
CACHE_BYTES = 2 << 30


class Clips(Protocol):
    """Clips of one split, by number."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> Clip: ...


@dataclass(frozen=True)
class Sample:
    """One clip as tensors: faces (S, 3, 48, 48), chunks (n, 1, 128, 32), labels (E,); float32."""

    clip_id: str
    text: str
    faces: Tensor
    chunks: Tensor
    labels: Tensor


def normalise_faces(faces: NDArray[np.uint8]) -> Tensor:
    """RGB faces (S, 48, 48, 3) uint8 to (S, 3, 48, 48) float32 of about mean 0, deviation 1."""
    pixels = torch.from_numpy(np.ascontiguousarray(faces)).float().reshape(-1, 48, 48, 3)
    return ((pixels - torch.tensor(FACE_MEAN)) / torch.tensor(FACE_STD)).permute(0, 3, 1, 2)


class SplitDataset(Dataset[Any], ABC):
    """The samples of one split, in corpus order, as a system reads them.

    Attributes:
        epoch: counted by the training, for datasets whose samples change at random.
    """

    epoch: int = 0

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def labels(self) -> Tensor:
        """The labels (clips, E) float32 of the whole split."""


class ClipDataset(SplitDataset):
    """The samples of one split.

    Args:
        clips: the split's clips.
        mean, std: of the training split's spectrograms.
        sound: how these are normalised; see `mesm.inputs.spectrograms.chunk`.
        augment: whether samples are changed at random; see `mesm.data.augment`.
        seed: with the epoch and the clip's number, fixes how a sample is changed.

    Raises:
        ValueError: mean and std cannot normalise anything.
    """

    def __init__(
        self,
        clips: Clips,
        mean: float,
        std: float,
        *,
        sound: Sound = "log",
        augment: bool = False,
        seed: int = 0,
    ) -> None:
        if not (math.isfinite(mean) and math.isfinite(std) and std > 0):
            raise ValueError(
                "the manifest's spectrogram_mean must be finite and its spectrogram_std more than "
                f"0, got {mean} and {std}; prepare the corpus again"
            )
        self.clips = clips
        self.mean, self.std, self.sound = mean, std, sound
        self.augment = augment
        self.seed = seed
        self._kept: dict[int, Clip] = {}
        self._bytes = 0

    def __len__(self) -> int:
        return len(self.clips)

    def clip(self, index: int) -> Clip:
        """The decoded clip; decoded once while there is room for it."""
        if index in self._kept:
            return self._kept[index]
        clip = self.clips[index]
        size = clip.faces.nbytes + clip.spectrogram.nbytes
        if self._bytes + size <= CACHE_BYTES:
            self._kept[index] = clip
            self._bytes += size
        return clip

    def __getitem__(self, index: int) -> Sample:
        clip = self.clip(index)
        faces, spectrogram = clip.faces, clip.spectrogram
        if self.augment:
            random = np.random.default_rng((self.seed, self.epoch, index))
            faces = augment_faces(faces, random)
            spectrogram = augment_spectrogram(spectrogram, CHUNK_COLUMNS, random)
        return Sample(
            clip_id=clip.clip_id,
            text=clip.text,
            faces=normalise_faces(faces),
            chunks=chunk(spectrogram, self.mean, self.std, self.sound),
            labels=torch.from_numpy(np.asarray(clip.labels, dtype=np.float32)),
        )

    def labels(self) -> Tensor:
        """The labels (clips, E) float32 of the whole split."""
        rows = [np.asarray(self.clip(i).labels, dtype=np.float32) for i in range(len(self))]
        return torch.from_numpy(np.stack(rows))


def split_dataset(
    corpus: PreparedCorpus,
    split: str,
    *,
    sound: Sound = "log",
    augment: bool = False,
    seed: int = 0,
) -> ClipDataset:
    """The samples of a prepared corpus's split, normalised by its training split's statistics.

    Raises:
        ValueError: the split holds no clip.
    """
    clips = corpus.split(split)
    if len(clips) == 0:
        raise ValueError(f"the corpus's {split} split holds no clip")
    return ClipDataset(
        clips,
        *corpus.sound_figures,
        sound=sound,
        augment=augment,
        seed=seed,
    )


@dataclass(frozen=True)
class Collate:
    """Samples to a `Batch`.

    Args:
        tokenizer: makes subwords of the texts.
        max_text_length: subwords at most, [CLS] and [SEP] included.
    """

    tokenizer: Subwords
    max_text_length: int

    def __call__(self, samples: list[Sample]) -> Batch:
        """Subwords padded to the longest text, frames one after the other."""
        ids, mask = self.tokenizer.encode([s.text for s in samples], self.max_text_length)
        return Batch(
            clip_ids=[sample.clip_id for sample in samples],
            text_ids=ids,
            text_mask=mask,
            faces=torch.cat([sample.faces for sample in samples]).reshape(-1, *FACE_SHAPE),
            face_lengths=torch.tensor([len(sample.faces) for sample in samples]),
            spectrograms=torch.cat([sample.chunks for sample in samples]).reshape(-1, *CHUNK_SHAPE),
            spectrogram_lengths=torch.tensor([len(sample.chunks) for sample in samples]),
            labels=torch.stack([sample.labels for sample in samples]),
        )


class EpochBatches(Sampler[list[int]]):
    """This process's share of each step's clips, in an order that (seed, epoch) fixes.

    Every process makes the same number of steps, and every clip comes once. Clips go to the
    processes in turn, so the last step may give them unequal numbers; a process that would have
    none gets the step's first clip, as a stand-in that `own` does not count.

    Args:
        clips: how many clips there are.
        step_clips: clips per step, of all processes together.
        seed: None: in corpus order.
        rank, processes: which process this is, of how many.
    """

    def __init__(
        self, clips: int, step_clips: int, seed: int | None, rank: int = 0, processes: int = 1
    ) -> None:
        self.clips, self.step_clips, self.seed = clips, step_clips, seed
        self.rank, self.processes = rank, processes
        self.epoch = 0

    def __len__(self) -> int:
        return -(-self.clips // self.step_clips)

    def of_all(self, step: int) -> int:
        """How many clips a step has, counted from 0 in its epoch, in all processes."""
        return min(self.step_clips, self.clips - step * self.step_clips)

    def own(self, step: int) -> int:
        """How many of these are this process's."""
        return len(range(self.rank, self.of_all(step), self.processes))

    def __iter__(self) -> Iterator[list[int]]:
        order = list(range(self.clips))
        if self.seed is not None:
            order = np.random.default_rng((self.seed, self.epoch)).permutation(self.clips).tolist()
        for start in range(0, self.clips, self.step_clips):
            every = order[start : start + self.step_clips]
            yield every[self.rank :: self.processes] or every[:1]


def make_loader(
    dataset: SplitDataset,
    batches: EpochBatches,
    collate: Callable[[list[Any]], Any],
    *,
    workers: int = 0,
    pin_memory: bool = False,
) -> DataLoader[Any]:
    """Batches of a dataset; `workers` processes decode beside the training, 0: none."""
    return _Loader(
        dataset,
        batch_sampler=batches,
        collate_fn=collate,
        num_workers=workers,
        pin_memory=pin_memory,
        multiprocessing_context=shielded() if workers else None,
    )


class _Loader(DataLoader[Any]):
    """Errors of worker processes become those that they would be in this one."""

    def __iter__(self) -> Any:
        if self.num_workers == 0:
            return super().__iter__()
        return self._batches()

    def _batches(self) -> Iterator[Any]:
        try:
            yield from super().__iter__()
        except (ValueError, OSError) as error:
            # torch gives the worker's whole traceback; its last line is "ValueError: message".
            lines = str(error).strip().splitlines()
            if not lines or not lines[0].startswith("Caught "):
                raise
            raise ValueError(lines[-1].partition(": ")[2] or lines[-1]) from error
        except RuntimeError as error:
            if "DataLoader worker" not in str(error) or "Caught " in str(error):
                raise
            reason = " ".join(str(error).split())
            raise ValueError(
                f"a process that decodes clips died ({reason[:150]}), perhaps for want of memory; "
                "go on with a lower training.workers"
            ) from error
