"""Settings of the systems that are trained end to end: FE2E and MESM."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field, PlainValidator, field_validator, model_validator

from mesm.config.limits import MOST
from mesm.config.modalities import Modality, Sound, attended, parse_modalities
from mesm.config.p import BlockP, Selection, read_p
from mesm.config.settings import (
    Layers,
    Number,
    Place,
    Positive,
    Settings,
    Share,
    SystemSettings,
    Truth,
    Whole,
    check_heads,
)


class TextSettings(Settings):
    """The text encoder: a pretrained one in a local folder, or a small ALBERT from scratch."""

    path: Place | None = Field(
        default=None,
        description="Folder of a pretrained encoder (ALBERT, BERT, RoBERTa, DistilBERT, DeBERTa, "
        "ELECTRA, MiniLM, ...); none: a small ALBERT is trained from scratch, with subwords learnt "
        "on the training split, and the sizes below hold.",
    )
    freeze: Truth = Field(
        default=False, description="The pretrained encoder stays as it is, and never drops out."
    )
    max_length: Annotated[Whole, Field(ge=2, le=MOST)] = Field(
        default=50, description="Subwords at most, [CLS] and [SEP] too."
    )
    vocabulary: Annotated[Whole, Field(ge=5, le=MOST)] = Field(
        default=8000, description="Subwords learnt at most, the 4 special ones too."
    )
    embedding: Positive = 64
    hidden: Positive = 128
    heads: Positive = 4
    layers: Layers = 2
    feedforward: Positive = 512
    dropout: Share = 0.1

    @model_validator(mode="after")
    def _fits_the_path(self) -> TextSettings:
        if self.path is None and self.freeze:
            raise ValueError(
                "model.text.freeze wants a pretrained encoder, as a new one says nothing; set "
                "model.text.path, or model.text.freeze=false"
            )
        if self.path is None:
            check_heads("model.text.hidden", self.hidden, "model.text.heads", self.heads)
        return self


class FE2ESettings(SystemSettings):
    """The fully end-to-end model."""

    title: ClassVar[str] = "FE2E"

    name: Literal["fe2e"]
    modalities: str = Field(default="tav", description="tav, ta, tv, va, t, a or v.")
    channels: list[Positive] = Field(
        default=[64, 128, 256, 512], min_length=4, max_length=4, description="Convolution widths."
    )
    hidden: Positive = Field(default=1024, description="Between the two layers after the pools.")
    dim: Positive = 64
    heads: Positive = 4
    layers: Layers = 4
    feedforward: Positive = 2048
    dropout: Share = 0.1
    norm_first: Truth = Field(default=False, description="Pre-norm sequence encoders.")
    text: TextSettings = TextSettings()
    sound: Sound = Field(
        default="log",
        description="Spectrograms as the logarithm of power, or as log1p of power over its "
        "geometric mean, where silence and padding are 0.",
    )
    vgg11: Place | None = Field(
        default=None, description="VGG-11 weights with torchvision's names to start from."
    )

    @field_validator("modalities")
    @classmethod
    def _known_modalities(cls, value: str) -> str:
        return parse_modalities(value)

    @model_validator(mode="after")
    def _heads_divide_dim(self) -> FE2ESettings:
        check_heads("model.dim", self.dim, "model.heads", self.heads, even=True)
        return self


class MESMSettings(FE2ESettings):
    """The sparse model: FE2E's settings and those of its attention."""

    title: ClassVar[str] = "MESM"

    name: Literal["mesm"]  # type: ignore[assignment]
    attention_dims: list[Positive] | None = Field(
        default=None, min_length=3, max_length=3, description="None: each block's input width."
    )
    p: Annotated[BlockP, PlainValidator(read_p)] = Field(
        default=0.5,
        description="Attention mass that is kept, in (0, 1]: one number, three (one per block), "
        "or either of these for face and for audio.",
    )
    selection: Selection = Field(
        default="straight_through",
        description="straight_through: the attention learns, and kept features stay as they are; "
        "weighted: it learns, and scales them; hard: neither, as in the authors' code.",
    )
    query: Literal["text", "audio", "face", "mean"] = Field(
        default="text",
        description="What asks the attention: the text (as in the paper), the sound, the faces, "
        "or the mean of what a clip has of them.",
    )
    query_shuffle: Annotated[Number, Field(ge=0.0, le=1.0)] = Field(
        default=0.0,
        description="Share of the training clips whose faces and sound are asked by another "
        "clip's query, so that what it knows by heart cannot reach them as attention.",
    )

    local_start: list[Literal["face", "audio"]] = Field(
        default=[],
        description="Whose first stage's 3x3 convolutions start as the identity, so that a site's "
        "features tell what is there and not what is around it.",
    )

    positive_start: Truth = Field(
        default=False,
        description="Every attention starts by preferring sites where features are large, which "
        "else depends on the seed.",
    )

    @model_validator(mode="after")
    def _fits_the_modalities(self) -> MESMSettings:
        letters = {modality.media: modality.letter for modality in Modality}
        letter = letters.get(self.query)
        if letter is not None and letter not in self.modalities:
            raise ValueError(
                f"mesm needs the {self.query} ({letter}) as its query, got {self.modalities!r}"
            )
        read_p(self.p, attended(self.modalities))
        return self
