"""Settings of a fold: which speakers, dialogs or sessions of a corpus a run is tested on."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from mesm.config.limits import MOST
from mesm.config.settings import Number, Settings, Whole

Unit = Literal["speaker", "dialog", "session"]


class FoldsSettings(Settings):
    """How a prepared corpus is cut into folds; no speaker, dialog or session is in two splits."""

    by: Unit = Field(
        description="What stays whole: a speaker (an actor), a dialog (a recording: a dialog, a "
        "video, a table's group), or a session of IEMOCAP, the first five letters of its dialogs."
    )
    k: Annotated[Whole, Field(ge=2, le=MOST)] | None = Field(
        default=None, description="Folds; none: as many as there are, each is left out once."
    )
    seed: Annotated[Whole, Field(ge=0)] = Field(
        default=0, description="Which unit goes into which of k folds, and which ones validate."
    )
    valid: Annotated[Number, Field(gt=0.0, le=0.5)] = Field(
        default=0.125,
        description="Share of the clips outside the test fold that validate, as near as whole "
        "units come.",
    )


class FoldSettings(FoldsSettings):
    """One of the folds."""

    index: Annotated[Whole, Field(ge=1, le=MOST)] = Field(
        description="The fold that is tested on, from 1."
    )
