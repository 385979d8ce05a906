"""A trained MESM run, opened for measuring and for looking at its attention."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from mesm.config.p import BlockP
from mesm.corpora.prepared import Clip
from mesm.data.batch import Batch
from mesm.data.clips import ClipDataset
from mesm.evaluation.evaluate import LoadedRun, load_run
from mesm.models import MESM


class RunBatches:
    """The batches of a split in corpus order, each with its clips; len() is their number."""

    def __init__(self, loaded: LoadedRun, split: str, size: int) -> None:
        self.loaded, self.size = loaded, size
        dataset = loaded.dataset(split)
        assert isinstance(dataset, ClipDataset)
        self.dataset = dataset

    def __len__(self) -> int:
        return -(-len(self.dataset) // self.size)

    def __iter__(self) -> Iterator[tuple[list[Clip], Batch]]:
        for start in range(0, len(self.dataset), self.size):
            places = range(start, min(start + self.size, len(self.dataset)))
            clips = [self.dataset.clip(place) for place in places]
            batch = self.loaded.collate([self.dataset[place] for place in places])
            yield clips, batch.to(self.loaded.device)


@dataclass(frozen=True)
class SparseRun:
    """A MESM in eval mode with its corpus.

    Args:
        path: folder of the run.
        loaded: what `mesm.evaluation.evaluate.load_run` gave.
        model: its model.
        p: share of the attention mass it keeps now, for all blocks or per block.
    """

    path: Path
    loaded: LoadedRun
    model: MESM
    p: BlockP

    @classmethod
    def load(cls, path: Path, p: BlockP | None = None) -> SparseRun:
        """Open a run; p None: the p it was trained with.

        Raises:
            ValueError: not a run, not a MESM, or p is not in (0, 1] for each block.
        """
        loaded = load_run(path)
        if not isinstance(loaded.model, MESM):
            raise ValueError(
                f"{path}: wanted a MESM run, got {type(loaded.model).__name__}, which has no "
                "sparse attention"
            )
        assert loaded.config.model.name == "mesm"
        chosen = loaded.config.model.p if p is None else p
        loaded.model.set_p(chosen)
        return cls(path, loaded, loaded.model, chosen)

    def batches(self, split: str, size: int = 8) -> RunBatches:
        """The batches of a split with their clips."""
        return RunBatches(self.loaded, split, size)
