"""The multimodal end-to-end sparse model (section 4.3 of the paper)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from huggingface_hub import PyTorchModelHubMixin
from torch import nn

from mesm.batch import Batch
from mesm.modalities import parse_modalities
from mesm.models.late_fusion import PAPER_CHANNELS, LateFusionModel, check_channels
from mesm.models.sparse_extractor import SparseExtractor
from mesm.models.text import ALBERT_BASE
from mesm_ops import SparseFeatureMaps


class MESM(LateFusionModel, PyTorchModelHubMixin):
    """As `FE2E`, but the text chooses the sites at which faces and spectrograms are convolved.

    `model(batch)` gives logits (B, E).

    Args:
        attention_dims: attention width of each of the three blocks; None: each block's input
            width (64, 128, 256).
        p: share of the attention mass that is kept, in (0, 1].
        selection: "weighted" (the attention learns) or "hard" (as the authors' code).
        query_shuffle: share of clips that another clip's text asks in training.
        local_start: whose first stage's 3x3 convolutions start as the identity: "face", "audio".
        shared: `LateFusionModel`'s arguments; the modalities must include t.

    Raises:
        ValueError: an argument is out of its range; says what was wanted and what came.
    """

    def __init__(
        self,
        *,
        attention_dims: Sequence[int] | None = None,
        p: float = 0.5,
        selection: Literal["weighted", "hard"] = "weighted",
        query_shuffle: float = 0.0,
        local_start: Sequence[str] = (),
        **shared: Any,
    ) -> None:
        modalities = parse_modalities(shared.get("modalities", "tav"))
        if "t" not in modalities:
            raise ValueError(
                f"MESM needs the text (t), which is the query of its attention, got modalities "
                f"{modalities!r}; FE2E does without"
            )
        _check_p(p)
        if selection not in ("weighted", "hard"):
            raise ValueError(f"selection must be 'weighted' or 'hard', got {selection!r}")
        channels = shared.get("channels", PAPER_CHANNELS)
        check_channels(channels)
        dims = tuple(channels[:3]) if attention_dims is None else tuple(attention_dims)
        if len(dims) != 3 or min(dims) < 1:
            raise ValueError(f"attention_dims must be three positive widths, got {list(dims)}")
        albert = shared.get("albert") or ALBERT_BASE
        self._local_start = tuple(local_start)
        self._sparse: dict[str, Any] = {
            "query_dim": albert["hidden_size"],
            "attention_dims": dims,
            "p": p,
            "selection": selection,
            "query_shuffle": query_shuffle,
        }
        super().__init__(**shared)

    def _extractor(self, modality: str, in_channels: int) -> nn.Module:
        local = modality in self._local_start
        return SparseExtractor(in_channels, self.channels, local_start=local, **self._sparse)

    def set_p(self, p: float) -> None:
        """Keep another share of the attention mass from now on, in every block.

        Raises:
            ValueError: p is not in (0, 1].
        """
        _check_p(p)
        for extractor in self.feature_extractors.values():
            assert isinstance(extractor, SparseExtractor)
            extractor.set_p(p)

    def kept_sites(self, batch: Batch) -> dict[str, list[SparseFeatureMaps]]:
        """The sites that each block's attention keeps, per modality ("face", "audio").

        Features are those that the block's convolutions read. Modalities that the model leaves
        out are left out here.
        """
        assert self.text is not None
        query = self.text(batch.text_ids, batch.text_mask)
        frames = {
            "face": (batch.faces, batch.face_lengths),
            "audio": (batch.spectrograms, batch.spectrogram_lengths),
        }
        kept = {}
        for name, extractor in self.feature_extractors.items():
            assert isinstance(extractor, SparseExtractor)
            kept[name] = extractor.kept_sites(frames[name][0], query, frames[name][1])
        return kept


def _check_p(p: float) -> None:
    if not 0.0 < p <= 1.0:  # also false for NaN
        raise ValueError(f"p must be in (0, 1], got {p}")
