"""How often the attention's kept sites hit the planted action units and sound cues.

For every frame with planted regions, the regions go from pixels of the full video through the
frame's face box into the 48x48 crop, and from there to the grid of each block: a site of block b
stands for the cell of 2, 4 or 8 pixels it was pooled from. A kept site hits if its cell overlaps a
region. Chance is what as many uniformly drawn sites of that frame would hit on average.
"final" asks it once more in pixels: those whose sites all attentions kept, against all pixels.
Spectrogram chunks are scored likewise in time x frequency; cells of zero padding are no chance.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from mesm.analysis.attention_trace import BlockAttention, surviving_pixels, trace_attention
from mesm.analysis.hit_rates import Tally
from mesm.analysis.planted import (
    FACE_SIZE,
    PlantedClip,
    coverage,
    face_regions,
    read_ground_truth,
    sound_regions,
)
from mesm.config.p import BlockP
from mesm.corpora.prepared import Clip
from mesm.data.clips import ClipDataset
from mesm.evaluation.run import Run
from mesm.inputs.spectrograms import CHUNK_COLUMNS, MEL_BINS

FINAL = "final"
OTHER_HALF = "other_half"
BATCH_SIZE = 8


class ModalityTallies:
    """The tallies of one modality: each block and "final", over all clips and by kind of hint."""

    def __init__(self) -> None:
        self.groups: dict[str, dict[int | str, Tally]] = defaultdict(lambda: defaultdict(Tally))
        self.grids: dict[int | str, tuple[int, int, int]] = {}

    def add(
        self,
        clip: str,
        groups: Sequence[str],
        blocks: Sequence[BlockAttention],
        frame: int,
        covered: dict[int, NDArray[np.float64]],
        real_columns: int | None = None,
    ) -> None:
        """Count one frame in groups; `covered` holds per cell size the planted share of cells."""
        height, width = covered[1].shape
        for number, block in enumerate(blocks, start=1):
            rows, columns = block.kept.shape[1:]
            cell = height // rows
            self.grids[number] = (rows, columns, cell)
            real = _real((rows, columns), cell, real_columns)
            for group in groups:
                self.groups[group][number].add(
                    clip,
                    block.kept[frame],
                    covered[cell],
                    block.candidates[frame],
                    block.attention[frame],
                    real,
                )
        self.grids[FINAL] = (height, width, 1)
        pixels = surviving_pixels(blocks, frame, height, width)
        for group in groups:
            self.groups[group][FINAL].add(
                clip, pixels, covered[1], real=_real((height, width), 1, real_columns)
            )

    def summary(self) -> dict[str, Any]:
        """Per group the blocks in order and "final"."""
        return {
            group: {
                "blocks": [
                    self._describe(number, tallies[number])
                    for number in sorted(key for key in tallies if isinstance(key, int))
                ],
                FINAL: self._describe(FINAL, tallies[FINAL]),
            }
            for group, tallies in self.groups.items()
            if tallies[FINAL].sums
        }

    def _describe(self, number: int | str, tally: Tally) -> dict[str, Any]:
        height, width, cell = self.grids[number]
        grid = {"block": number, "height": height, "width": width, "cell_pixels": cell}
        return grid | tally.summary()


def _real(shape: tuple[int, int], cell: int, real_columns: int | None) -> NDArray[np.bool_] | None:
    if real_columns is None:
        return None
    real = np.zeros(shape, dtype=bool)
    real[:, : -(-real_columns // cell)] = True
    return real


def score_clip(
    tallies: dict[str, ModalityTallies],
    clip: Clip,
    planted: PlantedClip,
    traced: dict[str, list[BlockAttention]],
) -> None:
    """Add one clip's frames to the tallies of the modalities that were traced."""
    if blocks := traced.get("face"):
        cells = _cell_sizes(blocks, FACE_SIZE)
        place = (planted, clip.face_times, clip.face_boxes)
        for groups, regions in (
            (("all", planted.hints["face"]), face_regions(*place)),
            ((OTHER_HALF,), face_regions(*place, misleading=True)),
        ):
            for frame in np.flatnonzero(clip.face_found):
                if len(own := regions[frame]) == 0:
                    continue
                covered = {cell: coverage(own, FACE_SIZE, FACE_SIZE, cell) for cell in cells}
                tallies["face"].add(clip.clip_id, groups, blocks, int(frame), covered)
    if blocks := traced.get("audio"):
        cells = _cell_sizes(blocks, MEL_BINS)
        columns = clip.spectrogram.shape[1]
        cues = sound_regions(planted, columns)
        chunks = len(blocks[0].kept)
        whole = {cell: coverage(cues, MEL_BINS, chunks * CHUNK_COLUMNS, cell) for cell in cells}
        for chunk in range(chunks):
            width = {cell: CHUNK_COLUMNS // cell for cell in cells}
            covered = {
                cell: grid[:, chunk * width[cell] : (chunk + 1) * width[cell]]
                for cell, grid in whole.items()
            }
            real = min(columns - chunk * CHUNK_COLUMNS, CHUNK_COLUMNS)
            groups = ("all", planted.hints["sound"])
            tallies["audio"].add(clip.clip_id, groups, blocks, chunk, covered, real)


def _cell_sizes(blocks: Sequence[BlockAttention], height: int) -> set[int]:
    """Pixels a side of each block's cells, and 1 for the pixels themselves."""
    return {1} | {height // block.kept.shape[1] for block in blocks}


def score_attention(
    run: Path | Run, ground_truth: Path, split: str = "test", p: BlockP | None = None
) -> dict[str, Any]:
    """Score a MESM run's attention over a split of a miniature corpus.

    Where a face shows two emotions, regions are those of the half that the sentence names, and the
    group "other_half" asks the same kept sites about the regions of the other half.

    Args:
        run: folder of a MESM run, or the run itself.
        ground_truth: ground_truth.jsonl of the corpus the run was trained on.
        split: "train", "valid" or "test".
        p: share of the attention mass that is kept; None: the run's own.

    Returns:
        The content of RUN/explain/action_units.json.

    Raises:
        ValueError: not a MESM run, not a ground truth, or one of another corpus.
    """
    opened = run if isinstance(run, Run) else Run.open_sparse(run, p)
    planted = read_ground_truth(ground_truth)
    tallies = {name: ModalityTallies() for name in opened.sparse.feature_extractors}
    unknown = scored = 0
    dataset = opened.dataset(split)
    assert isinstance(dataset, ClipDataset)
    steps = -(-len(dataset) // BATCH_SIZE)
    batches = tqdm(
        opened.batches(dataset, BATCH_SIZE), desc="scoring attention", unit="batch", total=steps
    )
    for number, batch in enumerate(batches):
        traced = trace_attention(opened.sparse, batch)
        first = number * BATCH_SIZE
        clips = [dataset.clip(first + place) for place in range(len(batch))]
        ends = {
            "face": batch.face_lengths.cumsum(0).tolist(),
            "audio": batch.spectrogram_lengths.cumsum(0).tolist(),
        }
        for place, clip in enumerate(clips):
            if clip.clip_id not in planted:
                unknown += 1
                continue
            scored += 1
            own = {
                name: [
                    block.frames(ends[name][place - 1] if place else 0, ends[name][place])
                    for block in blocks
                ]
                for name, blocks in traced.items()
            }
            score_clip(tallies, clip, planted[clip.clip_id], own)
    if not scored:
        raise ValueError(
            f"{ground_truth}: names none of the {unknown} clips of the {split} split; wanted the "
            "ground truth of the corpus this run was trained on"
        )
    scores = {
        "definition": " ".join((__doc__ or "").split()),
        "split": split,
        "p": opened.p,
        "clips": scored,
        "clips_without_ground_truth": unknown,
        **{name: tally.summary() for name, tally in tallies.items()},
    }
    folder = opened.path / "explain"
    folder.mkdir(exist_ok=True)
    opened.folder.write_json(folder / "action_units.json", scores)
    return scores
