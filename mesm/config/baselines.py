"""Settings of the four baselines that read hand-crafted features."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field, field_validator, model_validator

from mesm.config.modalities import parse_modalities
from mesm.config.settings import Layers, Positive, Share, SystemSettings, Truth, check_heads


class TwoPhaseSettings(SystemSettings):
    """Settings of all baselines; the corpus's features give the widths of the streams."""

    reads_features: ClassVar[bool] = True

    modalities: str = Field(default="tav", description="tav, ta, tv, va, t, a or v.")
    max_words: Positive = Field(default=50, description="Words at most, from the first.")
    max_audio: Positive | None = Field(
        default=None, description="Audio rows at most, evenly spread over the clip; none: all."
    )
    max_video: Positive | None = Field(default=None, description="Video rows at most, likewise.")

    @field_validator("modalities")
    @classmethod
    def _known_modalities(cls, value: str) -> str:
        return parse_modalities(value)


class LFLSTMSettings(TwoPhaseSettings):
    """The late-fusion LSTM: its sizes follow from the features."""

    title: ClassVar[str] = "LF-LSTM"

    name: Literal["lf_lstm"]


class LFTransformerSettings(TwoPhaseSettings):
    """The late-fusion Transformer."""

    title: ClassVar[str] = "LF-TRANS"

    name: Literal["lf_transformer"]
    text_heads: Positive = 4
    audio_heads: Positive = 2
    video_heads: Positive = 5
    layers: Layers = 2
    feedforward: Positive = 2048
    dropout: Share = 0.1
    positions: Truth = Field(
        default=False, description="Whether rows are told their place; the authors' are not."
    )


class EmoEmbsSettings(TwoPhaseSettings):
    """Emotion embeddings."""

    title: ClassVar[str] = "EmoEmbs"

    name: Literal["emo_embs"]
    audio_hidden: Positive = 200
    video_hidden: Positive = 100
    layers: Layers = 2
    dropout: Share = 0.15


class MulTSettings(TwoPhaseSettings):
    """The multimodal Transformer."""

    title: ClassVar[str] = "MulT"
    has_branches: ClassVar[bool] = False

    name: Literal["mult"]
    dim: Positive = 40
    heads: Positive = 5
    layers: Layers = Field(default=5, description="Of each cross-modal encoder.")
    memory_layers: Layers = Field(default=3, description="Of each self-attention encoder.")
    kernels: list[Positive] = Field(
        default=[1, 1, 1],
        min_length=3,
        max_length=3,
        description="Of the convolutions over text, audio and video; odd.",
    )
    attention_dropout: Share = 0.1
    relu_dropout: Share = 0.1
    residual_dropout: Share = 0.1
    embedding_dropout: Share = 0.25
    output_dropout: Share = 0.0

    @field_validator("modalities")
    @classmethod
    def _one_looks_at_another(cls, value: str) -> str:
        if len(value) < 2:
            raise ValueError("mult needs at least two modalities, one to look at another")
        return value

    @field_validator("kernels")
    @classmethod
    def _odd(cls, value: list[int]) -> list[int]:
        if any(kernel % 2 == 0 for kernel in value):
            raise ValueError("kernels must be odd")
        return value

    @model_validator(mode="after")
    def _heads_divide_dim(self) -> MulTSettings:
        check_heads("model.dim", self.dim, "model.heads", self.heads)
        return self
