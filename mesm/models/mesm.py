"""The multimodal end-to-end sparse model (section 4.3 of the paper)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal, cast, get_args

from huggingface_hub import PyTorchModelHubMixin
from torch import Tensor, nn

from mesm.config.modalities import attended, parse_modalities
from mesm.config.p import MODALITIES, Selection, per_block, read_p
from mesm.data.batch import Batch
from mesm.models.checks import check_shares, check_sizes
from mesm.models.late_fusion import PAPER_CHANNELS, LateFusionModel, View, check_channels
from mesm.models.query import QueryEncoder, query_sources
from mesm.models.sparse_extractor import BlockStep, SparseExtractor
from mesm.models.text import text_settings, text_width
from mesm_ops import SparseFeatureMaps


class MESM(LateFusionModel, PyTorchModelHubMixin):
    """As `FE2E`, but a query chooses the sites at which faces and spectrograms are convolved.

    `model(batch)` gives logits (B, E).

    Args:
        attention_dims: attention width of each of the three blocks; None: each block's input
            width (64, 128, 256).
        p: share of the attention mass that is kept, in (0, 1]: one number, three (one per block),
            or a mapping of "face" and "audio" to either.
        selection: "weighted" or "straight_through" (the attention learns), or "hard" (as the
            authors' code).
        query: what asks: "text" (as in the paper), "audio", "face", or the "mean" of what there
            is; see `mesm.models.query.QueryEncoder`.
        query_shuffle: share of clips that another clip's query asks in training.
        local_start: whose first stage's 3x3 convolutions start as the identity: "face", "audio".
        positive_start: every attention starts by preferring sites where features are large.
        shared: `LateFusionModel`'s arguments; the modalities must include the query's.

    Raises:
        ValueError: an argument is out of its range; says what was wanted and what came.
    """

    def __init__(
        self,
        *,
        attention_dims: Sequence[int] | None = None,
        p: float | Sequence[float] | Mapping[str, Any] = 0.5,
        selection: Selection = "weighted",
        query: Literal["text", "audio", "face", "mean"] = "text",
        query_shuffle: float = 0.0,
        local_start: Sequence[str] = (),
        positive_start: bool = False,
        **shared: Any,
    ) -> None:
        modalities = parse_modalities(shared.get("modalities", "tav"))
        sources = query_sources(query, modalities)
        self._p = read_p(p, attended(modalities))
        if selection not in get_args(Selection):
            raise ValueError(
                f"selection must be one of {', '.join(get_args(Selection))}, got {selection!r}"
            )
        channels = shared.get("channels", PAPER_CHANNELS)
        check_channels(channels)
        dims = tuple(channels[:3]) if attention_dims is None else tuple(attention_dims)
        if len(dims) != 3:
            raise ValueError(f"attention_dims must be three positive widths, got {list(dims)}")
        check_sizes("attention_dims", **{f"width {place}": dim for place, dim in enumerate(dims)})
        check_shares("MESM", query_shuffle=query_shuffle)
        if not set(local_start) <= set(MODALITIES):
            raise ValueError(f"local_start must name face or audio, got {list(local_start)}")
        width = text_width(text_settings(shared.get("albert"), shared.get("encoder")))
        self._local_start = tuple(local_start)
        self._sparse: dict[str, Any] = {
            "query_dim": width,
            "attention_dims": dims,
            "selection": selection,
            "query_shuffle": query_shuffle,
            "positive_start": positive_start,
        }
        super().__init__(**shared)
        # Last and only if need be: a model that the text asks has the weights it always had.
        self.query_encoder: QueryEncoder | None = None
        if query != "text":
            self.query_encoder = QueryEncoder(sources, channels[0], width, width)

    def _extractor(self, modality: str, in_channels: int) -> nn.Module:
        return SparseExtractor(
            in_channels,
            self.channels,
            p=per_block(self._p, modality),
            local_start=modality in self._local_start,
            **self._sparse,
        )

    @property
    def sparse_extractors(self) -> dict[str, SparseExtractor]:
        """As `feature_extractors`."""
        return cast(dict[str, SparseExtractor], self.feature_extractors)

    @property
    def counted_modules(self) -> dict[str, list[nn.Module]]:
        """As `LateFusionModel.counted_modules`."""
        if self.query_encoder is None:
            return super().counted_modules
        extraction: dict[str, list[nn.Module]] = {
            name: [extractor.stage, extractor] for name, extractor in self.sparse_extractors.items()
        }
        return extraction | {"query": [self.query_encoder]}

    def set_p(self, p: float | Sequence[float] | Mapping[str, Any]) -> None:
        """Keep another share of the attention mass from now on.

        Args:
            p: for every block, three numbers for the blocks, or either per modality.

        Raises:
            ValueError: p is not in (0, 1], or has none for a block.
        """
        self._p = read_p(p, attended(self.modalities))
        for name, extractor in self.sparse_extractors.items():
            extractor.set_p(per_block(self._p, name))

    def query_and_maps(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """The query (B, D) and, per modality, the first stage's maps that the blocks are given."""
        query, first_maps = self._query(batch, self.encode_text(batch))
        return query, first_maps or self._first_stage_maps(batch)

    def project_query(
        self, batch: Batch, text: Tensor | None, first_maps: Mapping[str, Tensor]
    ) -> Tensor:
        """The query (B, D) out of the text's vectors and the first stages' maps.

        Args:
            batch: the clips.
            text: (B, D), or None where the model reads none.
            first_maps: per modality; may be empty where the text alone is the query.
        """
        there = batch.text_there
        if self.query_encoder is None:
            assert text is not None
            return text if there is None else text * there.to(text.dtype)[:, None]
        lengths = {"audio": batch.spectrogram_lengths, "face": batch.face_lengths}
        longest = {"audio": batch.most_chunks, "face": batch.most_faces}
        query: Tensor = self.query_encoder(text, first_maps, lengths, longest, there)
        return query

    def _query(self, batch: Batch, text: Tensor | None) -> tuple[Tensor, dict[str, Tensor]]:
        first_maps = {} if self.query_encoder is None else self._first_stage_maps(batch)
        return self.project_query(batch, text, first_maps), first_maps

    def _first_stage_maps(self, batch: Batch) -> dict[str, Tensor]:
        extractors = self.sparse_extractors
        return {
            view.name: extractors[view.name].first_stage_maps(view.frames)
            for view in self.views(batch)
        }

    def _extract_with_entropy(
        self, view: View, query: Tensor | None, first_maps: Tensor | None
    ) -> tuple[Tensor, Tensor | None]:
        assert query is not None
        extractor = self.sparse_extractors[view.name]
        return extractor.with_entropy(view.frames, query, view.lengths, first_maps)

    def walk(self, batch: Batch) -> dict[str, Iterator[BlockStep]]:
        """Per modality ("face", "audio") the steps of its blocks; see `SparseExtractor.walk`.

        Modalities that the model leaves out are left out here.
        """
        query, first_maps = self.query_and_maps(batch)
        lengths = {view.name: view.lengths for view in self.views(batch)}
        return {
            name: extractor.walk(first_maps[name], query, lengths[name])
            for name, extractor in self.sparse_extractors.items()
        }

    def kept_sites(self, batch: Batch) -> dict[str, list[SparseFeatureMaps]]:
        """The sites that each block's attention keeps, per modality as in `walk`.

        Features are those that the block's convolutions read.
        """
        return {name: [step.kept for step in steps] for name, steps in self.walk(batch).items()}
