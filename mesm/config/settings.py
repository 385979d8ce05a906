"""Common to all groups of settings: unknown keys are refused, nothing changes afterwards."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import BaseModel, ConfigDict, Field

Positive = Annotated[int, Field(gt=0)]
Share = Annotated[float, Field(ge=0.0, lt=1.0)]


class Settings(BaseModel):
    """A group of settings."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class SystemSettings(Settings):
    """Settings of one system, each with a literal `name`; class attributes say what it is like.

    Attributes:
        reads_features: hand-crafted features, and not faces, sound and subwords.
        has_branches: whether each modality has logits of its own.
    """

    reads_features: ClassVar[bool] = False
    has_branches: ClassVar[bool] = True
