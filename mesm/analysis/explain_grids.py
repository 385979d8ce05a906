"""The grids over the emotions, one clip a line: faces (Figure 3) and sound (Figures 4 and 6)."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from mesm.analysis.planted import SECONDS_PER_COLUMN
from mesm.inputs.spectrograms import CHUNK_COLUMNS
from mesm.plots.attention_grid import draw_grid, loudest
from mesm.plots.panels import Row
from mesm.plots.style import save_png
from mesm.tables.names import describe_value

# Chunks of each clip in the grid, and the share of its values that Figure 4 shows.
GRID_CHUNKS = 5
LOUDEST = 0.1


@dataclass
class Grids:
    """The rows of the grids over the emotions, and how many columns each spectrogram really has."""

    faces: list[Row] = field(default_factory=list)
    sounds: list[Row] = field(default_factory=list)
    columns: list[int] = field(default_factory=list)

    def add_face(self, row: Row, label: str) -> None:
        """One more face."""
        self.faces.append(replace(row, label=label))

    def add_sound(self, row: Row, label: str, columns: int) -> None:
        """One more spectrogram: at most its middle two seconds, in whole chunks."""
        chunks = row.image.shape[1] // CHUNK_COLUMNS
        first = max(chunks - GRID_CHUNKS, 0) // 2
        start, end = first * CHUNK_COLUMNS, min(first + GRID_CHUNKS, chunks) * CHUNK_COLUMNS
        regions = row.regions - np.array([start, 0, start, 0])
        regions[:, [0, 2]] = regions[:, [0, 2]].clip(0, end - start)
        parts = [
            slice(*(edge * maps.shape[1] // row.image.shape[1] for edge in (start, end)))
            for maps in row.kept
        ]
        self.sounds.append(
            Row(
                row.image[:, start:end],
                [maps[:, part] for maps, part in zip(row.attention, parts, strict=True)],
                [maps[:, part] for maps, part in zip(row.kept, parts, strict=True)],
                regions[regions[:, 2] > regions[:, 0]],
                label,
            )
        )
        self.columns.append(min(columns, end) - start)

    def draw(self, folder: Path, p: object) -> list[Path]:
        """Write faces.png, spectrograms_loudest.png and spectrograms.png, those that have rows.

        Args:
            folder: where to.
            p: of the attention, for the titles.
        """
        p = describe_value(p)
        figures = {}
        if self.faces:
            figures["faces"] = draw_grid(self.faces, f"Faces, p = {p}")
        if self.sounds:
            note = (
                f"The middle {SECONDS_PER_COLUMN * CHUNK_COLUMNS * GRID_CHUNKS:g} s of each clip, "
                "or all of it; low frequencies at the bottom."
            )
            top = [replace(row, image=loudest(row.image, LOUDEST)) for row in self.sounds]
            figures["spectrograms_loudest"] = draw_grid(
                top, f"Spectrograms, their highest {100 * LOUDEST:g} %, p = {p}", self.columns, note
            )
            figures["spectrograms"] = draw_grid(
                self.sounds, f"Spectrograms, p = {p}", self.columns, note
            )
        return [save_png(figure, folder / f"{name}.png") for name, figure in figures.items()]
