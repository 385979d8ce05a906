"""What every group of settings shares: unknown keys are refused, nothing changes afterwards."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

Positive = Annotated[int, Field(gt=0)]
Share = Annotated[float, Field(ge=0.0, lt=1.0)]


class Settings(BaseModel):
    """A group of settings."""

    model_config = ConfigDict(extra="forbid", frozen=True)
