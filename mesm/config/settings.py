"""Common to all groups of settings: unknown keys are refused, nothing changes afterwards."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, ClassVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from mesm.config.limits import MOST, MOST_LAYERS

_WORDS = ("yes", "no", "on", "off")


def _number(value: Any) -> Any:
    """Refuse what pydantic would turn into a number."""
    if isinstance(value, bool | str):
        got = str(value).lower() if isinstance(value, bool) else repr(value)
        raise ValueError(f"wanted a number, got {got}")
    return value


def _truth(value: Any) -> Any:
    """Refuse what pydantic would turn into true or false."""
    if not isinstance(value, bool) and str(value).lower() not in _WORDS:
        raise ValueError(f"wanted true or false, got {value!r}")
    return value


def _place(value: Any) -> Any:
    """Refuse texts that name no file."""
    if isinstance(value, str) and (not value.strip() or "\0" in value):
        raise ValueError(f"wanted the name of a file or folder, got {value!r}")
    return value


Whole = Annotated[int, BeforeValidator(_number)]
Number = Annotated[float, BeforeValidator(_number)]
Truth = Annotated[bool, BeforeValidator(_truth)]
Place = Annotated[Path, BeforeValidator(_place)]
Positive = Annotated[Whole, Field(gt=0, le=MOST)]
Layers = Annotated[Whole, Field(gt=0, le=MOST_LAYERS)]
Share = Annotated[Number, Field(ge=0.0, lt=1.0)]


class Settings(BaseModel):
    """A group of settings; numbers are finite, and neither a text nor `true` is one."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class SystemSettings(Settings):
    """Settings of one system, each with a literal `name`; class attributes say what it is like.

    Attributes:
        title: in tables.
        reads_features: hand-crafted features, and not faces, sound and subwords.
        has_branches: whether each modality has logits of its own.
    """

    title: ClassVar[str]
    reads_features: ClassVar[bool] = False
    has_branches: ClassVar[bool] = True


def check_heads(width: str, value: int, heads: str, number: int, *, even: bool = False) -> None:
    """Refuse, with a ValueError, attention heads that do not divide their width.

    Args:
        width: name of the width.
        value: its value.
        heads: name of the number of heads.
        number: its value.
        even: whether the width must also be even.
    """
    if value % number or (even and value % 2):
        wanted = "even and divisible" if even else "divisible"
        raise ValueError(f"{width} must be {wanted} by {heads} = {number}, got {value}")
