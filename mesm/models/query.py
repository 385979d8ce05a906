"""The query of MESM's attention where it is not the text alone (the paper's future work)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from mesm.config.modalities import Modality
from mesm.models.sequence import pad_clips

LETTERS = {modality.media: modality.letter for modality in Modality}
QUERIES = (*LETTERS, "mean")
GRID = 4


def query_sources(query: str, modalities: str) -> tuple[str, ...]:
    """Whose vectors a query is made of: "text", "audio", "face".

    Args:
        query: one of `QUERIES`.
        modalities: those of the model, such as "tav".

    Raises:
        ValueError: no such query, or the model leaves its modality out.
    """
    if query not in QUERIES:
        raise ValueError(f"query must be one of {', '.join(QUERIES)}, got {query!r}")
    if query == "mean":
        return tuple(name for name, letter in LETTERS.items() if letter in modalities)
    letter = LETTERS[query]
    if letter not in modalities:
        raise ValueError(
            f"MESM needs the {query} ({letter}), which is the query of its attention, got "
            f"modalities {modalities!r}; choose another query; FE2E does without any"
        )
    return (query,)


class QueryEncoder(nn.Module):
    """A clip's query out of the first, dense stage of its faces or its sound, or their mean.

    The maps of a frame are averaged in each cell of a 4x4 grid, the cells over the frames of the
    clip; a linear layer and a layer norm, which a text's vector has too, make the vector. A clip
    without a frame of the modality has the vector 0, so its attention looks at the maps alone. The
    mean is that of the modalities of which the clip has something; the text's vector then also
    passes a linear layer and a layer norm.

    Args:
        sources: of "text", "audio", "face", what the query is the mean of.
        channels: width of the first stages.
        text_dim: length of the text's vector.
        dim: length D of the query.
    """

    def __init__(self, sources: Sequence[str], channels: int, text_dim: int, dim: int) -> None:
        super().__init__()
        widths = {"text": text_dim, "audio": channels * GRID**2, "face": channels * GRID**2}
        self.project = nn.ModuleDict(
            {
                name: nn.Sequential(nn.Linear(widths[name], dim), nn.LayerNorm(dim))
                for name in sources
            }
        )

    def forward(
        self,
        text: Tensor | None,
        maps: Mapping[str, Tensor],
        lengths: Mapping[str, Tensor],
        longest: Mapping[str, int | None],
        text_there: Tensor | None = None,
    ) -> Tensor:
        """The query (B, D).

        Args:
            text: (B, text_dim), or None where it is no source.
            maps: per source "audio" or "face" its first stage's maps (F, C, H, W), the clips'
                frames one after the other; H and W are multiples of 4.
            lengths: likewise (B,) int64, frames per clip.
            longest: likewise the largest length; None: read from lengths, which waits for their
                device.
            text_there: (B,) bool, False where a clip has no text; None: all have one.
        """
        vectors, present = [], []
        for name, project in self.project.items():
            if name == "text":
                assert text is not None
                vector = project(text)
                here = torch.ones_like(vector[:, 0])
                if text_there is not None:
                    here = text_there.to(vector.dtype)
                    vector = vector * here[:, None]
                vectors.append(vector)
                present.append(here)
            else:
                vector = project(_clip_means(pool_grid(maps[name]), lengths[name], longest[name]))
                here = (lengths[name] > 0).to(vector.dtype)
                vectors.append(vector * here[:, None])
                present.append(here)
        count = torch.stack(present).sum(0).clamp(min=1)
        return torch.stack(vectors).sum(0) / count[:, None]


def pool_grid(maps: Tensor) -> Tensor:
    """Averages (F, C * 16) of maps (F, C, H, W) over the cells of a 4x4 grid."""
    frames, channels, height, width = maps.shape
    # adaptive_avg_pool2d does the same, but its gradient on a GPU has no fixed order.
    cells = maps.reshape(frames, channels, GRID, height // GRID, GRID, width // GRID)
    return cells.mean(dim=(3, 5)).flatten(1)


def _clip_means(vectors: Tensor, lengths: Tensor, longest: int | None) -> Tensor:
    """Means (B, dim) of the clips' vectors (ΣS, dim); 0 for a clip that has none."""
    longest = int(lengths.max()) if longest is None else longest
    padded = pad_clips(vectors, lengths, longest)
    return padded.sum(1) / lengths.clamp(min=1).to(padded.dtype)[:, None]
