"""The frame of FE2E and MESM: a branch per modality, and a weighted sum of their logits."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple, overload

import torch
from torch import Tensor, nn

from mesm.config.modalities import Modality, parse_modalities
from mesm.data.batch import CHUNK_SHAPE, FACE_SHAPE, Batch
from mesm.models.checks import check_batch, check_shares, check_sizes
from mesm.models.convolutions import synchronises
from mesm.models.fusion import WeightedSum
from mesm.models.sequence import SequenceEncoder
from mesm.models.text import TextEncoder, text_settings

# The paper's widths: the first stage, then the three pairs.
PAPER_CHANNELS = (64, 128, 256, 512)


class TrainingOutputs(NamedTuple):
    """A model's outputs with what some terms of the loss look at.

    Attributes:
        logits: (B, E), fused.
        branches: (M, B, E), each modality's own.
        entropies: (F,) per sparse extractor (face, audio) that was asked for its, as
            `mesm.models.entropy.normalised_entropy`.
    """

    logits: Tensor
    branches: Tensor
    entropies: dict[str, Tensor]


def check_channels(channels: Sequence[int]) -> None:
    """Refuse, with a ValueError, what is not four positive widths."""
    if not isinstance(channels, Sequence) or isinstance(channels, str) or len(channels) != 4:
        got = list(channels) if isinstance(channels, tuple) else channels
        raise ValueError(f"channels must be four positive widths, got {got!r}")
    check_sizes("channels", **{f"width {place}": width for place, width in enumerate(channels)})


class FrameBranch(nn.Module):
    """Frames to logits: per-frame convolutions, a projection, the sequence encoder, a classifier.

    The model runs the extractor, and the branch what follows.

    Args:
        extractor: (F, Cin, H, W), query and lengths to maps (F, C, h, w).
        map_size: elements C*h*w of the extractor's maps per frame.
        hidden: width between the two layers of the projection (1024 in the paper).
        sequence: encodes the projected frames of a clip.
        dim: width of the projected frames.
        emotions: E.
    """

    def __init__(
        self,
        extractor: nn.Module,
        map_size: int,
        hidden: int,
        sequence: SequenceEncoder,
        dim: int,
        emotions: int,
    ) -> None:
        super().__init__()
        self.extractor = extractor
        self.project = nn.Sequential(
            nn.Flatten(), nn.Linear(map_size, hidden), nn.ReLU(), nn.Linear(hidden, dim)
        )
        self.sequence = sequence
        self.classify = nn.Linear(dim, emotions)
        self.dim = dim

    def frame_parameters(self) -> list[nn.Parameter]:
        """The parameters that read frames: without any, they have no gradient."""
        return [*self.extractor.parameters(), *self.project.parameters()]

    def forward(self, features: Tensor, lengths: Tensor, longest: int | None = None) -> Tensor:
        """The extractor's maps (ΣS, C, h, w) and lengths (B,) to logits (B, E)."""
        if features.shape[0] == 0 and not synchronises(self.extractor):
            vectors = features.new_zeros((0, self.dim))  # nothing to project, whatever its shape
        else:
            vectors = self.project(features)
        return self.classify(self.sequence(vectors, lengths, longest))


class View(NamedTuple):
    """The frames of one modality in a batch, and what reads them.

    Attributes:
        name: "face" or "audio".
        branch: its extractor and what follows.
        frames: (ΣS, Cin, H, W), the clips' frames one after the other.
        lengths: (B,) int64, frames per clip.
        longest: the largest of these; None: not known without waiting for the device.
    """

    name: str
    branch: FrameBranch
    frames: Tensor
    lengths: Tensor
    longest: int | None


class LateFusionModel(nn.Module):
    """Text, audio and video branches whose logits are added with learned weights.

    All arguments are plain values, so that they can be written as JSON beside the weights.

    Args:
        emotions: E, how many emotions are told apart.
        modalities: which branches there are: tav, ta, tv, va, t, a or v.
        channels: widths of the first convolutional stage and of the three pairs.
        hidden: width of the projection's hidden layer.
        dim, heads, layers: the sequence encoders' sizes (Table 6: 64, 4, 4).
        feedforward, dropout, norm_first: further settings of the sequence encoders.
        albert: keyword arguments of `transformers.AlbertConfig` for the text encoder; None: those
            of ALBERT-base.
        encoder: instead the settings of any encoder of texts, as `TextEncoder` takes them.
        freeze_text: the text encoder is not trained.

    Raises:
        ValueError: an argument is out of its range; says what was wanted and what came.
    """

    def __init__(
        self,
        *,
        emotions: int,
        modalities: str = "tav",
        channels: Sequence[int] = PAPER_CHANNELS,
        hidden: int = 1024,
        dim: int = 64,
        heads: int = 4,
        layers: int = 4,
        feedforward: int = 2048,
        dropout: float = 0.1,
        norm_first: bool = False,
        albert: dict[str, Any] | None = None,
        encoder: dict[str, Any] | None = None,
        freeze_text: bool = False,
    ) -> None:
        super().__init__()
        self.modalities = parse_modalities(modalities)
        check_channels(channels)
        owner = type(self).__name__
        check_sizes(owner, emotions=emotions, hidden=hidden, dim=dim, heads=heads, layers=layers)
        check_sizes(owner, feedforward=feedforward)
        check_shares(owner, dropout=dropout)
        if not isinstance(freeze_text, bool):
            raise ValueError(f"{owner}: freeze_text must be true or false, got {freeze_text!r}")
        if dim % 2 or dim % heads:
            raise ValueError(f"dim must be even and divisible by heads={heads}, got {dim}")
        self.channels = tuple(channels)
        self.text: TextEncoder | None = None
        self.face: FrameBranch | None = None
        self.audio: FrameBranch | None = None
        if "t" in self.modalities:
            self.text = TextEncoder(text_settings(albert, encoder), freeze_text)
            self.classify_text = nn.Linear(self.text.dim, emotions)

        def branch(modality: str, frame_shape: tuple[int, int, int]) -> FrameBranch:
            in_channels, height, width = frame_shape
            sequence = SequenceEncoder(dim, heads, layers, feedforward, dropout, norm_first)
            map_size = self.channels[-1] * (height // 16) * (width // 16)
            extractor = self._extractor(modality, in_channels)
            return FrameBranch(extractor, map_size, hidden, sequence, dim, emotions)

        if "a" in self.modalities:
            self.audio = branch("audio", CHUNK_SHAPE)
        if "v" in self.modalities:
            self.face = branch("face", FACE_SHAPE)
        self.fuse = WeightedSum(len(self.modalities))
        read = {"v": "faces", "a": "spectrograms"}
        self._read = tuple(name for letter, name in read.items() if letter in self.modalities)

    def _extractor(self, modality: str, in_channels: int) -> nn.Module:
        """The per-frame network of one branch, "face" or "audio"."""
        raise NotImplementedError

    @property
    def branch_names(self) -> tuple[str, ...]:
        """The M branches in the order of `TrainingOutputs.branches`: of text, audio and face."""
        return tuple(m.media for m in Modality if m.letter in self.modalities)

    @property
    def feature_extractors(self) -> dict[str, nn.Module]:
        """The per-frame convolutional networks by name, whose FLOPs the paper counts."""
        branches = {"face": self.face, "audio": self.audio}
        return {name: branch.extractor for name, branch in branches.items() if branch is not None}

    @property
    def counted_modules(self) -> dict[str, list[nn.Module]]:
        """Per name the modules whose calls are its work in the extraction; no call is in another's.

        The names are those of `feature_extractors`, and "query" where one is made of their maps.
        """
        return {name: [extractor] for name, extractor in self.feature_extractors.items()}

    @overload
    def forward(self, batch: Batch) -> Tensor: ...

    @overload
    def forward(
        self, batch: Batch, *, branches: Literal[True], entropy: Sequence[str] = ()
    ) -> TrainingOutputs: ...

    def forward(
        self, batch: Batch, *, branches: bool = False, entropy: Sequence[str] = ()
    ) -> Tensor | TrainingOutputs:
        """Logits (B, E), or what some terms of the training loss look at.

        Args:
            batch: the clips.
            branches: give `TrainingOutputs`, with each modality's own logits.
            entropy: of "face" and "audio", whose first attention's entropy is wanted in these.

        Raises:
            ValueError: another kind of batch, or faces or spectrograms of another dtype than the
                weights.
        """
        check_batch(self, batch, Batch, *self._read)
        found = self.fused(batch, self.encode_text(batch), entropy)
        return found if branches else found.logits

    def fused(
        self, batch: Batch, text: Tensor | None, entropy: Sequence[str] = ()
    ) -> TrainingOutputs:
        """As `forward`, given what `encode_text` gave; nothing is checked."""
        query, first_maps = self._query(batch, text)
        entropies: dict[str, Tensor] = {}

        def extract(view: View) -> Tensor:
            maps = first_maps.get(view.name)
            if view.frames.shape[0] == 0 and not synchronises(view.branch.extractor):
                return view.frames  # batch norm refuses to train on nothing
            if view.name not in entropy:
                features: Tensor = view.branch.extractor(view.frames, query, view.lengths, maps)
                return features
            features, found = self._extract_with_entropy(view, query, maps)
            if found is not None:
                entropies[view.name] = found
            return features

        logits = self.branch_logits(batch, text, extract)
        return TrainingOutputs(self.fuse(logits), logits, entropies)

    def encode_text(self, batch: Batch) -> Tensor | None:
        """The texts' vectors (B, D); None: the model reads no text."""
        return None if self.text is None else self.text(batch.text_ids, batch.text_mask)

    def views(self, batch: Batch) -> list[View]:
        """The frames of a batch that the model looks at."""
        views = []
        if self.audio is not None:
            frames, lengths = batch.spectrograms, batch.spectrogram_lengths
            views.append(View("audio", self.audio, frames, lengths, batch.most_chunks))
        if self.face is not None:
            frames, lengths = batch.faces, batch.face_lengths
            views.append(View("face", self.face, frames, lengths, batch.most_faces))
        return views

    def branch_logits(
        self, batch: Batch, text: Tensor | None, extract: Callable[[View], Tensor]
    ) -> Tensor:
        """Each modality's logits, (M, B, E).

        Args:
            batch: the clips.
            text: what `encode_text` gave.
            extract: gives the maps of a view's frames.
        """
        logits = [] if text is None else [self.classify_text(text)]
        for view in self.views(batch):
            logits.append(view.branch(extract(view), view.lengths, view.longest))
        return torch.stack(logits)

    def _query(self, batch: Batch, text: Tensor | None) -> tuple[Tensor | None, dict[str, Tensor]]:
        """The query of the attention (B, D), and first-stage maps if it is made of these."""
        return text, {}

    def _extract_with_entropy(
        self, view: View, query: Tensor | None, first_maps: Tensor | None
    ) -> tuple[Tensor, Tensor | None]:
        """The maps of a view's frames, and the first attention's entropy (F,) if there is one."""
        return view.branch.extractor(view.frames, query, view.lengths, first_maps), None
