"""Units of work without media, for scripts that other processes run."""

from __future__ import annotations

from dataclasses import dataclass

import pyarrow as pa

from mesm.corpora.parts import Part
from mesm.corpora.utterances import SkippedClip


@dataclass(frozen=True)
class Dialog:
    """A dialog of one clip."""

    name: str

    def __len__(self) -> int:
        return 1

    def part_name(self) -> str:
        return f"{self.name}.parquet"

    def refused(self, reason: str) -> Part:
        return pa.table({"x": []}), [SkippedClip(clip_id=self.name, reason=reason, file="f")]
